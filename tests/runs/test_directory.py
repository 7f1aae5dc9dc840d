"""The run directory: nothing lost, nothing overwritten, nothing mixed up."""

import errno
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from anneal.runs import directory as artifacts
from anneal.runs.directory import (
    CHECKPOINT,
    HISTORY,
    PREVIOUS,
    SNAPSHOTS,
    UNREADABLE,
    RunDirectory,
    read_lines,
)
from anneal.runs.directory_lock import is_held
from anneal.runs.result_file import RESULT

PLAN = {"configuration_hash": "aaaaaaaaaaaa", "total_steps": 10}


@pytest.fixture
def directory(tmp_path):
    opened = RunDirectory(tmp_path / "seed-0", configuration_hash="aaaaaaaaaaaa", code="c1")
    opened.open(PLAN, replaced=tmp_path / "replaced")
    return opened


def checkpoint(directory, update):
    directory.append(HISTORY, {"update": update})
    directory.save_checkpoint({"weights": torch.full((3,), float(update))}, update=update)


def test_run_goes_on_from_its_checkpoint_with_its_history_cut_to_it(directory):
    checkpoint(directory, 1)
    checkpoint(directory, 2)
    directory.append(HISTORY, {"update": 3})
    (directory.path / HISTORY).open("a").write('{"upd')  # a crash in the middle of a line
    found = directory.resume()
    assert found["update"] == 2
    assert found["state"]["weights"].tolist() == [2.0, 2.0, 2.0]
    assert read_lines(directory.path / HISTORY) == [{"update": 1}, {"update": 2}]


def test_run_without_a_checkpoint_starts_anew_with_an_empty_history(directory):
    directory.append(HISTORY, {"update": 1})
    assert directory.resume() is None
    assert read_lines(directory.path / HISTORY) == []


def test_checkpoint_before_is_kept(directory):
    checkpoint(directory, 1)
    checkpoint(directory, 2)
    before = torch.load(directory.path / PREVIOUS, weights_only=True)
    assert before["update"] == 1


def test_finished_run_keeps_one_checkpoint(directory):
    checkpoint(directory, 1)
    checkpoint(directory, 2)
    directory.finish({"status": "finished", "updates": 2})
    assert not (directory.path / PREVIOUS).exists()
    assert directory.read_checkpoint()["update"] == 2
    (directory.path / CHECKPOINT).write_bytes(b"")
    with pytest.raises(ValueError, match=r"move .*seed-0 away to start again"):
        directory.read_checkpoint()


def test_next_start_deletes_what_a_kill_left_half_written(directory, tmp_path):
    checkpoint(directory, 1)
    process = os.fork()
    if process == 0:
        os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        directory.save_snapshot({}, update=2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    names = [path.name for path in (directory.path / SNAPSHOTS).iterdir()]
    assert names == [f".2.pt.{process}.tmp"]
    (directory.path / f".{CHECKPOINT}.1.tmp").touch()
    directory.open(PLAN, replaced=tmp_path / "replaced")
    assert directory.resume()["update"] == 1
    assert [*directory.path.rglob("*.tmp")] == []


def test_full_disk_leaves_the_last_checkpoint_and_no_partial_file(directory, monkeypatch):
    checkpoint(directory, 1)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint(directory, 2)
    monkeypatch.undo()
    assert directory.resume()["update"] == 1
    assert not [f for f in directory.path.iterdir() if "tmp" in f.name]


def test_checkpoint_of_another_configuration_is_refused(directory):
    checkpoint(directory, 1)
    other = RunDirectory(directory.path, configuration_hash="bbbbbbbbbbbb")
    with pytest.raises(ValueError, match=r"checkpoint.pt is of configuration aaaaaaaaaaaa, not bb"):
        other.resume()
    assert directory.resume()["update"] == 1


def truncate(file):
    file.write_bytes(file.read_bytes()[:200])


def flip_a_bit_of_a_weight(file):
    content = bytearray(file.read_bytes())
    place = content.index(struct.pack("<3f", 2.0, 2.0, 2.0))
    content[place + 1] ^= 1
    file.write_bytes(content)


def write_another_program_s_file(file):
    torch.save([1, 2, 3], file)


def empty(file):
    file.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [truncate, flip_a_bit_of_a_weight, write_another_program_s_file, empty]
)
def test_damaged_checkpoint_is_kept_and_the_previous_one_resumed(directory, damage, capsys):
    checkpoint(directory, 1)
    checkpoint(directory, 2)
    damage(directory.path / CHECKPOINT)
    damaged = (directory.path / CHECKPOINT).read_bytes()
    assert directory.resume()["update"] == 1
    assert read_lines(directory.path / HISTORY) == [{"update": 1}]
    said = capsys.readouterr().out
    assert "checkpoint.pt cannot be read (" in said
    assert "resuming from checkpoint.previous.pt, update 1" in said
    assert (directory.path / UNREADABLE).read_bytes() == damaged
    assert directory.resume()["update"] == 1  # killed before it wrote another one
    directory.save_checkpoint({}, update=3)  # the good one is not replaced by the damaged one
    assert not list(directory.path.glob(".*.tmp"))
    assert torch.load(directory.path / PREVIOUS, weights_only=True)["update"] == 1


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with a previous one"])
def test_checkpoint_that_would_run_code_is_refused_and_not_run(directory, tmp_path, alone):
    class Malice:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    if not alone:
        checkpoint(directory, 1)
    checkpoint(directory, 2)
    file = directory.path / CHECKPOINT
    torch.save(torch.load(file, weights_only=True) | {"state": Malice()}, file)
    if alone:
        with pytest.raises(ValueError, match=r"checkpoint.pt cannot be read .* move .* away"):
            directory.resume()
    else:
        assert directory.resume()["update"] == 1
    assert not (tmp_path / "ran").exists()


