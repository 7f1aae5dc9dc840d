"""Faults on the way from a server to a folder, against a server of this process."""

import contextlib
import dataclasses
import hashlib
import http.server
import io
import multiprocessing
import pickle
import resource
import tarfile
import threading
import time

import pytest

from anneal.datasets import archives
from anneal.datasets.archives import Paths, RetryPolicy, obtain, read_member
from anneal.datasets.sources import CIFAR10, Member, PublishedArchive

HASTY = RetryPolicy(timeout_seconds=0.3, attempts=3, pause_seconds=0.0)
CONTENTS = {
    "train": pickle.dumps({"data": list(range(5000))}),
    "test": pickle.dumps({"data": [4]}),
    "meta": b"names",
}


def pack(contents, folder="small"):
    """Return a gzipped tar of these files, with one more that nobody asked for."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in {**contents, "../../outside": b"x", "readme.html": b"hello"}.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


ARCHIVE = pack(CONTENTS)


def make_source(url="http://127.0.0.1:9/small.tar.gz", archive=ARCHIVE):
    return PublishedArchive(
        name="small",
        urls=(url,),
        archive="small.tar.gz",
        archive_bytes=len(archive),
        archive_md5=hashlib.md5(archive).hexdigest(),
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        folder="small",
        members=tuple(
            Member(name=name, md5=hashlib.md5(content).hexdigest(), split=None)
            for name, content in CONTENTS.items()
        ),
        labels_key="labels",
        image_shape=(3, 32, 32),
        images_per_class={"train": 1, "test": 1},
        class_names=("a", "b"),
    )


class Server(http.server.ThreadingHTTPServer):
    """Answers each request with the next of its behaviours; the last one stays."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours = ["good"]
        self.requests = 0
        self.ranges = []
        self.over = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/small.tar.gz"


REDIRECTS = {
    "elsewhere": "/elsewhere", "in a circle": "/small.tar.gz", "to a file": "file:///etc/hostname"
}  # fmt: skip


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        behaviours = self.server.behaviours
        behaviour = behaviours[min(self.server.requests, len(behaviours) - 1)]
        self.server.requests += 1
        if behaviour == "missing":
            self.send_error(404)
            return
        if behaviour == "silent":
            self.server.over.wait(5)
            return
        if behaviour in REDIRECTS and self.path != "/elsewhere":
            self.send_response(302)
            self.send_header("Location", REDIRECTS[behaviour])
            self.end_headers()
            return
        self.server.ranges.append(self.headers["Range"])
        body = {
            "wrong": ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1]),
            "longer": ARCHIVE + b"more",
        }.get(behaviour, ARCHIVE)
        start = int((self.headers["Range"] or "bytes=0-")[len("bytes=") : -1])
        if start and behaviour == "good":
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            self.send_response(200)
        promised = len(body) // 2 if behaviour == "promises less" else len(body)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        if behaviour in ("truncates", "stalls"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if behaviour == "stalls":
                self.server.over.wait(5)
        else:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.over.set()
        running.shutdown()


@pytest.fixture
def paths(tmp_path):
    (tmp_path / "archives").mkdir()
    return Paths(tmp_path / "data", tmp_path / "archives")


PART = ".small.tar.gz.part"
CUT_OFF = ("truncates", "stalls", "promises less")


def assert_nothing_is_left(paths, *, but=()):
    """Nothing but the lock: neither a final name nor a temporary one."""
    left = {path.name for path in paths.data.iterdir()} if paths.data.exists() else set()
    assert left - {".small.lock"} == {*but}


def assert_complete(folder):
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENTS


def test_download_is_checked_unpacked_and_named(server, paths):
    folder = obtain(make_source(server.url), paths, retry_policy=HASTY)
    assert folder == paths.data / "small"
    assert_complete(folder)
    assert sorted(p.name for p in paths.data.iterdir()) == [".small.lock", "small"]
    assert not (paths.data.parent / "outside").exists()


