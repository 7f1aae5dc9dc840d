"""Packs of runs: bit-equal after the way, whole or refused, and finished for the stages."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from anneal.commands.stages import evaluate, train
from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse, to_plain
from anneal.datasets import identify
from anneal.datasets.archives import Paths
from anneal.io.files import read_json, read_yaml, write_json, write_yaml
from anneal.runs import packs
from anneal.runs.directory import HISTORY, read_lines
from anneal.runs.layout import CAMPAIGN_FILE, EXPERIMENTS, RANGE_TESTS, RUNS, identity_file
from anneal.runs.packs import FILES, MANIFEST, MIB, PackedRun, merge_pack, read_pack, write_pack
from anneal.runs.result_file import MERGED, RESULT, checked

REPOSITORY = Path(__file__).parents[2]
SMALL = REPOSITORY / "tests" / "golden" / "small_run.yaml"
ROWS = ("small/slow", "small/fast")
WITHOUT = """
import runpy, sys
for name in ("dvc", "hydra", "omegaconf", "wandb"):
    sys.modules[name] = None  # importing it fails
program = sys.argv.pop(1)
sys.argv[0] = program
sys.path.insert(0, str(__import__("pathlib").Path(program).parent))
runpy.run_path(program, run_name="__main__")
"""


def compose(root: Path, *, memory_format: str) -> None:
    """Write what the stages compose and download would: two rows with two seeds."""
    plain = read_yaml(SMALL)
    plain["training"] |= {"length": "4 steps", "batch_size": 20, "log_lines": 4, "evaluations": 2}
    plain["hardware"]["memory_format"] = memory_format
    folder = root / EXPERIMENTS / "tiny"
    for name, rate in zip(ROWS, (0.005, 0.01), strict=True):
        row = plain | {"name": name, "scheduler": plain["scheduler"] | {"base_lr": rate}}
        experiment = parse(ExperimentConfig, row, where=name)
        content = {"seeds": [0, 1], "configuration": to_plain(experiment)}
        write_yaml(folder / f"{name}.yaml", content)
    entry = {"dataset": "digits", "range_test": "given"}
    campaign = {
        "name": "tiny", "title": "Two rows", "rerun_committed": True, "datasets": ["digits"],
        "range_tests": {}, "experiments": dict.fromkeys(ROWS, entry), "seeds": [0, 1],
        "budget_fraction": 1.0,
    }  # fmt: skip
    write_yaml(folder / CAMPAIGN_FILE, campaign)
    write_json(root / RANGE_TESTS / "tiny" / "given" / "suggestion.json", {"rule": None})
    identity = identify(experiment.dataset, Paths(root / "data"))
    write_json(root / identity_file("digits"), identity)


def burst(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as on a machine that has no Hydra, DVC or W&B."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, str(REPOSITORY / "benchmarks" / "burst.py"), *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of another machine after a burst; its numerics are not those here."""
    root = tmp_path_factory.mktemp("lent")
    compose(root, memory_format="channels_last")
    done = burst(root, "--minutes", "9", "--max-file-mib", "1", "tiny/small/fast", "tiny@0")
    assert done.returncode == 0, done.stderr
    assert "small/slow seed 0: finished" in done.stdout
    assert "3 runs in 1 files and pack.json" in done.stdout.splitlines()[-1]
    return root


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return this machine's folder, in which nothing has run."""
    compose(tmp_path, memory_format="contiguous")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the program, in this process."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    monkeypatch.delenv("ANNEAL_ARCHIVES", raising=False)
    return import_module("burst")


@pytest.fixture
def pack(lent: Path, tmp_path: Path) -> Path:
    """Return a copy of the pack."""
    return shutil.copytree(lent / "local" / "burst", tmp_path / "pack")