def test_damaged_checkpoint_without_a_previous_one_is_refused(directory):
    checkpoint(directory, 1)
    file = directory.path / CHECKPOINT
    truncate(file)
    with pytest.raises(ValueError, match=r"checkpoint.pt cannot be read .* move .* away to start"):
        directory.resume()
    assert file.stat().st_size == 200


def without_links(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)


def test_previous_checkpoint_is_renamed_where_there_are_no_links(directory, monkeypatch):
    without_links(monkeypatch)
    checkpoint(directory, 1)
    checkpoint(directory, 2)
    assert torch.load(directory.path / PREVIOUS, weights_only=True)["update"] == 1
    assert directory.resume()["update"] == 2
    truncate(directory.path / CHECKPOINT)
    assert directory.resume()["update"] == 1
    assert (directory.path / UNREADABLE).stat().st_size == 200


def test_crash_between_two_renames_leaves_the_previous_checkpoint(directory, monkeypatch):
    without_links(monkeypatch)
    checkpoint(directory, 1)
    synced = []

    def crash(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:  # the history's first
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        directory.save_checkpoint({}, update=2)
    assert not (directory.path / CHECKPOINT).exists()
    assert directory.resume()["update"] == 1
    checkpoint(directory, 3)
    assert torch.load(directory.path / PREVIOUS, weights_only=True)["update"] == 1
    assert directory.resume()["update"] == 3


def test_checkpoint_whose_history_is_gone_is_refused(directory):
    checkpoint(directory, 1)
    (directory.path / HISTORY).unlink()
    with pytest.raises(ValueError, match=r"history.jsonl has 0 bytes"):
        directory.resume()


def test_run_of_another_configuration_is_set_aside_and_not_lost(directory, tmp_path, capsys):
    checkpoint(directory, 7)
    new = RunDirectory(directory.path, configuration_hash="bbbbbbbbbbbb", code="c1")
    assert new.result() is None
    plan = {"configuration_hash": "bbbbbbbbbbbb", "schedule": {"max_lr": 0.1}}
    new.open(plan, replaced=tmp_path / "replaced")
    assert "the run here was another (max_lr None -> 0.1); it is now" in capsys.readouterr().out
    assert new.resume() is None
    aside = tmp_path / "replaced" / "seed-0-aaaaaaaaaaaa"
    assert torch.load(aside / CHECKPOINT, weights_only=True)["update"] == 7
    directory.open(PLAN, replaced=tmp_path / "replaced")  # and back again, twice
    new.open({"configuration_hash": "bbbbbbbbbbbb"}, replaced=tmp_path / "replaced")
    assert (tmp_path / "replaced" / "seed-0-aaaaaaaaaaaa-2").is_dir()


def test_ended_run_is_known_by_its_result(directory):
    assert directory.result() is None
    directory.finish({"status": "finished", "updates": 10})
    assert directory.result()["status"] == "finished"


def test_run_that_ended_under_other_code_is_run_again(directory, tmp_path):
    directory.finish({"status": "finished", "updates": 10})
    changed = RunDirectory(directory.path, configuration_hash="aaaaaaaaaaaa", code="c2")
    assert changed.result() is None
    changed.open(PLAN, replaced=tmp_path / "replaced")
    assert not (changed.path / RESULT).exists()
    assert (tmp_path / "replaced" / "seed-0-aaaaaaaaaaaa" / RESULT).is_file()


def test_reading_a_checkpoint_that_is_gone_deletes_nothing(directory):
    checkpoint(directory, 1)
    (directory.path / CHECKPOINT).unlink()
    assert directory.read_checkpoint() is None
    assert read_lines(directory.path / HISTORY) == [{"update": 1}]


def test_run_resumed_under_other_code_is_certified_for_none(directory, tmp_path):
    directory.add_environment({})
    checkpoint(directory, 4)
    changed = RunDirectory(directory.path, configuration_hash="aaaaaaaaaaaa", code="c2")
    changed.open(PLAN, replaced=tmp_path / "replaced")
    changed.add_environment({})
    changed.finish({"status": "finished", "updates": 10})
    assert changed.result() is None
    reader = RunDirectory(directory.path, configuration_hash="aaaaaaaaaaaa")
    assert reader.result()["status"] == "finished"


def test_run_that_other_code_began_is_refused_unless_asked(directory, tmp_path, monkeypatch):
    directory.add_environment({})
    checkpoint(directory, 4)
    changed = RunDirectory(directory.path, configuration_hash="aaaaaaaaaaaa", code="c2")
    changed.open(PLAN, replaced=tmp_path / "replaced")
    with pytest.raises(ValueError, match=r"begun by code and numerics 'c1', not 'c2'.*other-code"):
        changed.resume()
    monkeypatch.setenv("ANNEAL_RESUME", "yes")
    with pytest.raises(ValueError, match="ANNEAL_RESUME must be other-code or unset, got 'yes'"):
        changed.resume()
    monkeypatch.setenv("ANNEAL_RESUME", "other-code")
    assert changed.resume()["update"] == 4


HOLD = """
import sys
from pathlib import Path
from filelock import FileLock
from anneal.runs.directory_lock import lock_of
with FileLock(lock_of(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_directory_in_use_by_another_process_is_refused(directory):
    command = [sys.executable, "-c", HOLD, str(directory.path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        assert is_held(directory.path)
        refused = pytest.raises(ValueError, match="seed-0 is in use by another process")
        with refused, directory.held():
            pass
    finally:
        other.communicate("")
    assert not is_held(directory.path)
    with directory.held():
        assert directory.path.is_dir()


def test_start_adds_its_environment_and_completes_it(directory):
    directory.add_environment({"started": "a"})
    directory.add_environment({"started": "b"})
    directory.add_to_environment(ended="c", to_update=3)
    assert directory.environment() == [
        {"code": "c1", "started": "a"},
        {"code": "c1", "started": "b", "ended": "c", "to_update": 3},
    ]


def test_number_that_is_none_never_gets_into_the_history(directory):
    with pytest.raises(ValueError, match="Out of range float"):
        directory.append(HISTORY, {"loss": float("nan")})
    assert artifacts.read_lines(directory.path / HISTORY) == []


def test_full_disk_names_the_history_that_could_not_be_written(directory, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as closing the file does

        def write(self, _text):
            return 0

    monkeypatch.setattr(type(directory.path), "open", lambda _path, _mode: Full())
    with pytest.raises(OSError, match=r"No space left on device: .*history.jsonl"):
        directory.append(HISTORY, {"update": 1})


def changed(file, old, new):
    """Replace words of a file that must be there."""
    content = file.read_bytes()
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, new))


def test_history_changed_before_its_checkpoint_is_refused(directory):
    checkpoint(directory, 1)
    checkpoint(directory, 2)
    changed(directory.path / HISTORY, b"2", b"3")
    with pytest.raises(ValueError, match=r"history.jsonl was changed, or is of another run than"):
        directory.resume()
    changed(directory.path / HISTORY, b"3", b"2")
    assert directory.resume()["update"] == 2


def test_advice_to_start_again_starts_again(directory):
    checkpoint(directory, 1)
    checkpoint(directory, 2)
    changed(directory.path / HISTORY, b"2", b"3")
    with pytest.raises(ValueError, match="away to start again") as refused:
        directory.resume()
    moved = re.search(r"move (\S+) away", str(refused.value))
    Path(moved[1]).rename(directory.path.with_name("away"))
    assert directory.resume() is None


def test_history_without_checksum_is_resumed(directory):
    checkpoint(directory, 1)
    content = torch.load(directory.path / CHECKPOINT, weights_only=True)
    del content["history_crc32"]  # as in older checkpoints
    torch.save(content, directory.path / CHECKPOINT)
    assert directory.resume()["update"] == 1


@pytest.mark.parametrize(("old", "new"), [(b"94.5", b"94.6"), (b'"acc', b'"bcc')])
def test_result_that_was_changed_is_refused(directory, old, new):
    directory.finish({"status": "finished", "updates": 2, "accuracy": 94.5})
    assert directory.result()["accuracy"] == 94.5
    changed(directory.path / RESULT, old, new)
    with pytest.raises(ValueError, match=r"result.json was changed, or .* move it away to resume"):
        directory.result()


def test_result_of_another_run_is_refused(directory, tmp_path):
    other = RunDirectory(tmp_path / "other", configuration_hash="bbbbbbbbbbbb", code="c1")
    other.open(PLAN | {"configuration_hash": "bbbbbbbbbbbb"}, replaced=tmp_path / "replaced")
    other.finish({"status": "finished", "updates": 2})
    (other.path / RESULT).replace(directory.path / RESULT)
    with pytest.raises(ValueError, match="is of another run"):
        directory.result()


def test_file_system_without_locks_is_said(directory, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(OSError, match="needs a file system with locks") as error, directory.held():
        pass
    assert error.value.filename == str(artifacts.lock_of(directory.path))


def test_file_system_without_renaming_over_keeps_the_last_checkpoint(directory, monkeypatch):
    def refused(self, target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self))

    checkpoint(directory, 1)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", refused)
        with pytest.raises(OSError, match="replaces no file by renaming") as error:
            checkpoint(directory, 2)
    assert error.value.filename == str(directory.path / CHECKPOINT)
    assert directory.resume()["update"] == 1
