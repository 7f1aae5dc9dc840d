"""Files are written whole or not at all, and what cannot be read says where it is wrong."""

import contextlib
import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anneal.io.csv_files import csv_text, read_rows
from anneal.io.files import (
    read_json,
    read_yaml,
    read_yaml_documents,
    renew_page,
    synced,
    write_json,
    write_whole,
    write_yaml,
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a file with something in it."""
    file = tmp_path / "result.json"
    file.write_text("as it was")
    return file


def assert_untouched(file: Path) -> None:
    assert file.read_text() == "as it was"
    assert list(file.parent.iterdir()) == [file], "a temporary file stayed"


def test_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "x.txt"
    write_whole(file, "größer")
    write_whole(file, "größer")
    assert file.read_bytes() == "größer".encode()
    write_whole(file, b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert list(file.parent.iterdir()) == [file]


def test_new_content_is_not_there_before_all_of_it_is(old: Path) -> None:
    with synced(old) as file:
        file.write(b"new")
        file.flush()
        assert old.read_text() == "as it was"
        (temporary,) = set(old.parent.iterdir()) - {old}
        assert temporary.name.startswith(".")
        assert str(os.getpid()) in temporary.name, "two processes would share it"
    assert old.read_text() == "new"


def test_it_is_on_the_disk_before_it_takes_the_name(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda n: (done.append("sync"), fsync(n))[1])
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("rename"), replace(a, b))[1])
    write_whole(old, "new")
    assert done == ["sync", "rename"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("num_bytes", [10, 10**6])
def test_full_disk_leaves_the_old_file_and_is_named(old: Path, num_bytes: int) -> None:
    (old.parent / f".{old.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as full:
        write_whole(old, b"x" * num_bytes)
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(old))
    assert_untouched(old)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_full_disk_under_torch_is_a_full_disk(old: Path) -> None:
    """torch.save hides it behind a RuntimeError of its own."""
    import torch

    (old.parent / f".{old.name}.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), synced(old) as file:
        torch.save({"weights": torch.zeros(10_000)}, file)
    assert_untouched(old)


class FullAfter(io.FileIO):
    """A disk that has room for one MB, and then fails once: closing the file goes well again."""

    room = 10**6

    def write(self, content: Any) -> int:
        self.room -= len(content)
        if -(10**9) < self.room < 0:
            self.room = -(10**12)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


def fail_midway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda self, mode: io.BufferedWriter(FullAfter(self, mode)))


def test_full_disk_is_named_even_if_torch_hides_the_error(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    fail_midway(monkeypatch)
    with pytest.raises(OSError, match="No space left") as full, synced(old) as file:
        torch.save({"weights": torch.zeros(1_250_000)}, file)  # 5 MB
    monkeypatch.undo()
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, str(old))
    assert_untouched(old)


def test_writer_that_swallows_a_failed_write_leaves_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_midway(monkeypatch)

    def write() -> None:
        with synced(old) as file:
            with contextlib.suppress(OSError):
                file.write(bytes(5 * 10**6))
            file.write(b"the rest")

    with pytest.raises(OSError, match="No space left"):
        write()
    monkeypatch.undo()
    assert_untouched(old)


LIMITED = """
import resource, signal, sys
from pathlib import Path
import torch
from anneal.io.files import synced
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
try:
    with synced(Path(sys.argv[1])) as file:
        torch.save({"weights": torch.zeros(1_250_000)}, file)
except OSError as error:
    print(error.errno, error.filename)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
def test_real_limit_on_a_files_size_is_named_with_the_file(old: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(old)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout) == (0, f"{errno.EFBIG} {old}\n"), ended.stderr
    assert_untouched(old)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_disk_that_fails_while_syncing_leaves_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(number: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(code)) as failed:
        write_json(old, {"status": "finished"})
    assert failed.value.filename == str(old)
    assert_untouched(old)


def test_folder_that_is_read_only_names_the_file_that_was_wanted(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: the tests may run as root, whom no folder refuses."""
    opened = Path.open

    def refuse(self: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if "w" in mode:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError) as refused:
        write_yaml(old, {"a": 1})
    assert refused.value.filename == str(old)
    monkeypatch.undo()
    assert_untouched(old)


def test_folder_that_cannot_be_made_names_the_file_that_was_wanted(old: Path) -> None:
    with pytest.raises(OSError, match=r"result\.json/below/x\.json") as failed:
        write_whole(old / "below" / "x.json", "text")
    assert failed.value.errno == errno.ENOTDIR
    assert_untouched(old)


@pytest.mark.parametrize("error", [RuntimeError("ours"), KeyboardInterrupt()])
def test_writer_that_stops_half_way_leaves_the_old_file(old: Path, error: BaseException) -> None:
    def write_half() -> None:
        with synced(old) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert_untouched(old)


def test_what_cannot_be_written_as_json_or_yaml_leaves_the_old_file(old: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(old, {"loss": float("nan")})
    with pytest.raises(TypeError):
        write_json(old, {"path": Path()})
    assert_untouched(old)


# --- reading --------------------------------------------------------------------------------------

CONTENT = {"b": [1, 2.5, None, True], "a": {"x": "text", "y": 1e-05}, "on": "off", "big": 10**12}


def test_yaml_and_json_come_back_as_they_were_in_their_order(tmp_path: Path) -> None:
    for write, read, name in (
        (write_yaml, read_yaml, "x.yaml"),
        (write_json, read_json, "x.json"),
    ):
        write(tmp_path / name, CONTENT)
        found = read(tmp_path / name)
        assert found == CONTENT
        assert list(found) == list(CONTENT)
        assert (tmp_path / name).read_text().endswith("\n")


def test_yaml_is_written_in_block_style(tmp_path: Path) -> None:
    write_yaml(tmp_path / "x.yaml", {"seeds": [0, 1], "campaign": {"name": "quick"}})
    written = (tmp_path / "x.yaml").read_text()
    assert written == "seeds:\n- 0\n- 1\ncampaign:\n  name: quick\n"


def test_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", CONTENT)
    write_json(tmp_path / "b", json.loads((tmp_path / "a").read_text()))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_missing_file_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(ValueError, match=r"no_such\.file is missing"):
        read(tmp_path / "no_such.file")
    with pytest.raises(ValueError, match="is missing"):
        read(tmp_path)  # a folder is no file


@pytest.mark.parametrize(
    ("read", "text", "line"),
    [
        (read_yaml, "a: 1\nb: [1, 2\nc: 3\n", 3),
        (read_yaml, "a: 1\n\tb: 2\n", 2),
        (read_json, '{\n  "a": 1,\n}\n', 3),
        (read_json, "", 1),
    ],
)
def test_broken_file_is_named_with_its_line(
    tmp_path: Path, read: Any, text: str, line: int
) -> None:
    file = tmp_path / "broken"
    file.write_text(text)
    with pytest.raises(ValueError, match=rf"^{file}, line {line}: ") as refused:
        read(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("read", [read_yaml, read_yaml_documents])
@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000])
def test_yaml_of_parts_in_parts_without_end_is_refused(
    tmp_path: Path, read: Any, text: str
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=f"^{file}: nested too deep"):
        read(file)


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ValueError, match=rf"^{file}, line 1: could not determine a constructor"):
        read_yaml(file)


def test_block_of_a_page_is_renewed_and_a_missing_one_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- rates:begin -->\nold\n<!-- rates:end -->\nb\n")
    assert renew_page(page, {"rates": "new"})
    assert page.read_text() == "a\n<!-- rates:begin -->\nnew\n<!-- rates:end -->\nb\n"
    assert not renew_page(page, {"rates": "new"})
    with pytest.raises(ValueError, match=r"page.md: must have <!-- kills:begin --> and"):
        renew_page(page, {"rates": "newer", "kills": "none"})
    assert "new\n" in page.read_text()


@pytest.mark.parametrize("read", [read_yaml, read_json, read_rows])
def test_file_that_is_no_text_is_named(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "a file"
    path.write_bytes(b"12345\xff6")
    with pytest.raises(ValueError, match="a file: byte 5 is not UTF-8 text"):
        read(path)


def test_empty_table_without_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.touch()
    with pytest.raises(ValueError, match=r"runs.csv is empty: a table has a header"):
        read_rows(path)
    path.write_text("a,b\n")
    assert read_rows(path) == []


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "@SUM(1)", "+cmd|1", "-cmd|1", "\t=1"])
def test_cell_that_a_spreadsheet_would_compute_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="must not begin as a formula"):
        csv_text(["a"], [[cell]])


def test_signed_numbers_are_cells() -> None:
    assert csv_text(["a"], [["-0.5", "+1", -3, "-inf"]]) == "a\n-0.5,+1,-3,-inf\n"
