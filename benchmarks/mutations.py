"""Mutate the files that people write or damage, and read each: one clear error, or none.

``python benchmarks/mutations.py [--inputs 5000] [--seed 0] [--write docs/what_holds.md]``

Each input is a good file (params.yaml, a table, claims, results, a checkpoint, the record of a
run, pictures, recordings, overrides) with one to four mutations: bits flipped, cut short, parts
deleted, repeated, swapped or overwritten, numbers and words replaced by hostile ones. Reading it
may succeed, or raise a ``ValueError`` or ``OSError``, which commands print as one line; anything
else is a crash, as is a reading that takes 30 s; both end the command with status 1 after the
table. No mutated input may leave a file behind.
"""

import argparse
import contextlib
import faulthandler
import io
import os
import random
import re
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mutation_targets import make_targets

from anneal.io.files import renew_page
from anneal.io.text import markdown_table

HOSTILE = (
    "null", "{}", "[]", "[1, 2", "1: 2", "-1", "0", "1e400", ".nan", "-.inf", "''", "true",
    "99999999999999999999", "!!python/object/apply:os.system [exit]", "${oc.env:HOME}",
    "&a [*a]", "../../etc", "\t", "é\u202e", "x" * 300, "</script><script>alert(1)</script>",
    "%s%n", "\x00",
)  # fmt: skip
MOST_CHARACTERS = 2000  # of an error
MOST_SECONDS = 30.0  # of a reading, before it counts as a hang


class Hang(BaseException):
    """A reading that took too long."""


def main() -> None:
    """Mutate, read and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tally = run(Path(folder), inputs=arguments.inputs, seed=arguments.seed)
    print(tally.table())
    if tally.crashes:
        sys.exit("\n\n".join(tally.crashes[:20]) + f"\n{len(tally.crashes)} crashes")
    if arguments.write:
        renew_page(arguments.write, {"mutations": tally.table()})


@dataclass
class Tally:
    """Inputs read and refused, by kind of file, and crashes with their inputs."""

    read: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the counts as a table."""
        inputs = self.read + self.refused
        rows = [[kind, str(inputs[kind]), str(self.refused[kind])] for kind in sorted(inputs)]
        rows.append(["**all**", f"**{inputs.total()}**", f"**{self.refused.total()}**"])
        made = markdown_table(
            ["mutated", "inputs", "refused in one line"], rows, sides=["left", "right", "right"]
        )
        return f"{made}\n\n{len(self.crashes)} crashed, hung or left a file."


def run(folder: Path, *, inputs: int, seed: int) -> Tally:
    """Read so many mutated inputs, in a sandbox below ``folder``."""
    draw, tally = random.Random(seed), Tally()
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        targets = list(make_targets(folder))
        weights = [target.weight for target in targets]
        for number in range(inputs):
            target = draw.choices(targets, weights)[0]
            path = draw.choice(target.files)
            good = path.read_bytes()
            bad = mutate(good, draw, is_text=target.is_text)
            if bad == good:
                bad = good[: len(good) // 2]
            path.unlink()  # it may be a second name of another file
            path.write_bytes(bad)
            before = names_in(folder)
            try:
                with (
                    contextlib.redirect_stdout(io.StringIO()),
                    contextlib.redirect_stderr(io.StringIO()),
                    time_limit(MOST_SECONDS),
                ):
                    target.read()
                tally.read[target.kind] += 1
            except (ValueError, OSError) as error:
                tally.refused[target.kind] += 1
                if not str(error) or len(str(error)) > MOST_CHARACTERS:
                    tally.crashes.append(f"{target.kind} {number}: error {str(error)[:300]!r}")
            except Hang:
                place = path.relative_to(folder)
                tally.crashes.append(f"{target.kind} {number}, {place}: hung {MOST_SECONDS:.0f} s")
            except Exception:  # noqa: BLE001 - that is what is looked for
                place = path.relative_to(folder)
                tally.crashes.append(
                    f"{target.kind} {number}, {place}:\n{traceback.format_exc()[-1500:]}"
                )
            left = names_in(folder) - before
            if left:
                tally.crashes.append(f"{target.kind} {number} left {sorted(left)}")
            path.unlink()
            path.write_bytes(good)
    return tally


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hang after so many seconds; end the process where code in C does not come back."""

    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(2 * seconds, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def names_in(folder: Path) -> set[str]:
    """Return the files below a folder but caches."""
    return {
        str(Path(place, name))
        for place, _, names in os.walk(folder)
        for name in names
        if "cache" not in place and not name.endswith(".lock")
    }


def mutate(good: bytes, draw: random.Random, *, is_text: bool) -> bytes:
    """Return a file with one to four mutations."""
    bad = good
    for _ in range(draw.randint(1, 4)):
        if not bad:
            return bad
        kinds = [flip, cut, delete, repeat, overwrite, swap]
        bad = draw.choice([*kinds, *[replace_word] * 6] if is_text else kinds)(bad, draw)
    return bad


def span(content: bytes, draw: random.Random) -> tuple[int, int]:
    """Return the ends of a random part of at most 200 bytes."""
    start = draw.randrange(len(content))
    return start, min(len(content), start + draw.randint(1, 200))


def flip(content: bytes, draw: random.Random) -> bytes:
    """Flip one to eight bits."""
    bad = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
    return bytes(bad)


def cut(content: bytes, draw: random.Random) -> bytes:
    """Cut short."""
    return content[: draw.randrange(len(content))]


def delete(content: bytes, draw: random.Random) -> bytes:
    """Delete a part."""
    start, end = span(content, draw)
    return content[:start] + content[end:]


def repeat(content: bytes, draw: random.Random) -> bytes:
    """Repeat a part."""
    start, end = span(content, draw)
    return content[:end] + content[start:]


def overwrite(content: bytes, draw: random.Random) -> bytes:
    """Overwrite a part with random bytes."""
    start, end = span(content, draw)
    return content[:start] + draw.randbytes(end - start) + content[end:]


def swap(content: bytes, draw: random.Random) -> bytes:
    """Put one part in the place of another."""
    (start, end), (from_start, from_end) = span(content, draw), span(content, draw)
    return content[:start] + content[from_start:from_end] + content[end:]


def replace_word(content: bytes, draw: random.Random) -> bytes:
    """Replace a number or a word by a hostile one, or by another word of the file."""
    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return content
    word = draw.choice(words)
    other = draw.choice(words)[0] if draw.random() < 0.3 else draw.choice(HOSTILE).encode()
    return content[: word.start()] + other + content[word.end() :]


if __name__ == "__main__":
    main()
