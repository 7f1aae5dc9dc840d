"""Download, check and unpacking of archives; a file under its final name is checked.

The search order is: the archives folder (unpacked, then the original archive), the data folder (the
same), the network. Nothing outside the data folder is ever written. An error is one line: file,
expected, found, what to do.
"""

import contextlib
import hashlib
import http.client
import logging
import os
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from anneal.config.paths import Paths as Paths  # exported: each reader takes it from here
from anneal.datasets.sources import Member, PublishedArchive

_LOG = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Time limit and number of attempts of a download."""

    timeout_seconds: float = 30.0  # without a single byte
    attempts: int = 3  # for each url
    pause_seconds: float = 2.0  # after a failed attempt, doubled each time


def obtain(
    source: PublishedArchive, paths: Paths, *, retry_policy: RetryPolicy | None = None
) -> Path:
    """Return the folder of the unpacked members of ``source``; download or unpack it if needed.

    An unpacked folder is used in place; its members are checked on reading (:func:`read_member`).
    A folder unpacked here is checked before it gets its name.

    Raises:
        ValueError: an existing file is not the published one.
        OSError: no file was found or downloaded, or the disk cannot be written.
    """
    found = _find_unpacked(source, paths)
    if found is not None:
        return found
    part = paths.data / f".{source.archive}.part"
    with lock(paths.data, source.name):
        found = _find_unpacked(source, paths)  # another process may have been faster
        if found is not None:
            return found
        for root in paths.roots:
            archive = root / source.archive
            if archive.is_file():
                _check_archive(source, archive)
                break
        else:
            archive = part
            _download(source, part, paths=paths, retry_policy=retry_policy or RetryPolicy())
        folder = _unpack(source, archive, paths.data)
        part.unlink(missing_ok=True)  # of an earlier start, where the archive came by hand
        return folder


def read_member(folder: Path, member: Member) -> bytes:
    """Return the content of one member after comparing its checksum.

    Raises:
        ValueError: it is missing or is not the published file.
    """
    path = folder / member.name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{folder} is incomplete: {member.name} is missing{_ADVICE}") from None
    check_member(content, member, path)
    return content


def check_member(content: bytes, member: Member, path: Path) -> None:
    """Compare the checksum of what a file holds.

    Raises:
        ValueError: it is not the published file's; names ``path``.
    """
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != member.md5:
        raise ValueError(f"{path} is not the published file: {_differs(member.md5, found)}")


def places(source: PublishedArchive, paths: Paths) -> list[str]:
    """Return every searched path, in order."""
    return [
        f"{root / name}{'' if root.is_dir() else ' (no such folder)'}"
        for root in paths.roots
        for name in (source.folder, source.archive)
    ]


@contextlib.contextmanager
def lock(data: Path, name: str) -> Iterator[None]:
    """Lock one set in the data folder, so that only one process downloads it.

    Raises:
        OSError: the data folder cannot be written.
    """
    with writing(data):
        data.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(data / f".{name}.lock")
        try:
            held.acquire(blocking=False)
        except filelock.Timeout:
            _LOG.info("%s: another process is getting it; waiting", name)
            held.acquire()
    try:
        yield
    finally:
        held.release()


@contextlib.contextmanager
def temporary_folder(data: Path) -> Iterator[Path]:
    """Make a folder inside the data folder, on the same disk, and remove it afterwards."""
    with writing(data):
        folder = tempfile.TemporaryDirectory(
            prefix=".unfinished-", dir=data, ignore_cleanup_errors=True
        )
    with folder as name:
        yield Path(name)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write into an error of one line with the path.

    Raises:
        OSError: naming ``path`` and the reason.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot write {path}: {reason}; nothing there was changed") from error


_ADVICE = "; delete it to have it made again, or put the original there"


def _differs(expected: str, found: str) -> str:
    return f"expected md5 {expected}, found {found}{_ADVICE}"


def _find_unpacked(source: PublishedArchive, paths: Paths) -> Path | None:
    for root in paths.roots:
        folder = root / source.folder
        if folder.is_dir():
            missing = [m.name for m in source.members if not (folder / m.name).is_file()]
            if missing:
                raise ValueError(f"{folder} is incomplete: {missing[0]} is missing{_ADVICE}")
            return folder
    return None


def _check_archive(source: PublishedArchive, path: Path) -> None:
    """Compare size, md5 and sha256 of an archive on disk."""
    size_bytes = path.stat().st_size
    if size_bytes != source.archive_bytes:
        raise ValueError(
            f"{path} is not the published archive: expected {source.archive_bytes} bytes, "
            f"found {size_bytes}{_ADVICE}"
        )
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if md5 != source.archive_md5:
        raise ValueError(
            f"{path} is not the published archive: {_differs(source.archive_md5, md5)}"
        )
    if sha256 != source.archive_sha256:
        raise ValueError(
            f"{path} is not the published archive: expected sha256 {source.archive_sha256}, "
            f"found {sha256}{_ADVICE}"
        )


def _download(
    source: PublishedArchive, target: Path, *, paths: Paths, retry_policy: RetryPolicy
) -> None:
    """Download to ``target``, or raise with every place and every attempt.

    What a failed attempt has received stays there; the next one, of a later start too, resumes it.
    """
    failures = []
    for url in source.urls:
        for attempt in range(1, retry_policy.attempts + 1):
            try:
                _fetch(source, url, target, timeout_seconds=retry_policy.timeout_seconds)
            except _DownloadError as failure:
                _LOG.warning(
                    "%s, attempt %d of %d: %s", url, attempt, retry_policy.attempts, failure
                )
                failures.append(f"attempt {attempt} at {url}: {failure}")
                if target.is_file() and not target.stat().st_size:
                    target.unlink()
            else:
                return
            if attempt < retry_policy.attempts:
                time.sleep(retry_policy.pause_seconds * 2 ** (attempt - 1))
    raise OSError(
        f"{source.name} is not here and cannot be downloaded; looked at "
        f"{', '.join(places(source, paths))}; {'; '.join(failures)}; put {source.archive} "
        f"(md5 {source.archive_md5}) into one of these folders, or name its folder in "
        "ANNEAL_ARCHIVES"
    )


class _DownloadError(Exception):
    """A failed download, which another attempt may mend."""


def _fetch(source: PublishedArchive, url: str, target: Path, *, timeout_seconds: float) -> None:
    """Stream one url to ``target``, after what is there; compare size and checksums."""
    size_bytes = source.archive_bytes
    received = target.stat().st_size if target.is_file() else 0
    shown_tenths = 10 * received // size_bytes
    try:
        with writing(target), target.open("ab") as file:
            rest = _chunks(url, received, timeout_seconds) if received < size_bytes else ()
            for start, chunk in rest:
                if start != received:  # the server begins again
                    file.truncate(start)
                    received = start
                received += len(chunk)
                if received > size_bytes:
                    break
                file.write(chunk)
                tenths = 10 * received // size_bytes
                if tenths > shown_tenths:
                    shown_tenths = tenths
                    _LOG.info("%s: %d %% of %d bytes", url, 10 * tenths, size_bytes)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)  # a full disk has room again
        raise
    if received < size_bytes:
        raise _DownloadError(f"expected {size_bytes} bytes, got {received}")
    if received > size_bytes:
        target.unlink()
        raise _DownloadError(f"expected {size_bytes} bytes, got more")
    for name, expected in (("md5", source.archive_md5), ("sha256", source.archive_sha256)):
        with target.open("rb") as whole:
            found = hashlib.file_digest(whole, name).hexdigest()
        if found != expected:
            target.unlink()
            raise _DownloadError(f"wrong checksum, expected {name} {expected}, found {found}")


def _chunks(url: str, start: int, timeout_seconds: float) -> Iterator[tuple[int, bytes]]:
    """Yield the content of a url from ``start``, or from 0 if the server has no ranges.

    Each piece has its place before it. Any network error is a :class:`_DownloadError`.
    """
    if not url.startswith(("https:", "http:")):
        raise _DownloadError("only http and https are fetched")
    headers = {"User-Agent": "anneal"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response:  # noqa: S310
            place = response.headers.get("Content-Range", "").startswith(f"bytes {start}-") * start
            while chunk := response.read1(_CHUNK_BYTES):  # what is there, before a stall too
                yield place, chunk
                place += len(chunk)
    except TimeoutError:
        raise _DownloadError(f"no answer for {timeout_seconds:g} seconds") from None
    except urllib.error.HTTPError as error:
        raise _DownloadError(" ".join(str(error).split())) from None
    except urllib.error.URLError as error:
        raise _DownloadError(str(error.reason)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _DownloadError(str(error) or type(error).__name__) from None


def _unpack(source: PublishedArchive, archive: Path, data: Path) -> Path:
    """Unpack the known members, check each, then give the folder its name."""
    final = data / source.folder
    with temporary_folder(data) as temporary, writing(final):
        folder = temporary / source.folder
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for member in source.members:
                    tar.extract(f"{source.folder}/{member.name}", temporary, filter="data")
        except (tarfile.TarError, EOFError, KeyError, zlib.error) as error:
            raise ValueError(f"{archive} cannot be unpacked: {error}") from error
        for member in source.members:
            read_member(folder, member)
            _sync(folder / member.name)
        _sync(folder)
        folder.rename(final)
        _sync(data)
    return final


def _sync(path: Path) -> None:
    """Flush a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