def test_merged_runs_are_finished_for_the_stages_and_measured_as_there(
    home: Path, pack: Path, lent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged, before = merge_pack(pack)
    order = [(run.experiment, run.seed) for run in merged]
    assert order == [("small/fast", 0), ("small/fast", 1), ("small/slow", 0)]
    assert before == []
    for run in merged:
        for name in set(FILES) - {RESULT}:
            assert (home / run.path / name).read_bytes() == (lent / run.path / name).read_bytes()
        there, here = (read_json(root / run.path / RESULT) for root in (lent, home))
        assert here == checked(there | {MERGED: True})
    assert not list((home / RUNS).glob(".merging*"))

    train.main(["tiny", "small/fast", "given"])
    said = capsys.readouterr().out
    assert said.count("already finished, not run again") == 2
    assert "the run here was another" not in said
    evaluate.main(["tiny", "small/fast", "given"])
    record = read_json(home / "evaluations" / "tiny" / "small" / "fast" / "record.json")
    there = read_json(lent / merged[0].path / RESULT)
    for run in record["runs"]:
        assert run["status"] == "finished"
        assert run["environment"]["started"]
    metrics = record["runs"][0]["metrics"]
    measured = {name for name in there if "@" in name or name == "best_update"}
    assert {"test_accuracy_pct@final", "test_loss@final", "best_update"} <= measured
    assert {name: metrics[name] for name in measured} == {name: there[name] for name in measured}

    assert merge_pack(pack) == ([], merged)  # again: nothing is to be done


def test_merged_run_of_older_sources_is_trained_again(
    home: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    merge_pack(pack)
    monkeypatch.setattr(train, "code_of_run", lambda numerics: f"other {numerics}")
    train.main(["tiny", "small/slow", "given", "0"])
    assert "slow/seed-0: the run here was another (" in capsys.readouterr().out
    assert MERGED not in read_json(home / RUNS / "tiny/small/slow/seed-0" / RESULT)


def test_same_command_trains_nothing_again_and_packs_all(
    lent: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(lent)
    program.main(["--minutes", "9", "--pack", "again", "tiny/small/fast", "tiny@0"])
    assert capsys.readouterr().out.count("already finished") == 4  # one row is named twice
    before = read_json(lent / "local" / "burst" / MANIFEST)
    assert read_json(lent / "again" / MANIFEST)["runs"] == before["runs"]


def test_pack_keeps_the_runs_of_an_earlier_command(
    lent: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(lent)
    folder = tmp_path / "pack"

    def packed(word: str) -> list[tuple[str, int]]:
        program.main(["--minutes", "9", "--pack", str(folder), word])
        return [(run.experiment, run.seed) for run in packs.packed_here(folder)]

    assert packed("tiny/small/fast@1") == [("small/fast", 1)]
    assert packed("tiny/small/slow@0") == [("small/fast", 1), ("small/slow", 0)]
    assert len(read_pack(folder)[1]) == 2
    (folder / MANIFEST).write_text("{")
    with pytest.raises(SystemExit):
        packed("tiny/small/slow@0")
    monkeypatch.chdir(tmp_path)
    (folder / MANIFEST).write_bytes((lent / "local" / "burst" / MANIFEST).read_bytes())
    assert packs.packed_here(folder) == []  # none of them is here
    monkeypatch.chdir(lent)
    assert len(packs.packed_here(folder)) == 3
    edited(folder, code="x")
    assert packs.packed_here(folder) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "error: small/fast: out of memory: training.batch_size is 20; lower it"),
        (ImportError("No module named 'timm'"), "error: small/fast: No module named 'timm'"),
    ],
)
def test_row_without_memory_or_module_is_one_line_and_the_next_begins(
    home: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any,
    error: Exception, said: str,
) -> None:  # fmt: skip
    begun = []

    def train_row(row: Any, **_: Any) -> None:
        begun.append(row.name)
        if len(begun) == 1:
            raise error

    monkeypatch.setattr(program, "_train_row", train_row)
    rows = program.read_rows(["tiny/small/fast", "tiny/small/slow"])
    failed = program.train_rows(rows, until=1e12, after_row=lambda _: None)
    assert (failed, begun) == (["small/fast"], ["small/fast", "small/slow"])
    assert said in capsys.readouterr().err
    assert home.is_dir()


def test_run_that_time_stops_is_not_packed_and_resumes_to_the_same_bits(
    home: Path, lent: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    compose(home, memory_format="channels_last")
    clock = itertools.count()
    monkeypatch.setattr(program, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    packed: list[list[PackedRun]] = []

    def after_row(runs: Sequence[PackedRun]) -> None:
        packed.append(list(runs))

    rows = program.read_rows(["tiny/small/fast@1", "tiny/small/slow@0"])
    assert program.train_rows(rows, until=3.0, after_row=after_row) == []
    said = capsys.readouterr().out
    assert "small/fast: stopped; the same command resumes it" in said
    assert "small/slow: not begun" in said
    assert packed == [[]]
    run = PackedRun(campaign="tiny", experiment="small/fast", seed=1)
    assert not (run.path / RESULT).exists()
    assert 0 < len(read_lines(run.path / HISTORY)) < 4
    assert program.train_rows(rows[:1], until=1e9, after_row=after_row) == []
    assert packed[-1] == [run]
    assert (run.path / HISTORY).read_bytes() == (lent / run.path / HISTORY).read_bytes()


def test_run_that_ends_as_time_is_over_is_packed(
    home: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr(program, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    packed: list[PackedRun] = []
    rows = program.read_rows(["tiny/small/fast@1"])
    assert program.train_rows(rows, until=4.0, after_row=packed.extend) == []
    assert packed == [PackedRun(campaign="tiny", experiment="small/fast", seed=1)]
    assert home.is_dir()


def test_seed_that_cannot_end_in_time_gives_way_to_the_next_row(
    home: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Each look at the clock takes a second, and a run of four updates looks seven times."""
    clock = itertools.count()
    monkeypatch.setattr(program, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    rows = program.read_rows(["tiny/small/fast", "tiny/small/slow"])
    program.train_rows(rows, until=11.0, after_row=lambda _: None)
    said = capsys.readouterr().out
    assert "small/fast seed 0: finished" in said
    assert "small/fast seed 1: not begun, it needs" in said
    assert "small/slow: stopped" in said
    assert home.is_dir()


def test_seeds_abreast_are_trained_together_and_packed(
    home: Path, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ROWS:
        file = home / EXPERIMENTS / "tiny" / f"{name}.yaml"
        content = read_yaml(file)
        content["configuration"]["hardware"]["abreast"] = 2
        write_yaml(file, content)
    together: list[list[int]] = []
    for module in (program, train):
        taken = module.train_abreast
        monkeypatch.setattr(
            module, "train_abreast",
            lambda runs, seen, taken=taken: (
                together.append([run.seed for run in runs]), taken(runs, seen)
            ),
        )  # fmt: skip
    program.main(["--minutes", "9", "tiny/small/fast"])
    assert len(read_json(home / "local" / "burst" / MANIFEST)["runs"]) == 2
    train.main(["tiny", "small/slow", "given"])
    assert together == [[0, 1], [0, 1]]
    for name in ROWS:
        for seed in (0, 1):
            assert (home / RUNS / "tiny" / name / f"seed-{seed}" / RESULT).is_file()


def test_row_that_fails_leaves_the_next_ones_and_ends_with_an_error(
    home: Path, program: ModuleType, capsys: Any
) -> None:
    blocked = home / RUNS / "tiny/small/fast/seed-0"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where the run's folder should be")
    with pytest.raises(SystemExit):
        program.main(["--minutes", "9", "tiny@0"])
    out, err = capsys.readouterr()
    assert "small/slow seed 0: finished" in out
    assert "error: small/fast: " in err
    assert err.splitlines()[-1] == "error: 1 of the rows failed: small/fast"
    assert len(read_json(home / "local" / "burst" / MANIFEST)["runs"]) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny"], "needs --minutes and at least one ROW, or --merge"),
        (["--minutes", "1.5", "tiny"], "--minutes more than 1.5, got 1.5"),
        (["--minutes", "9", "--max-file-mib", "0", "tiny"], "--max-file-mib must be at least 1"),
        (["--minutes", "9", "--archives", "nowhere", "tiny"], "--archives must be a folder, got"),
        (["--minutes", "9", "tiny/small/fast@7"], "small/fast.yaml: seeds has no 7"),
        (["--minutes", "9", "tiny@a"], "seeds of a row must be like @0-4 or @0,2, got @a"),
        (["--minutes", "9", "other"], "experiments/other/campaign.yaml is missing"),
        (["--minutes", "9", "tiny/kept"], "training.snapshots must be none, got last 2"),
    ],
)
def test_command_that_cannot_be_is_refused_in_one_line(
    home: Path, program: ModuleType, capsys: Any, arguments: list[str], said: str
) -> None:
    file = home / EXPERIMENTS / "tiny" / "kept.yaml"
    content = read_yaml(home / EXPERIMENTS / "tiny" / "small" / "fast.yaml")
    content["configuration"]["training"]["snapshots"] = "last 2"
    write_yaml(file, content)
    with pytest.raises(SystemExit):
        program.main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (home / RUNS).exists()


def test_pack_is_cut_into_files_of_the_size_asked_for(
    lent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lent)
    monkeypatch.setattr(packs, "MIB", 2**10)
    runs = [PackedRun(campaign="tiny", experiment="small/fast", seed=seed) for seed in (0, 1)]
    manifest = write_pack(tmp_path, runs, max_file_mib=1)
    sizes = [(tmp_path / file.name).stat().st_size for file in manifest.files]
    assert len(sizes) > 1
    assert max(sizes) <= 2**10 < MIB
    _, contents = read_pack(tmp_path)
    for run in runs:
        assert {name: (run.path / name).read_bytes() for name in FILES} == contents[run]
    write_pack(tmp_path, runs[:1], max_file_mib=1)  # the files of the pack before are gone
    found, _ = read_pack(tmp_path)
    assert {path.name for path in tmp_path.glob("*.part")} == {file.name for file in found.files}


# --- damage ---------------------------------------------------------------------------------------


def part_of(pack: Path) -> Path:
    (part,) = pack.glob("*.part")
    return part


def flip(pack: Path) -> None:
    content = bytearray(part_of(pack).read_bytes())
    content[100] ^= 1
    part_of(pack).write_bytes(content)


def edited(pack: Path, **values: Any) -> None:
    write_json(pack / MANIFEST, read_json(pack / MANIFEST) | values)


def result_with(content: bytes, **values: Any) -> bytes:
    return json.dumps(checked(json.loads(content) | values)).encode()


def rewritten(pack: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    """Pack the runs again with a file of the last one changed, checksums and all."""
    root = pack.parent / "changed"
    manifest, contents = read_pack(pack)
    for run, files in contents.items():
        (root / run.path).mkdir(parents=True)
        for file, content in files.items():
            last = run == manifest.runs[-1] and file == name
            (root / run.path / file).write_bytes(change(content) if last else content)
    here = Path.cwd()
    os.chdir(root)
    try:
        write_pack(pack, manifest.runs, max_file_mib=1)
    finally:
        os.chdir(here)


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    ("part gone", lambda p: part_of(p).unlink(), r"\.part is missing"),
    ("part cut", lambda p: part_of(p).write_bytes(b"x"), r"\.part: must have \d+ bytes, got 1"),
    ("bit flipped", flip, r"\.part: sha256 must be \w+, got \w+"),
    ("no manifest", lambda p: (p / MANIFEST).unlink(), r"pack\.json is missing"),
    ("cut manifest", lambda p: (p / MANIFEST).write_text("{"), r"pack\.json, line 1: "),
    ("old format", lambda p: edited(p, format=0), r"pack\.json: format must be 1, got 0"),
    ("other code", lambda p: edited(p, code="x"), r"pack\.json: code must be \w+, .* got x"),
    ("no run", lambda p: edited(p, runs=[]), r"archive must have the files of its runs"),
    (
        "path away",
        lambda p: edited(p, runs=[{"campaign": "../x", "experiment": "a", "seed": 0}]),
        r"pack\.json: runs\[0\]\.campaign must be letters",
    ),
    (
        "no archive",
        lambda p: edited(p, files=[]),
        r"pack\.json: files must be a compressed archive",
    ),
    (
        "other configuration",
        lambda p: rewritten(
            p, "experiment.yaml", lambda c: re.sub(rb"(hash: )'?\w+'?", rb"\1x", c)
        ),
        r"slow/seed-0/experiment\.yaml: configuration_hash must be \w+, got x",
    ),
    (
        "history cut",
        lambda p: rewritten(p, HISTORY, lambda c: c[: c.rindex(b"\n", 0, -1) + 1]),
        r"slow/seed-0/history\.jsonl: update of the last line must be 4, got 3",
    ),
    (
        "not ended",
        lambda p: rewritten(p, RESULT, lambda c: result_with(c, updates=2)),
        r"slow/seed-0/result\.json: updates must be 4, got 2",
    ),
    (
        "result changed",
        lambda p: rewritten(p, RESULT, lambda c: c.replace(b'"updates": 4', b'"updates": 5')),
        r"slow/seed-0/result\.json: crc32 must be \d+, got \d+",
    ),
    (
        "no JSON",
        lambda p: rewritten(p, RESULT, lambda c: c[:20]),
        r"slow/seed-0 must be a run that has ended, got JSONDecodeError",
    ),
]


@pytest.mark.parametrize(("damage", "said"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_damaged_pack_is_refused_and_nothing_is_merged(
    home: Path, pack: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(pack)
    with pytest.raises(ValueError, match=said) as refused:
        merge_pack(pack)
    assert "\n" not in str(refused.value)
    assert not (home / RUNS).exists()


def test_pack_of_more_than_can_be_read_is_refused_and_not_written(
    lent: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, _ = read_pack(pack)
    before = {path: path.read_bytes() for path in pack.iterdir()}
    monkeypatch.chdir(lent)
    monkeypatch.setattr(packs, "MOST_UNPACKED_MIB", 0)
    with pytest.raises(ValueError, match=r"pack: a pack must have at most 0 MiB of runs, got "):
        write_pack(pack, manifest.runs[:1], max_file_mib=1)
    assert {path: path.read_bytes() for path in pack.iterdir()} == before


def test_pack_that_unpacks_to_too_much_is_refused(
    home: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MOST_UNPACKED_MIB", 0)
    with pytest.raises(ValueError, match=r"pack\.json: files must unpack to at most 0 MiB"):
        merge_pack(pack)
    assert not (home / RUNS).exists()


def test_merge_killed_between_two_renames_is_finished_by_the_next(home: Path, pack: Path) -> None:
    process = os.fork()
    if process == 0:
        rename = Path.replace

        def killed(self: Path, target: Path) -> Path:
            found = rename(self, target)
            if self.parent.name == ".merging":
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        Path.replace = killed  # type: ignore[method-assign]
        try:
            merge_pack(pack)
        finally:
            os._exit(0)  # no second pytest
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    there = home / RUNS / ".merging"
    assert sorted(path.name for path in there.iterdir()) == ["1", "2"], "the first was renamed"
    (there / "1" / f".{HISTORY}.1.tmp").write_text("what a kill in a write leaves")
    merged, before = merge_pack(pack)
    assert [(run.experiment, run.seed) for run in before] == [("small/fast", 0)]
    assert [(run.experiment, run.seed) for run in merged] == [("small/fast", 1), ("small/slow", 0)]
    _, contents = read_pack(pack)
    for run, files in contents.items():
        for name in set(FILES) - {RESULT}:
            assert (home / run.path / name).read_bytes() == files[name]
        result = json.loads(files[RESULT]) | {MERGED: True}
        assert read_json(home / run.path / RESULT) == checked(result)
        assert {path.name for path in (home / run.path).iterdir()} == set(FILES)
    assert not there.exists()


def test_run_here_that_has_not_ended_is_left_and_nothing_is_merged(home: Path, pack: Path) -> None:
    begun = home / RUNS / "tiny/small/slow/seed-0"
    begun.mkdir(parents=True)
    (begun / HISTORY).write_text("begun")
    refused = r"slow/seed-0 must be an ended run .* move it away"
    with pytest.raises(ValueError, match=refused):
        merge_pack(pack)
    write_json(begun / RESULT, {"code": None, "status": "finished"})  # resumed under other code
    with pytest.raises(ValueError, match=refused):
        merge_pack(pack)
    (begun / RESULT).unlink()
    assert [file.name for file in begun.iterdir()] == [HISTORY]
    assert not (home / RUNS / "tiny/small/fast/seed-0").exists()
    assert not list((home / RUNS).glob(".merging*"))


def test_seed_or_row_that_is_not_here_is_refused(home: Path, pack: Path) -> None:
    file = home / EXPERIMENTS / "tiny" / "small" / "fast.yaml"
    file.write_text(yaml.safe_dump(read_yaml(file) | {"seeds": [0]}))
    with pytest.raises(ValueError, match=r"fast\.yaml: seeds has no 1"):
        merge_pack(pack)
    file.unlink()
    with pytest.raises(ValueError, match=r"fast\.yaml is missing"):
        merge_pack(pack)
