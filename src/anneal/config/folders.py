"""Folders that configurations are read from: the repository's ``conf/`` or the packaged one.

In the root of a clone it is the clone's ``conf/``. Anywhere else it is the one that was installed
with the package (an editable install reads its checkout's): a ``conf/`` of another project is never
read. ``--config-dir <folder>`` is searched before either.
"""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

CONF = Path("conf")
ROOT = "config.yaml"
HYDRA = "hydra"  # its launchers
EXPERIMENT = "experiment"  # the group of files and of the rows of tables
DISTRIBUTION = "anneal-lr"
PACKAGE = Path(__file__).resolve().parents[1]
OPTION, SHORT = "--config-dir", "-cd"
_own: ContextVar[Path | None] = ContextVar("own", default=None)


def in_repository() -> bool:
    """Tell whether this is the root of a clone: its ``pyproject.toml`` is this distribution's."""
    try:
        project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError):  # none, or nothing that can be read: another project's
        return False
    return isinstance(project, dict) and project.get("name") == DISTRIBUTION


def checkout() -> Path | None:
    """Return the root of the checkout that this code runs from; None for an installed wheel."""
    root = PACKAGE.parents[1]
    return root if PACKAGE.parent.name == "src" and (root / CONF).is_dir() else None


def require_repository(what: str) -> None:
    """Refuse a command that reads or writes the repository's files anywhere else.

    Raises:
        ValueError: this is not the root of a clone.
    """
    if not in_repository():
        raise ValueError(f"{what} needs the project's repository: run it from the root of a clone")


def conf_folder() -> Path:
    """Return the folder of configuration groups.

    Raises:
        ValueError: it is missing.
    """
    if in_repository():
        folder = CONF
    elif (root := checkout()) is not None:
        folder = root / CONF
    else:  # the build puts it there: setup.py
        folder = PACKAGE / CONF
    if not (folder / ROOT).is_file():
        raise ValueError(f"{folder / ROOT} is missing: this is no whole copy of {DISTRIBUTION}")
    return folder


def conf_folders() -> list[Path]:
    """Return every folder that is searched, the first one that has an option wins."""
    own = own_folder()
    return [conf_folder()] if own is None else [own, conf_folder()]


def own_folder() -> Path | None:
    """Return the folder that ``--config-dir`` names, while the command that was given it runs."""
    return _own.get()


@contextmanager
def own_folder_first(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Search the folder of ``--config-dir`` first; yield the other arguments.

    Raises:
        ValueError: the option lacks its folder, or it is no folder.
    """
    left, folder = [], None
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if option not in (OPTION, SHORT):
            left.append(word)
            continue
        value = value if equals else next(words, "")
        if not value or not Path(value).is_dir():
            raise ValueError(f"{OPTION} needs a folder of configurations, got {value or 'nothing'}")
        folder = Path(value).resolve()
    token = _own.set(folder)
    try:
        yield left
    finally:
        _own.reset(token)


def groups() -> list[str]:
    """Return the names of all configuration groups; Hydra's own are none of a run's."""
    folders = [path for folder in conf_folders() for path in folder.iterdir() if path.is_dir()]
    return sorted({path.name for path in folders} - {HYDRA})


def options_of_files(group: str) -> list[str]:
    """Return the options of one group that are files, in sub-folders as ``folder/option``."""
    below = [folder / group for folder in conf_folders()]
    return sorted(
        {
            file.relative_to(folder).with_suffix("").as_posix()
            for folder in below
            for file in folder.rglob("*.yaml")
        }
    )