def test_what_is_here_is_not_downloaded_again(server, paths):
    source = make_source(server.url)
    for _ in range(2):
        obtain(source, paths, retry_policy=HASTY)
    assert server.requests == 1


FAULTS = {
    "truncates": rf"expected {len(ARCHIVE)} bytes, got {len(ARCHIVE) // 2}",
    "stalls": "no answer for 0.3 seconds",
    "silent": "no answer for 0.3 seconds|timed out",
    "wrong": rf"expected md5 {hashlib.md5(ARCHIVE).hexdigest()}, found [0-9a-f]{{32}}",
    "longer": rf"expected {len(ARCHIVE)} bytes, got more",
    "missing": "404",
    "promises less": rf"expected {len(ARCHIVE)} bytes, got {len(ARCHIVE) // 2}",
    "in a circle": "redirect",
    "to a file": "not allowed|is not",
}


@pytest.mark.parametrize(("behaviour", "said"), FAULTS.items(), ids=FAULTS)
def test_server_that_never_delivers_leaves_nothing_and_is_given_up(server, paths, behaviour, said):
    server.behaviours = [behaviour]
    started = time.perf_counter()
    with pytest.raises(OSError, match=said) as caught:
        obtain(make_source(server.url), paths, retry_policy=HASTY)
    assert time.perf_counter() - started < 20
    assert server.requests == HASTY.attempts or behaviour == "in a circle"
    assert "\n" not in str(caught.value)
    assert_nothing_is_left(paths, but=[PART] if behaviour in CUT_OFF else [])


@pytest.mark.parametrize("behaviour", FAULTS)
def test_server_that_recovers_is_good_enough(server, paths, behaviour):
    server.behaviours = [behaviour, "good"]
    if behaviour == "in a circle":
        server.behaviours = ["missing", "elsewhere", "good"]
    assert_complete(obtain(make_source(server.url), paths, retry_policy=HASTY))
    half = f"bytes={len(ARCHIVE) // 2}-" if behaviour in CUT_OFF else None
    assert server.ranges[-1] == half, "the rest alone is asked for"
    assert_nothing_is_left(paths, but=["small"])


def test_download_that_was_given_up_is_resumed_by_the_next_start(server, paths):
    server.behaviours = ["truncates"]
    with pytest.raises(OSError, match="got"):
        obtain(make_source(server.url), paths, retry_policy=HASTY)
    server.behaviours, server.ranges = ["good"], []
    assert_complete(obtain(make_source(server.url), paths, retry_policy=HASTY))
    assert server.ranges == [f"bytes={len(ARCHIVE) // 2}-"]


def test_server_without_ranges_begins_again(server, paths):
    server.behaviours = ["truncates", "no ranges"]
    assert_complete(obtain(make_source(server.url), paths, retry_policy=HASTY))
    assert server.ranges == [None, f"bytes={len(ARCHIVE) // 2}-"]


def test_archive_that_comes_by_hand_ends_the_download_that_was_given_up(paths):
    paths.data.mkdir()
    (paths.data / PART).write_bytes(ARCHIVE[:100])
    (paths.archives / "small.tar.gz").write_bytes(ARCHIVE)
    assert_complete(obtain(make_source(), paths, retry_policy=HASTY))
    assert_nothing_is_left(paths, but=["small"])


def test_part_with_other_bytes_is_dropped_and_downloaded_again(server, paths):
    paths.data.mkdir()
    (paths.data / PART).write_bytes(b"x" * 100)
    assert_complete(obtain(make_source(server.url), paths, retry_policy=HASTY))
    assert server.ranges == ["bytes=100-", None]


def test_pause_between_attempts_doubles(server, paths, monkeypatch):
    server.behaviours, pauses = ["missing"], []
    monkeypatch.setattr(archives.time, "sleep", pauses.append)
    with pytest.raises(OSError, match="404"):
        obtain(
            make_source(server.url), paths, retry_policy=dataclasses.replace(HASTY, pause_seconds=2)
        )
    assert pauses == [2, 4]


