"""Completion in a shell: which words come, and that a real shell asks for them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anneal.commands.completion import SCRIPTS, complete
from anneal.commands.main import VERBS


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("st", ["status"]),
        ("run sched", ["scheduler="]),
        ("run scheduler=triangular", ["scheduler=triangular", "scheduler=triangular2"]),
        ("run -m scheduler=constant,one", ["scheduler=constant,one_cycle"]),
        ("advise optimizer=adamw", ["optimizer=adamw"]),
        ("plot to", ["to="]),
        ("params campaign=qu", ["campaign=quick"]),
        ("status qu", ["quick"]),
        ("compare --j", ["--json"]),
        ("run campaign", []),
        ("run seed=", []),
        ("nothing scheduler=", []),
        ("completion fi", ["fish"]),
    ],
)
def test_line_is_completed(line: str, words: list[str]) -> None:
    assert complete(line.split()) == words


def test_empty_line_is_completed_with_every_verb() -> None:
    assert complete([]) == complete([""]) == [*VERBS]


TRY_OUT = {  # asks the function that the script defines, as the shell would at <TAB>
    "bash": """\
{script}
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
compopt() {{ :; }}
COMP_LINE='anneal run scheduler=one' COMP_POINT=24
_anneal
echo "${{COMPREPLY[@]}}"
COMP_LINE='anneal run -m mod' COMP_POINT=17
_anneal
echo "${{COMPREPLY[@]}}"
""",
    "zsh": """\
compdef() {{ :; }}
compadd() {{ echo $found; }}
{script}
words=(anneal run scheduler=one) CURRENT=3
_anneal
words=(anneal run -m mod) CURRENT=4
_anneal
""",
    "fish": """\
{script}
complete -C 'anneal run scheduler=one'
complete -C 'anneal run -m mod'
""",
}
SAID = {"bash": ["one_cycle", "model="]}  # bash completes what follows the '=' alone


@pytest.mark.parametrize("shell", SCRIPTS)
def test_shell_takes_the_script_and_completes(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{programs}:{Path('/usr/bin')}:{Path('/bin')}")
    command = [sys.executable, "-m", "anneal", "completion", shell]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    ended = subprocess.run(
        [shell, "-c", TRY_OUT[shell].format(script=printed.stdout)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == SAID.get(shell, ["scheduler=one_cycle", "model="])
