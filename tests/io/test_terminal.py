"""What every command does at its edge: one line for a mistake, a traceback when asked for."""

import errno
import subprocess
import sys

import pytest

from anneal.io.terminal import command, complain, describe_error, say


@command("campaign", "experiment")
def train(arguments: list[str]) -> None:
    """Say what was asked for."""
    say(" ".join(arguments))


def failing(error: BaseException, **options: bool) -> object:
    @command(free=True, **options)
    def main(arguments: list[str]) -> None:
        raise error

    return main


def ended(main: object, arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)  # type: ignore[operator]
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


def test_command_gets_the_arguments_it_names(capsys: pytest.CaptureFixture[str]) -> None:
    train(["quick", "clr/row"])
    assert capsys.readouterr() == ("quick clr/row\n", "")


@pytest.mark.parametrize(
    ("arguments", "got"), [([], "nothing"), (["a"], "a"), (["a", "b", "c"], "a b c")]
)
def test_any_other_number_of_arguments_is_refused_with_their_names(
    capsys: pytest.CaptureFixture[str], arguments: list[str], got: str
) -> None:
    assert ended(train, arguments) == 1
    said = f"error: needs <campaign> <experiment>, got {got}\n"
    assert capsys.readouterr() == ("", said)


def test_arguments_come_from_the_command_line_unless_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["x", "from", "shell"])
    train()
    assert capsys.readouterr().out == "from shell\n"


@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_help_is_what_the_module_says_of_itself(
    capsys: pytest.CaptureFixture[str], asked: str
) -> None:
    train([asked])
    failing(ValueError("not reached"))([asked])  # type: ignore[operator]
    about = "What every command does at its edge: one line for a mistake, a traceback when asked f"
    assert capsys.readouterr().out.count(about) == 2


@pytest.mark.parametrize("arguments", [["dataset=digits", "--help"], ["a", "-h", "b", "c"]])
def test_help_anywhere_among_the_arguments_is_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    train(arguments)
    failing(ValueError("not reached"))(arguments)  # type: ignore[operator]
    assert capsys.readouterr().out.count("What every command does at its edge") == 2


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("conf/x.yaml: lr must not be negative,\n  got -1"),
         "conf/x.yaml: lr must not be negative, got -1"),
        (ValueError(), "ValueError"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x.json"),
         "runs/x.json: No space left on device"),
        (OSError("no errno"), "no errno"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), "runs: Permission denied"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
         "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)  # fmt: skip
def test_what_a_person_can_cause_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert ended(failing(error), []) == 1
    assert capsys.readouterr() == ("", f"error: {line}\n")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_traceback_anywhere_shows_it_and_is_not_passed_on(place: int) -> None:
    seen = []

    @command(free=True)
    def main(arguments: list[str]) -> None:
        seen.append(arguments)
        raise ValueError("wrong")

    arguments = ["a", "b"]
    arguments.insert(place, "--traceback")
    with pytest.raises(ValueError, match="wrong"):
        main(arguments)
    assert seen == [["a", "b"]]


def test_what_is_our_mistake_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        failing(KeyError("x"))([])  # type: ignore[operator]


def test_control_c_is_one_line_and_the_code_that_shells_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(failing(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")


@pytest.mark.parametrize("written", ["say('x' * 10)", "sys.stdout.write('x' * 10)"])
def test_closed_pipe_ends_command_quietly_with_its_exit_code(
    written: str,
) -> None:
    """As ``| head -1`` does; what is still in the buffer then is not complained of at the end."""
    script = (
        "import sys\n"
        "from anneal.io.terminal import command, say\n"
        "@command(free=True)\n"
        "def main(arguments):\n"
        "    sys.stdin.read()\n"
        f"    {written}\n"
        "main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()  # now it writes
        said = process.stderr.read()
    assert (process.returncode, said) == (141, b"")


def test_complaint_is_one_line_however_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    complain("one\n  two\tthree ")
    assert capsys.readouterr() == ("", "error: one two three\n")


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2Jb\x07\nc\td\x9b")
    complain("name \x1b]0;title\x07")
    assert capsys.readouterr() == (
        "a\\x1b[2Jb\\x07\nc\td\\x9b\n",
        "error: name \\x1b]0;title\\x07\n",
    )


def test_error_of_a_file_names_the_file_and_any_other_its_words() -> None:
    assert describe_error(FileNotFoundError(2, "No such file or directory", "a/b")) == (
        "a/b: No such file or directory"
    )
    assert describe_error(ValueError("x")) == "x"