def test_second_url_is_tried_when_the_first_fails(server, paths):
    source = dataclasses.replace(
        make_source(), urls=("http://127.0.0.1:9/refused.tar.gz", server.url)
    )
    assert_complete(obtain(source, paths, retry_policy=HASTY))


def test_bad_download_never_takes_the_place_of_a_good_folder(server, paths):
    folder = obtain(make_source(server.url), paths, retry_policy=HASTY)
    server.behaviours = ["wrong"]
    server.requests = 0
    assert obtain(make_source(server.url), paths, retry_policy=HASTY) == folder
    assert_complete(folder)


def test_when_nothing_works_every_place_looked_at_is_named(paths):
    with pytest.raises(OSError, match="is not here and cannot be downloaded") as caught:
        obtain(make_source(), paths, retry_policy=HASTY)
    message = str(caught.value)
    for root in (paths.archives, paths.data):
        assert str(root / "small") in message
        assert str(root / "small.tar.gz") in message
    assert "http://127.0.0.1:9/small.tar.gz" in message
    assert hashlib.md5(ARCHIVE).hexdigest() in message
    assert "ANNEAL_ARCHIVES" in message
    assert "\n" not in message


def test_archives_folder_that_does_not_exist_is_said_not_to(tmp_path):
    paths = Paths(tmp_path / "data", tmp_path / "mistyped")
    with pytest.raises(OSError, match=r"mistyped/small \(no such folder\)"):
        obtain(make_source(), paths, retry_policy=HASTY)


@pytest.mark.parametrize("where", ["archives", "data"], ids=["theirs", "ours"])
def test_unpacked_folder_is_used_in_place(paths, where):
    folder = getattr(paths, where) / "small"
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    assert obtain(make_source(), paths, retry_policy=HASTY) == folder
    assert sorted(p.name for p in folder.parent.iterdir()) == ["small"]


@pytest.mark.parametrize("where", ["archives", "data"], ids=["theirs", "ours"])
def test_original_archive_is_unpacked_into_the_data_folder(paths, where):
    root = getattr(paths, where)
    root.mkdir(exist_ok=True)
    (root / "small.tar.gz").write_bytes(ARCHIVE)
    folder = obtain(make_source(), paths, retry_policy=HASTY)
    assert folder == paths.data / "small"
    assert_complete(folder)
    assert (root / "small.tar.gz").read_bytes() == ARCHIVE
    if where == "archives":
        assert [p.name for p in root.iterdir()] == ["small.tar.gz"]


@pytest.mark.parametrize("fault", ["short", "changed"])
def test_wrong_archive_on_disk_is_refused_and_left_alone(paths, fault):
    wrong = ARCHIVE[:-5] if fault == "short" else b"\0" + ARCHIVE[1:]
    path = paths.archives / "small.tar.gz"
    path.write_bytes(wrong)
    said = "expected [0-9]+ bytes, found" if fault == "short" else "expected md5 .*, found"
    with pytest.raises(ValueError, match=f"{path} is not the published archive: {said}") as caught:
        obtain(make_source(), paths, retry_policy=HASTY)
    assert "put the original there" in str(caught.value)
    assert path.read_bytes() == wrong
    assert_nothing_is_left(paths)


def test_archive_that_fools_md5_does_not_fool_sha256(paths):
    (paths.archives / "small.tar.gz").write_bytes(ARCHIVE)
    source = dataclasses.replace(make_source(), archive_sha256="0" * 64)
    with pytest.raises(ValueError, match="expected sha256 0000"):
        obtain(source, paths, retry_policy=HASTY)
    assert_nothing_is_left(paths)


