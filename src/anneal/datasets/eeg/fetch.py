"""Find recordings on this machine, or download them with moabb in a process of its own.

``python -m anneal.datasets.eeg.fetch <source> <subject> <folder>`` is that process: importing moabb
takes 20 seconds and a gigabyte, and it would write into a person's MNE settings.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from anneal.datasets.archives import Paths, lock, temporary_folder, writing

SERVERS = {"eegbci": "physionet.org", "high_gamma": "web.gin.g-node.org"}
ANSWER_SECONDS = 1.5


def find_recordings(
    source: str,
    subject: int,
    wanted: Mapping[str, Path],
    paths: Paths,
    *,
    older: Mapping[str, Path] | None = None,
) -> dict[str, Path]:
    """Return each file of one subject, downloaded when some are not here.

    Args:
        source: ``eegbci`` or ``high_gamma``.
        subject: its number.
        wanted: name -> place below a folder of archives or data.
        paths: where to look; downloads go to the data folder.
        older: name -> where earlier programs put the file.

    Raises:
        OSError: some are missing and cannot be downloaded; names them and the places.
    """
    found = _find(wanted, older, paths)
    if wanted.keys() == found.keys():
        return found
    with lock(paths.data, f"{source}-{subject}"):
        found = _find(wanted, older, paths)  # another process may have been faster
        missing = [name for name in wanted if name not in found]
        if not missing:
            return found
        where = _places(missing, wanted, older, paths)
        obstacle = _obstacle(source)
        if obstacle is not None:
            raise OSError(
                f"{source}: subject {subject} lacks {', '.join(missing)}, sought as {where}; "
                f"{obstacle}; put it there, or name its folder in ANNEAL_ARCHIVES"
                f"{_OVERWRITTEN if source == 'high_gamma' else ''}"
            )
        _download(source, subject, paths.data)
        found = _find(wanted, older, paths)
        missing = [name for name in wanted if name not in found]
        if missing:
            raise OSError(
                f"{source}: subject {subject} lacks {', '.join(missing)} after the download, "
                f"sought as {where}{_OVERWRITTEN if source == 'high_gamma' else ''}"
            )
        return found


_OVERWRITTEN = (
    " (its train and test files have one name, and older downloads overwrote one with the other)"
)


def _find(
    wanted: Mapping[str, Path], older: Mapping[str, Path] | None, paths: Paths
) -> dict[str, Path]:
    found = {}
    for name, place in wanted.items():
        for candidate in [place] if older is None else [place, older[name]]:
            for root in paths.roots:
                if name not in found and (root / candidate).is_file():
                    found[name] = root / candidate
    return found


def _places(
    missing: list[str], wanted: Mapping[str, Path], older: Mapping[str, Path] | None, paths: Paths
) -> str:
    first = missing[0]
    candidates = [wanted[first]] if older is None else [wanted[first], older[first]]
    return " or ".join(str(root / place) for root in paths.roots for place in candidates)


def _obstacle(source: str) -> str | None:
    """Return why nothing can be downloaded; None where it can."""
    if importlib.util.find_spec("moabb") is None:
        return "downloading it needs moabb: type `make setup EXTRAS=eeg`"
    host = SERVERS[source]
    return None if answers(host) else f"{host} cannot be reached"


def answers(host: str) -> bool:
    """Tell whether a server, or the proxy on the way to it, takes a connection in 1.5 seconds."""
    proxy = urlsplit(getproxies().get("https", ""))
    address = (proxy.hostname, proxy.port or 80) if proxy.hostname else (host, 443)
    reached = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=ANSWER_SECONDS).close()
        except OSError:
            return
        reached.set()

    attempt = threading.Thread(target=connect, daemon=True)  # a name may take long to resolve
    attempt.start()
    attempt.join(ANSWER_SECONDS)
    return reached.is_set()


def _download(source: str, subject: int, data: Path) -> None:
    """Download one subject whole, then move its files to their places."""
    with temporary_folder(data) as folder, tempfile.TemporaryDirectory() as home:
        run = subprocess.run(
            [sys.executable, "-m", "anneal.datasets.eeg.fetch", source, str(subject), str(folder)],
            env=os.environ
            | {
                "MOABB_DOWNLOAD_PROVIDER": "upstream",
                "MNE_DATA": str(folder),
                "_MNE_FAKE_HOME_DIR": home,  # no settings of this person are read or written
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if run.returncode:
            said = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise OSError(f"{source}: subject {subject} cannot be downloaded: {said}")
        for file in sorted(folder.rglob("*.edf")):
            final = data / file.relative_to(folder)
            with writing(final):
                final.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, final)


def main(source: str, subject: int) -> None:
    """Download the recordings of one subject into ``MNE_DATA``."""
    from moabb.datasets import PhysionetMI, Schirrmeister2017

    if source == "high_gamma":
        Schirrmeister2017().data_path(subject)
    else:
        PhysionetMI(imagined=False, executed=True).data_path(subject)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
