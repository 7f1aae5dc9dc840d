"""Composition of configurations with Hydra, and their checks.

Only this file and ``commands/run.py`` import Hydra.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigNode, ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from anneal.config.folders import CONF, conf_folder, own_folder
from anneal.config.options import all_rows, is_group, options, place_of_experiment
from anneal.config.schema import CampaignConfig, DatasetConfig, ExperimentConfig
from anneal.config.strict import parse
from anneal.config.tables import Row
from anneal.io.files import read_yaml, write_whole
from anneal.io.text import did_you_mean

PARAMS = Path("params.yaml")
COMPOSITION_ERRORS = (
    HydraException, OmegaConfBaseException, yaml.YAMLError, UnicodeDecodeError, RecursionError
)  # fmt: skip
GROUPS = ("dataset", "model", "optimizer", "scheduler", "range_test", "hardware", "tracking")


class OwnFolderFirst(SearchPathPlugin):
    """Search ``--config-dir`` before the project's folder; Hydra's own option puts it last."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Prepend the folder to Hydra's search path."""
        if (folder := own_folder()) is not None:
            search_path.prepend("own", f"file://{folder}", anchor="main")


def search_own_folder_first() -> None:
    """Register the search path of ``--config-dir``; call it before Hydra composes."""
    Plugins.instance().register(OwnFolderFirst)


class _RowNode(ConfigNode):
    """A row in Hydra's store that builds its node on access.

    Hydra copies its whole store in each composition; copying a built node takes milliseconds.
    """

    def __init__(self, row: Row) -> None:
        paper, name = row.name.split("/")
        self.name, self.group, self.package = f"{name}.yaml", f"experiment/{paper}", "_global_"
        self.provider, self.row = str(row.file), row

    def __getattr__(self, name: str) -> Any:
        if name == "node":
            return OmegaConf.create(self.row.node())
        raise AttributeError(name)

    def __deepcopy__(self, memo: object) -> "_RowNode":
        return self


def register_rows() -> None:
    """Add the rows of the tables to Hydra's store, as ``experiment=<paper>/<row>``.

    Raises:
        ValueError: a table is invalid; names its file and the row.
    """
    papers: dict[str, dict[str, _RowNode]] = {}
    for row in all_rows().values():
        node = _RowNode(row)
        papers.setdefault(row.name.split("/")[0], {})[node.name] = node
    ConfigStore.instance().repo["experiment"] = papers


