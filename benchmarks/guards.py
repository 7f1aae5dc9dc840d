"""Take out each guard against a fault or a kill, and see that the fault then loses something.

``python benchmarks/guards.py [--tries 6] [--only WORDS] [--write docs/what_holds.md]``

Each guard is taken out of a clone of this checkout, with what is not committed yet; there
``faults.py`` tries its faults, and ``kill_campaign.py`` its kills. A fault or a kill that still
loses nothing is named below the table, and the command ends with status 1. With ``--only`` the rows
of the other guards stay in the page as they were.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from guard_list import GUARDS, OF_OTHERS, Edit, Guard

from anneal.io.files import renew_page
from anneal.io.text import escape_markdown, markdown_table

ROOT = Path(__file__).resolve().parents[1]
CODE = Path("src", "anneal")
CHANGED = ("src", "benchmarks", "conf", "tests", "params.yaml")  # may be ahead of the last commit


def main() -> None:
    """Take out, try and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=6, help="of each fault and each kill")
    parser.add_argument("--only", default="", metavar="WORDS", help="guards with these words")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    began, chosen = time.monotonic(), [g for g in GUARDS if arguments.only in g.what]
    if not chosen:
        parser.error(f"no guard has the words {arguments.only!r}")
    lost: dict[str, list[str]] = {}
    if arguments.write:
        lost = lost_before(arguments.write.read_text())
        unknown = [g.what for g in GUARDS if g not in chosen and g.what not in lost]
        if unknown:
            parser.error(f"{arguments.write} has no row of {unknown[0]!r}: try it too")
    for guard in chosen:
        with tempfile.TemporaryDirectory(prefix="guards-") as folder:
            clone = without(guard, Path(folder, "clone"))
            lost[guard.what] = lost_in(clone, guard, tries=arguments.tries)
        print(f"{guard.what}: {', '.join(lost[guard.what]) or 'nothing'} lost", file=sys.stderr)
    shown = GUARDS if arguments.write else chosen
    green = [
        f"{name} (without: {guard.what})"
        for guard in shown
        for name in (*guard.faults, *guard.kills)
        if name not in lost[guard.what]
    ]
    made = table(shown, lost)
    if green:
        made += f"\n\nLost nothing in {arguments.tries} tries: {'; '.join(green)}."
    print(made)
    print(f"{time.monotonic() - began:.0f} s")
    if arguments.write:
        renew_page(arguments.write, {"guards": made})
    if green:
        sys.exit(1)


def lost_before(page: str) -> dict[str, list[str]]:
    """Return what a page's table says that each guard's faults and kills lost without it."""
    block = page.partition("<!-- guards:begin -->")[2].partition("<!-- guards:end -->")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| ([^|]*) \|$", block, re.MULTILINE)
    return {what.replace("\\", ""): lost.replace("\\", "").split(", ") for what, lost in rows}


def without(guard: Guard, clone: Path) -> Path:
    """Clone this checkout with its uncommitted changes, and take a guard out."""
    git = ["git", "-c", "user.name=guards", "-c", "user.email=guards@localhost"]
    subprocess.run([*git, "clone", "-q", str(ROOT), str(clone)], check=True)
    for name in CHANGED:
        if (ROOT / name).is_dir():
            skipped = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, clone / name, dirs_exist_ok=True, ignore=skipped)
        else:
            shutil.copy(ROOT / name, clone / name)
    for edit in guard.edits:
        path = clone / CODE / edit.file
        path.write_text(applied(edit, path.read_text()))
    subprocess.run([*git, "commit", "-q", "-a", "-m", "Guard out"], cwd=clone, check=True)
    return clone


def applied(edit: Edit, text: str) -> str:
    """Return the text of a file with an edit.

    Raises:
        ValueError: what it replaces is not there once.
    """
    if (count := text.count(edit.text)) != 1:
        raise ValueError(f"{edit.file}: must have {edit.text!r} once, found {count}")
    return text.replace(edit.text, edit.other)


def lost_in(clone: Path, guard: Guard, *, tries: int) -> list[str]:
    """Return the faults and kills that lose something in a clone."""
    found = []
    if guard.faults:
        options = ("--tries", str(tries), "--until-lost", "--only", *guard.faults)
        said, errors = output(clone, "faults.py", *options)
        rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| \d+ \| (\d+) \|", said, re.MULTILINE)
        if not rows:
            sys.exit(f"faults.py has no table, without: {guard.what}\n{errors}")
        found += [name for name, count in rows if int(count)]
    for kind in guard.kills:
        _, errors = output(clone, "kill_campaign.py", "--kills", str(tries), "--only", kind)
        if re.search(r"differ|before a kill|did not go on|ended by itself", errors):
            found.append(kind)
    return found


def output(clone: Path, script: str, *arguments: str) -> tuple[str, str]:
    """Return the output and the errors of a command of a clone."""
    command = [sys.executable, str(clone / "benchmarks" / script), *arguments]
    environment = os.environ | {"PYTHONPATH": str(clone / "src"), "TMPDIR": str(clone.parent)}
    ended = subprocess.run(
        command, cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    return ended.stdout, ended.stderr


def table(guards: Sequence[Guard], lost: Mapping[str, Collection[str]]) -> str:
    """Return a row for each guard, and one for each fault that others prevent."""
    rows = []
    for guard in guards:
        places = dict.fromkeys(place_of(edit) for edit in guard.edits)
        rows.append([guard.what, ", ".join(places), ", ".join(lost[guard.what])])
    body = markdown_table(
        ["taken out", "of", "then lose something"],
        [[escape_markdown(cell) for cell in row] for row in rows],
        sides=["left"] * 3,
    )
    reasons = dict.fromkeys(OF_OTHERS.values())
    names = {why: ", ".join(n for n, other in OF_OTHERS.items() if other == why) for why in reasons}
    others = "; ".join(f"{escape_markdown(names[why])} ({why})" for why in reasons)
    return f"{body}\n\nNo guard of this project to take out: {others}."


def place_of(edit: Edit) -> str:
    """Return the file of an edit and the function that it is in."""
    text = (ROOT / CODE / edit.file).read_text()
    before = text[: text.index(edit.text)]
    return f"{edit.file}: {re.findall(r'(?:def|class) ([A-Za-z_]+)', before)[-1]}"


if __name__ == "__main__":
    main()