def test_members_are_checked_before_the_folder_gets_its_name(paths):
    archive = pack({**CONTENTS, "test": b"another"})
    (paths.archives / "small.tar.gz").write_bytes(archive)
    with pytest.raises(ValueError, match="test is not the published file"):
        obtain(make_source(archive=archive), paths, retry_policy=HASTY)
    assert_nothing_is_left(paths)


def test_archive_that_is_no_archive_is_said_to_be_none(paths):
    (paths.archives / "small.tar.gz").write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"small.tar.gz cannot be unpacked"):
        obtain(make_source(archive=b"no tar"), paths, retry_policy=HASTY)
    assert_nothing_is_left(paths)


def test_incomplete_folder_is_named_and_not_repaired(server, paths):
    folder = obtain(make_source(server.url), paths, retry_policy=HASTY)
    (folder / "test").unlink()
    with pytest.raises(ValueError, match="small is incomplete: test is missing"):
        obtain(make_source(server.url), paths, retry_policy=HASTY)
    with pytest.raises(ValueError, match="small is incomplete: test is missing"):
        read_member(folder, make_source().members[1])


def test_data_folder_that_cannot_be_made_is_one_line(paths):
    # a file in the way: permissions would not stop a test that runs as root
    paths.data.write_text("mine")
    with pytest.raises(
        OSError, match=f"cannot write {paths.data}: .*; nothing there was"
    ) as caught:
        obtain(make_source(), paths, retry_policy=HASTY)
    assert "\n" not in str(caught.value)
    assert paths.data.read_text() == "mine"


def test_read_only_data_folder_is_one_line(server, paths):
    paths.data.mkdir()
    paths.data.chmod(0o555)
    try:
        with contextlib.suppress(PermissionError):
            (paths.data / "probe").touch()
            pytest.skip("permissions do not bind this user")
        with pytest.raises(OSError, match=f"cannot write {paths.data}: Permission denied"):
            obtain(make_source(server.url), paths, retry_policy=HASTY)
    finally:
        paths.data.chmod(0o755)


@contextlib.contextmanager
def no_file_beyond(num_bytes):
    """Let no file grow further, which is how a full disk looks to a writer.

    Around what is tested alone: pytest's own output may go to a file, too.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_that_fills_up_during_a_download_leaves_nothing(server, paths):
    with (
        pytest.raises(OSError, match=r"cannot write .*small.tar.gz.part: File too large") as caught,
        no_file_beyond(len(ARCHIVE) // 2),
    ):
        obtain(make_source(server.url), paths, retry_policy=HASTY)
    assert "\n" not in str(caught.value)
    assert server.requests == 1  # another attempt would not help
    assert_nothing_is_left(paths)


def test_disk_that_fills_up_while_unpacking_leaves_nothing(paths):
    (paths.archives / "small.tar.gz").write_bytes(ARCHIVE)
    with (
        pytest.raises(OSError, match=r"cannot write .*small: File too large"),
        no_file_beyond(100),
    ):
        obtain(make_source(), paths, retry_policy=HASTY)
    assert_nothing_is_left(paths)


def _obtain_in_a_process(arguments):
    source, paths = arguments
    return str(obtain(source, paths, retry_policy=HASTY))


def test_processes_that_start_together_download_once(server, paths):
    jobs = [(make_source(server.url), paths)] * 4
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        folders = pool.map(_obtain_in_a_process, jobs)
    assert set(folders) == {str(paths.data / "small")}
    assert server.requests == 1
    assert_complete(paths.data / "small")


def test_environment_names_both_folders():
    assert Paths.from_environment({}) == Paths(data=Paths.from_environment({}).data)
    named = Paths.from_environment({"ANNEAL_DATA": "d", "ANNEAL_ARCHIVES": "a"})
    assert [str(root) for root in named.roots] == ["a", "d"]


def test_real_sources_are_fetched_over_an_encrypted_connection():
    assert all(url.startswith("https://") for url in CIFAR10.urls)
