"""Tables of papers: ``conf/table/<paper>/<table>.yaml``, expanded into rows.

A row is an experiment. It has a recipe (``conf/recipe``, an ordinary Hydra file with what an
author's code fixes) and its changes; :mod:`anneal.config.compose` adds it to Hydra as
``experiment=<paper>/<row>``. A file has one or more :class:`Block`, separated by ``---``.
``dataset: cifar100`` chooses an option of a group, ``scheduler.max_lr: 2.5`` or
``scheduler: {max_lr: 2.5}`` sets a value; ``title``, ``paper`` and ``recipe`` describe the row.
"""

import copy
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from anneal.config.folders import conf_folders
from anneal.config.schema import ExperimentConfig
from anneal.config.strict import Rest, parse
from anneal.io.files import read_yaml_documents
from anneal.io.text import did_you_mean

OWN = ("title", "paper", "recipe")  # keys of the row; all others are of the configuration
_HINTS = get_type_hints(ExperimentConfig)
SECTIONS = {name: kind for name, kind in _HINTS.items() if dataclasses.is_dataclass(kind)}
Changes = dict[str, Any]  # group -> option, dotted key -> value


@dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of one recipe in a table file."""

    paper: str | None  # place in the paper; null: in none
    recipe: str | None = None  # of conf/recipe
    set: Mapping[str, Any] | None = None  # changes of all rows
    name: str | None = None  # <paper>/..., with {dimension} for the key of an option
    title: str | None = None  # with {dimension} for the title of an option, else its key
    over: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None  # dimension, option, changes
    without: tuple[str, ...] = ()  # combinations missing in the paper
    rows: Mapping[str, Mapping[str, Any]] | None = None  # single rows: name, changes


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table, a value of ``experiment=``.

    Args:
        name: ``<paper>/<row>``.
        file: of the table.
        title: in the report.
        paper: place in the paper.
        recipe: of ``conf/recipe``.
        changes: group -> option, dotted key -> value.
    """

    name: str
    file: Path
    title: str
    paper: str | None
    recipe: str
    changes: Changes

    @property
    def place(self) -> str:
        """File and row, for messages."""
        return _place(self.file, self.name)

    def node(self) -> dict[str, Any]:
        """Return the row as the content of a file of ``conf/experiment``.

        Raises:
            ValueError: one change contradicts another.
        """
        chosen = [{f"override /{key}": o} for key, o in self.changes.items() if key in SECTIONS]
        node: dict[str, Any] = {
            "defaults": [f"/recipe/{self.recipe}", *chosen, "_self_"],
            **{key: getattr(self, key) for key in ("name", "title", "paper")},
        }
        for key, value in self.changes.items():
            if key in SECTIONS:
                continue
            inner, (*sections, last) = node, key.split(".")
            for section in sections:
                inner = inner.setdefault(section, {}) if isinstance(inner, dict) else inner
            if not isinstance(inner, dict) or last in inner:
                raise ValueError(f"{self.place}: {key} is set twice")
            inner[last] = copy.deepcopy(value)
        return node


def load_rows(folder: Path) -> Mapping[str, Row]:
    """Return name -> row over all tables of a configuration folder; cached until a file changes.

    Raises:
        ValueError: a table is invalid; names its file and the row.
    """
    watched = [
        f for group in ("table", "recipe", "experiment") for f in (folder / group).rglob("*")
    ]
    state = tuple(sorted((str(f.resolve()), f.stat().st_mtime_ns) for f in watched))
    return _load_rows(folder, state)


@functools.lru_cache(maxsize=8)
def _load_rows(folder: Path, _state: object) -> Mapping[str, Row]:
    found: dict[str, Row] = {}
    for file in sorted((folder / "table").rglob("*.yaml")):
        for row in read_table(file, folder=folder):
            plain = folder / "experiment" / f"{row.name}.yaml"
            if row.name in found or plain.is_file():
                other = found[row.name].file if row.name in found else plain
                raise ValueError(f"{row.place} is in {other} too")
            found[row.name] = row
    return found


def read_table(file: Path, *, folder: Path) -> Iterator[Row]:
    """Yield the rows of one table of a configuration folder.

    Raises:
        ValueError: names the file, the row and the rule.
    """
    paper = file.relative_to(folder / "table").parent.as_posix()
    if file.parent.parent != folder / "table":
        raise ValueError(f"{file}: a table must be {folder}/table/<paper>/<table>.yaml")
    documents = read_yaml_documents(file)
    if not documents:
        raise ValueError(f"{file}: a table must have rows or over, it is empty")
    for document in documents:
        _check_text_keys(document, where=str(file))
        block = parse(Block, document, where=str(file))
        rows = [*_product(block, paper=paper, file=file), *(block.rows or {}).items()]
        if not rows:
            raise ValueError(f"{file}: a block must have rows or over")
        for name, own in rows:
            where = _place(file, f"{paper}/{name}")
            changes = _flat(block.set or {}, where=where) | _flat(own, where=where)
            about = {key: changes.pop(key, getattr(block, key)) for key in OWN}
            if "title" not in own or not isinstance(about["title"], str):
                raise ValueError(f"{where}: title must be some text, got {own.get('title')!r}")
            _check_option("recipe", about["recipe"], folder=folder, where=where)
            for key, value in changes.items():
                _check_change(key, value, folder=folder, where=where)
            row = Row(name=f"{paper}/{name}", file=file, changes=changes, **about)
            row.node()
            yield row