def compose_plain(config_name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Compose one root of ``conf/`` with overrides into a plain dict with resolved interpolations.

    Raises:
        ValueError: Hydra's error in one line, with the nearest names.
    """
    try:
        return _compose(config_name, overrides)
    except COMPOSITION_ERRORS as error:
        raise ValueError(explain(error, overrides, config_name)) from error


def _compose(config_name: str, overrides: Sequence[str]) -> dict[str, Any]:
    folder = conf_folder()
    register_rows()
    GlobalHydra.instance().clear()
    search_own_folder_first()
    with initialize_config_dir(config_dir=str(folder.resolve()), version_base=None):
        composed = compose(config_name=config_name, overrides=list(overrides))
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def explain(error: Exception, overrides: Sequence[str] = (), config_name: str = "run") -> str:
    """Return an error of Hydra or of a file that it reads in one line, with the nearest name.

    Args:
        error: the error.
        overrides: of the command, to find the one that caused it.
        config_name: the root of ``conf/`` to compose.
    """
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _how_to_quote(error.override)
    if isinstance(error, yaml.YAMLError):  # Hydra reads the files of --config-dir itself
        mark = getattr(error, "problem_mark", None)
        where = f"{mark.name}, line {mark.line + 1}" if mark else getattr(error, "name", CONF)
        said = getattr(error, "problem", None) or getattr(error, "reason", None)
        return f"{where}: {said or 'not YAML'}"
    if isinstance(error, UnicodeDecodeError):
        return f"{own_folder() or CONF}: byte {error.start} of a file is not UTF-8 text"
    if isinstance(error, RecursionError):
        return f"{own_folder() or CONF}: a file is nested too deep, or a part contains itself"
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+(?:/[^']+)?)'", text):
        group, option = match[1], match[2]
        group, option = (group, option) if is_group(group) else _split_option(match)
        return f"{CONF}/{group} has no option '{option}'{did_you_mean(option, options(group))}"
    if match := re.search(r"Could not find '(\w+)/'", text):
        return f"{match[1]}= has no value; there is {', '.join(options(match[1]))}"
    if match := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match[1]}: several values need -m, as in anneal run -m {match[1]}"
    if match := re.search(r"Key '[^']+' is not in struct\s+full_key: (\S+)", text):
        return _unknown_key(match[1], overrides, config_name)
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(match[1], overrides, config_name)
    return " ".join(text.split())


def _how_to_quote(override: str) -> str:
    """Say how a value with letters that Hydra does not know, or has a use for, is written."""
    key, equals, value = override.partition("=")
    # Hydra unescapes a quotation mark, and backslashes that stand before one or at the end.
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value)
    quoted = f'{key}="{escaped}"'
    said = f"Hydra cannot read {override}"
    try:
        readable = equals and OverridesParser.create().parse_override(quoted).value() == value
    except OverrideParseException:
        readable = False
    if not readable:
        return f"{said}: <key>=<value> is expected"
    return f"{said}; text is quoted twice, for the shell and for Hydra: {shlex.quote(quoted)}"


def _split_option(match: re.Match[str]) -> tuple[str, str]:
    """Split a name into group and option, if the option is in a sub-folder."""
    parts = f"{match[1]}/{match[2]}".split("/")
    return parts[0], "/".join(parts[1:])


def _unknown_key(key: str, overrides: Sequence[str], config_name: str) -> str:
    """Return the error for an unknown key, with the valid keys in the place of its wrong part."""
    groups = [o for o in overrides if re.match(r"\w+=[\w/]+$", o) and is_group(o.split("=")[0])]
    try:
        node: Any = _compose(config_name, groups)
    except COMPOSITION_ERRORS:  # one of the groups caused the error
        node = _compose(config_name, [])
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            break
        node = node[part]
    hint = did_you_mean(part, node) if isinstance(node, dict) else ""
    return f"unknown key '{key}'{hint}"


def check_experiment(plain: dict[str, Any], *, where: str) -> ExperimentConfig:
    """Check a composed run by sections, so that an error names the file of the option."""
    for group in GROUPS:
        section = plain.get(group)
        if isinstance(section, dict) and isinstance(section.get("name"), str):
            kinds = {f.name: f.type for f in dataclasses.fields(ExperimentConfig)}
            kind = kinds[group]
            assert isinstance(kind, type)
            parse(kind, section, where=f"{CONF}/{group}/{section['name']}.yaml (or an override)")
    return parse(ExperimentConfig, plain, where=where)


def compose_run(overrides: Sequence[str]) -> ExperimentConfig:
    """Compose ``conf/run.yaml``, the root of one run, and check it.

    Raises:
        ValueError: names the file, the key and the rule.
    """
    plain = compose_plain("run", overrides)
    plain.pop("seed", None)
    plain.pop("paths", None)
    try:
        return check_experiment(plain, where=f"{CONF}/run.yaml")
    except ValueError as error:
        if overrides != [f"experiment={plain.get('name')}"]:
            raise
        raise ValueError(f"{place_of_experiment(str(plain['name']))}: {error}") from error


def compose_experiments(
    names: Iterable[str], campaign: CampaignConfig
) -> dict[str, ExperimentConfig]:
    """Compose experiments of a campaign, with the campaign's hardware.

    An experiment may set its precision, which changes numbers, but no other key of the hardware.

    Raises:
        ValueError: the experiment does not exist or is invalid; names the file.
    """
    default, known = compose_run([]), options("experiment")
    composed = {}
    for name in names:
        if name not in known:
            raise ValueError(f"{CONF}/experiment has no option '{name}'{did_you_mean(name, known)}")
        composed[name] = _on_hardware_of(campaign, compose_run([f"experiment={name}"]), default)
    return composed


def _on_hardware_of(
    campaign: CampaignConfig, experiment: ExperimentConfig, default: ExperimentConfig
) -> ExperimentConfig:
    """Return an experiment with the keys that the campaign sets; refuse one that sets them."""
    own, hardware = experiment.hardware.precision, campaign.hardware
    if own != default.hardware.precision:  # a row that is about the precision
        hardware = dataclasses.replace(hardware, precision=own)
        default = dataclasses.replace(
            default, hardware=dataclasses.replace(default.hardware, precision=own)
        )
    for key in ("hardware", "tracking", "budget_fraction"):
        if getattr(experiment, key) != getattr(default, key):
            raise ValueError(
                f"{place_of_experiment(experiment.name)}: {key} must be set by the campaign"
            )
    return dataclasses.replace(
        experiment,
        hardware=hardware,
        tracking=campaign.tracking,
        budget_fraction=campaign.budget_fraction,
    )


def compose_dataset(name: str) -> DatasetConfig:
    """Compose one data set, as ``dataset=<name>`` does, and check it.

    Raises:
        ValueError: there is no such data set, or it is wrong; names the file.
    """
    section = compose_plain("run", [f"dataset={name}"])["dataset"]
    return parse(DatasetConfig, section, where=f"{CONF}/dataset/{name}.yaml")


def compose_campaign(name: str) -> CampaignConfig:
    """Compose the root of ``params.yaml`` for one campaign.

    Raises:
        ValueError: the campaign does not exist or is invalid.
    """
    plain = compose_plain("config", [f"campaign={name}"])
    return parse(CampaignConfig, plain, where=f"{CONF}/campaign/{name}.yaml")


def load_campaign(path: Path = PARAMS) -> CampaignConfig:
    """Read and check ``params.yaml``.

    Raises:
        ValueError: names the file, the key and the rule.
    """
    return parse(CampaignConfig, read_yaml(path), where=str(path))


def write_params(overrides: Sequence[str] = (), output: Path = PARAMS) -> CampaignConfig:
    """Compose ``conf/config.yaml`` into ``params.yaml``, byte for byte as ``dvc exp run`` does.

    Raises:
        ValueError: the configuration is invalid; the file is unchanged.
    """
    plain = compose_plain("config", overrides)
    campaign = parse(CampaignConfig, plain, where=f"{CONF}/config.yaml")
    write_whole(output, OmegaConf.to_yaml(OmegaConf.create(plain)))
    return campaign
