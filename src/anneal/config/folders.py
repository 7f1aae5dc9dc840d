"""Configuration folders: the repository's ``conf/`` or the packaged one.

In the root of a clone it is the clone's ``conf/``. Anywhere else it is the one installed with the
package (an editable install reads that of its checkout). A ``conf/`` of another project is never
read. ``--config-dir <folder>`` is searched first.
"""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
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
    """Return whether the current folder is a clone: its ``pyproject.toml`` has our name."""
    try:
        return _is_ours(Path("pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or unreadable: another project
        return False


@lru_cache(maxsize=1)  # asked for each option of each table
def _is_ours(pyproject: str) -> bool:
    project = tomllib.loads(pyproject).get("project")
    return isinstance(project, dict) and project.get("name") == DISTRIBUTION


def checkout() -> Path | None:
    """Return the root of the checkout that has this code; None for an installed wheel."""
    root = PACKAGE.parents[1]
    return root if PACKAGE.parent.name == "src" and (root / CONF).is_dir() else None


def require_repository(what: str) -> None:
    """Refuse to run outside the root of a clone.

    Raises:
        ValueError: the current folder is not the root of a clone.
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
    else:  # copied there by setup.py
        folder = PACKAGE / CONF
    if not (folder / ROOT).is_file():
        raise ValueError(f"{folder / ROOT} is missing: {DISTRIBUTION} is not installed completely")
    return folder


def conf_folders() -> list[Path]:
    """Return the searched folders; the first one with an option wins."""
    own = own_folder()
    return [conf_folder()] if own is None else [own, conf_folder()]


def own_folder() -> Path | None:
    """Return the folder of ``--config-dir`` of the running command, if any."""
    return _own.get()


@contextmanager
def own_folder_first(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Search the folder of ``--config-dir`` first; yield the other arguments.

    Raises:
        ValueError: the option has no folder.
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
    """Return the options of one group that are files; in sub-folders, ``folder/option``."""
    below = [folder / group for folder in conf_folders()]
    return sorted(
        {
            file.relative_to(folder).with_suffix("").as_posix()
            for folder in below
            for file in folder.rglob("*.yaml")
        }
    )
