"""Terminal output of commands, and one-line errors.

``--traceback`` anywhere on the command line shows the traceback of an error.
"""

import functools
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable

USER_ERROR = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
READER_GONE = 141  # 128 + SIGPIPE

Main = Callable[[list[str]], None]


def printable(text: str) -> str:
    r"""Return text whose control characters, which terminals obey, are written out.

    >>> print(printable("a\x1b[2J"))
    a\x1b[2J
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def say(line: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """Print one line of error."""
    sys.stdout.flush()
    sys.stderr.write(f"error: {printable(' '.join(line.split()))}\n")
    sys.stderr.flush()


def command(*names: str, free: bool = False) -> Callable[[Main], Callable[..., None]]:
    """Turn ``main(arguments)`` into a command with one-line errors and exit codes.

    A user's mistake (``ValueError``, ``OSError``) prints one line; any other error is a bug and
    keeps its traceback. ``--help`` anywhere prints the docstring of the module.

    Args:
        names: of the required arguments.
        free: ``main`` parses its arguments itself.
    """

    def decorate(main: Main) -> Callable[..., None]:
        about = inspect.getmodule(main)

        @functools.wraps(main)
        def run(arguments: list[str] | None = None) -> None:
            given = list(sys.argv[1:] if arguments is None else arguments)
            show = "--traceback" in given
            given = [a for a in given if a != "--traceback"]
            logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
            try:
                if not {"-h", "--help"}.isdisjoint(given):
                    say(inspect.getdoc(about) or "")
                    return
                if not free and len(given) != len(names):
                    wanted = " ".join(f"<{name}>" for name in names) or "nothing"
                    raise ValueError(f"needs {wanted}, got {' '.join(given) or 'nothing'}")
                main(given)
                sys.stdout.flush()
            except BrokenPipeError:  # the reader is gone, as with ``| head -1``
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(READER_GONE)
            except KeyboardInterrupt:
                complain("interrupted")
                sys.exit(INTERRUPTED)
            except (ValueError, OSError) as error:
                if show:
                    raise
                complain(describe_error(error))
                sys.exit(USER_ERROR)

        return run

    return decorate


def describe_error(error: Exception) -> str:
    """Return an error as one line; an ``OSError`` names its file."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
