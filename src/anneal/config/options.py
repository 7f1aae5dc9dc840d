"""Options of the configuration groups: files of ``conf/`` and rows of the papers' tables."""

from collections.abc import Mapping

from anneal.config.folders import CONF, EXPERIMENT, conf_folders, options_of_files
from anneal.config.tables import Row, load_rows


def all_rows() -> Mapping[str, Row]:
    """Return name -> row over the tables of all searched folders; the first one wins.

    Raises:
        ValueError: a table is invalid; names its file and the row.
    """
    rows: dict[str, Row] = {}
    for folder in reversed(conf_folders()):
        rows |= load_rows(folder)
    return rows


def options(group: str) -> list[str]:
    """Return the options of one configuration group; in sub-folders, ``folder/option``."""
    rows = [f"{EXPERIMENT}/{name}" for name in all_rows()] if group.startswith(EXPERIMENT) else []
    below = [row.removeprefix(f"{group}/") for row in rows if row.startswith(f"{group}/")]
    return sorted({*options_of_files(group), *below})


def is_group(name: str) -> bool:
    """Return whether a configuration group has this name."""
    if any((folder / name).is_dir() for folder in conf_folders()):
        return True
    return f"{name}/".startswith(f"{EXPERIMENT}/") and bool(options(name))


def place_of_experiment(experiment: str) -> str:
    """Return the place of an experiment for messages: a row of a table, or a file."""
    row = all_rows().get(experiment)
    return row.place if row else f"{CONF}/{EXPERIMENT}/{experiment}.yaml"
