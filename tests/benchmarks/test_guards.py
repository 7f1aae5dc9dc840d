"""Guards that are taken out: each is in the code, and each fault has one."""

import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def guards(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the command."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return import_module("guards")


def test_each_guard_is_in_the_code_once(guards: ModuleType, repository: Path) -> None:
    for guard in guards.GUARDS:
        for edit in guard.edits:
            text = (repository / guards.CODE / edit.file).read_text()
            assert guards.applied(edit, text) != text


def test_words_of_no_guard_are_an_error(
    guards: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["guards.py", "--only", "no such words"])
    with pytest.raises(SystemExit) as ended:
        guards.main()
    assert ended.value.code == 2
    assert "error: no guard has the words 'no such words'" in capsys.readouterr().err


def test_faults_that_could_not_be_tried_end_the_command(
    guards: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "output", lambda *_: ("", "No module named 'psutil'"))
    with pytest.raises(SystemExit, match=r"no table, without: .*\n.*psutil"):
        guards.lost_in(tmp_path, guards.GUARDS[0], tries=1)


def test_text_that_is_not_there_once_is_refused(guards: ModuleType) -> None:
    edit = guards.Edit("a.py", "if x:", "if True:")
    for text in ("", "if x:\nif x:"):
        with pytest.raises(ValueError, match=r"a\.py: must have 'if x:' once, found [02]"):
            guards.applied(edit, text)


def test_each_fault_and_kill_has_a_guard_or_needs_none(
    guards: ModuleType, repository: Path
) -> None:
    page = (repository / "docs" / "what_holds.md").read_text()
    rows = [
        set(re.findall(r"^\| ([^|*:]+(?:: [^|]+)?) \|", block, re.MULTILINE)) - {title}
        for name, title in (("faults", "fault"), ("kills", "killed in or while"))
        for block in re.findall(rf"<!-- {name}:begin -->(.*)<!-- {name}:end -->", page, re.DOTALL)
    ]
    faults, kills = rows
    others = guards.OF_OTHERS.keys()
    named = {fault for guard in guards.GUARDS for fault in guard.faults} | others
    assert faults - named == set()
    named = {kill for guard in guards.GUARDS for kill in guard.kills}
    named |= {name.rpartition(" of ")[2].removeprefix("a ") for name in others}
    assert kills - named == set()


def test_table_names_file_function_and_what_was_lost(guards: ModuleType) -> None:
    (guard,) = [g for g in guards.GUARDS if g.what == "a table has rows"]
    made = guards.table([guard], {guard.what: ["empty table"]})
    assert "| a table has rows | config/tables.py: read\\_table | empty table |" in made
    assert "empty dvc.lock" in made.splitlines()[-1]


def test_rows_that_are_not_tried_again_stay_in_the_page(
    guards: ModuleType, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "docs" / "what_holds.md").read_text()
    (page := tmp_path / "page.md").write_text(text)
    every = {g.what: [*g.faults, *g.kills] for g in guards.GUARDS}
    monkeypatch.setattr(guards, "without", lambda *_: None)
    monkeypatch.setattr(guards, "lost_in", lambda _, guard, **__: every[guard.what][1:])
    command = ["guards.py", "--only", "history off", "--write", str(page)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as ended:
        guards.main()
    assert ended.value.code == 1
    before, after = (guards.lost_before(content) for content in (text, page.read_text()))
    (tried,) = (what for what in every if "history off" in what)
    assert after == before | {tried: every[tried][1:]}
    assert f" {every[tried][0]} (without: {tried})" in page.read_text().split("Lost nothing in")[1]
    page.write_text(text.replace("| a table has rows |", "| a table has none |"))
    with pytest.raises(SystemExit) as ended:
        guards.main()
    assert ended.value.code == 2


@pytest.mark.parametrize("kind", ["checkpoint", "result"])
def test_kills_take_the_steps_of_a_write_in_turn(guards: ModuleType, kind: str) -> None:
    assert guards  # makes the modules of benchmarks importable
    moments = import_module("kill_moments")
    steps = getattr(moments, f"MOMENTS_OF_A_{kind.upper()}")
    turns = [moments.Moment(kind, 0, turn=turn).step(steps) for turn in range(2 * len(steps))]
    assert turns == [*steps, *steps]


@pytest.mark.parametrize("found", [[], ["seed 0: the histories differ"]], ids=["equal", "not"])
def test_runs_that_differ_after_kills_are_kept(
    guards: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[str]
) -> None:
    assert guards  # makes the modules of benchmarks importable
    campaign = import_module("kill_campaign")

    def fork_run(folder: Path, *_: object) -> int:
        folder.mkdir(exist_ok=True)
        return next(statuses)

    statuses = iter([0, -9, 0])  # never killed, killed, resumed
    monkeypatch.setattr(campaign, "fork_run", fork_run)
    monkeypatch.setattr(campaign, "differences_of_runs", lambda *_: found)
    monkeypatch.setattr(campaign.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["kill_campaign.py", "--kills", "1", "--only", "update"])
    if not found:
        campaign.main()
        assert not list(tmp_path.glob("kills-*"))
        return
    with pytest.raises(SystemExit, match=rf"differ\nthe runs are in {tmp_path}/kills-"):
        campaign.main()
    (kept,) = tmp_path.glob("kills-*")
    assert sorted(path.name for path in kept.iterdir()) == ["killed-0", "reference-0"]