def _product(block: Block, *, paper: str, file: Path) -> Iterator[tuple[str, Changes]]:
    """Yield the name and the changes of every combination of a block's options."""
    over, begins = block.over or {}, f"{paper}/"
    if over and not (block.name and block.title and block.name.startswith(begins)):
        raise ValueError(f"{file}: over needs a title, and a name that begins with {begins}")
    left_out: list[str] = []
    for options in itertools.product(*(dimension.items() for dimension in over.values())):
        if not over:
            break
        keys = {dimension: key for dimension, (key, _) in zip(over, options, strict=True)}
        name = _fill(block.name, keys, where=f"{file}: name").removeprefix(begins)
        if name in block.without:
            left_out.append(name)
            continue
        where, changes, titles = _place(file, begins + name), dict[str, Any](), dict(keys)
        for dimension, (_, own) in zip(over, options, strict=True):
            part = _flat(own, where=where)
            titles[dimension] = part.pop("title", keys[dimension])
            if twice := [key for key in part if key in changes]:
                raise ValueError(f"{where}: {twice[0]} is set by two dimensions")
            changes |= part
        yield name, {**changes, "title": _fill(block.title, titles, where=f"{file}: title")}
    if unknown := sorted({*block.without} - {*left_out}):
        raise ValueError(f"{file}: without must name combinations of over, got {unknown[0]}")


def _fill(template: str | None, values: Mapping[str, str], *, where: str) -> str:
    """Fill a template with the keys or titles of a combination."""
    try:
        return str(template).format_map(values)
    except (KeyError, ValueError, IndexError) as error:
        known = ", ".join(f"{{{name}}}" for name in values)
        raise ValueError(f"{where} must have only {known}, got {template!r}") from error


def _flat(changes: Mapping[str, Any], *, where: str) -> Changes:
    """Flatten the mapping of a section to one change for each of its keys."""
    flat: Changes = {}
    for key, value in changes.items():
        inside = key in SECTIONS and isinstance(value, Mapping)
        for dotted, v in (
            {f"{key}.{k}": v for k, v in value.items()} if inside else {key: value}
        ).items():
            if dotted in flat:
                raise ValueError(f"{where}: {dotted} is set twice")
            flat[dotted] = v
    return flat


def _check_change(key: str, value: object, *, folder: Path, where: str) -> None:
    """Refuse an unknown key and an unknown option of a group."""
    section, _, inner = key.partition(".")
    known = [name for name in _HINTS if name not in ("name", *OWN)]
    if section not in known or (inner and section not in SECTIONS):
        raise ValueError(f"{where}: unknown key '{key}'{did_you_mean(section, known)}")
    if not inner:
        if section in SECTIONS:
            _check_option(section, value, folder=folder, where=where)
        return
    hints = get_type_hints(SECTIONS[section], include_extras=True)
    if any(Rest in getattr(hint, "__metadata__", ()) for hint in hints.values()):
        return  # arguments of a schedule or an optimizer are checked after composition
    if (first := inner.partition(".")[0]) not in hints:
        raise ValueError(f"{where}: unknown key '{key}'{did_you_mean(first, hints)}")


def _check_option(group: str, option: object, *, folder: Path, where: str) -> None:
    """Refuse an option that its group lacks in all searched folders."""
    groups = [place / group for place in dict.fromkeys([folder, *conf_folders()])]
    if not isinstance(option, str) or not any((g / f"{option}.yaml").is_file() for g in groups):
        known = {
            file.relative_to(place).with_suffix("").as_posix()
            for place in groups
            for file in place.rglob("*.yaml")
        }
        hint = did_you_mean(str(option), known)
        raise ValueError(
            f"{where}: {group} must be an option of {folder / group}, got {option!r}{hint}"
        )


def _check_text_keys(node: object, *, where: str) -> None:
    """Refuse a key that YAML reads as a number: 0.80 would become 0.8."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if not isinstance(key, str):
                raise ValueError(f"{where}: the key {key!r} must be text; put it in quotes")
            _check_text_keys(value, where=where)


def _place(file: Path, name: str) -> str:
    return f"{file}: row {name.partition('/')[2]}"
