"""Options and values of a run for ``anneal run --help``, read from the files of ``conf/``.

Hydra has the same list but takes seconds to import.
"""

import re

from anneal.config.folders import EXPERIMENT, conf_folders, groups, options_of_files

NOT_OF_A_RUN = ("campaign", "recipe", "table")
NO_VALUES = ("defaults", "hydra")


def run_options() -> str:
    """Return the options of each group and the values of ``run.yaml`` with their defaults."""
    lines = [f"{name}: {', '.join(options_of_group(name))}" for name in groups_of_a_run()]
    return "\n".join(
        [
            "Options of each group (group=option):",
            "",
            *lines,
            "",
            "Values and their defaults (key=value):",
            "",
            values_of(_root_file()),
        ]
    )


def groups_of_a_run() -> list[str]:
    """Return the groups that a run is composed of."""
    return sorted({EXPERIMENT, *groups()} - {*NOT_OF_A_RUN})


def options_of_group(name: str) -> list[str]:
    """Return the options of a group; rows of tables only if PyYAML is installed."""
    try:
        from anneal.config.options import options
    except ModuleNotFoundError:  # the library alone
        return options_of_files(name)
    return options(name)


def _root_file() -> str:
    found = [folder / "run.yaml" for folder in conf_folders() if (folder / "run.yaml").is_file()]
    return found[0].read_text(encoding="utf-8")


def values_of(text: str) -> str:
    r"""Return the values of a configuration file, with comments, without its defaults list.

    >>> values_of("# a root\ndefaults:\n  - _self_\n\nseed: 0 # any\nhydra:\n  a: 1\n")
    'seed: 0 # any'
    """
    blocks = re.split(r"^(?=[\w#])", text, flags=re.MULTILINE)
    kept = [b for b in blocks if not b.startswith(("#", *(f"{name}:" for name in NO_VALUES)))]
    return "".join(kept).strip()
