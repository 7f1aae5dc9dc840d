"""Board of a campaign: redrawn on a terminal, a line for each start and end elsewhere."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from anneal.io.terminal import say


class Board:
    """Lines elsewhere than on a terminal: what is shown in between is left out."""

    redrawn = False  # whether :meth:`show` shows anything

    def line(self, text: str) -> None:
        """Say one line that stays."""
        say(text)

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines in place of those shown before."""


class TerminalBoard(Board):
    """Lines that stay above, the present state below."""

    redrawn = True

    def __init__(self, live: Live) -> None:
        self._live = live

    def line(self, text: str) -> None:
        """Say one line above the board."""
        self._live.console.print(Text(text))

    def show(self, lines: Sequence[str]) -> None:
        """Redraw the board."""
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)


@contextmanager
def open_board() -> Iterator[Board]:
    """Open the board that suits the standard output; it is gone at the end, its lines stay."""
    if not sys.stdout.isatty():
        yield Board()
        return
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        yield TerminalBoard(live)
