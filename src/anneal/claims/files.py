"""Read the files below ``paper/``: claims, deviations, planned rows, titles, links."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from anneal.claims.schema import Claim, parse_claims
from anneal.config.strict import Rule, parse
from anneal.io.files import read_json, read_yaml

WEB_ADDRESS = Rule(
    "must be an address that begins with https:// or http://",
    lambda v: bool(re.fullmatch(r"https?://[^\s<>\"']+", v)),
)


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Where we cannot or do not follow a paper (``paper/deviations.yaml``)."""

    id: str
    experiments: tuple[str, ...]  # the rows it touches
    what: str
    paper: str  # what the paper says or leaves open, with the place
    ours: str
    expected_effect: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Experiments that claims name and ``conf/table`` lacks (``paper/planned.yaml``)."""

    what: str  # table or figure of which paper
    lacks: Annotated[str, Rule("must be data or code", lambda v: v in ("data", "code"))]
    needs: str  # before they can be written or run
    experiments: Annotated[tuple[str, ...], Rule("must name an experiment", lambda v: len(v) > 0)]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A published W&B report of a campaign (``paper/links.json``)."""

    url: Annotated[str, WEB_ADDRESS]
    published: str  # the day


def load_claims(folder: Path) -> tuple[Claim, ...]:
    """Read every claims file of a folder, in the order of their names.

    Raises:
        ValueError: there is none, or one breaks the schema; names the file, the claim and the key.
    """
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ValueError(f"{folder}: must hold at least one file of claims (<paper>.yaml)")
    claims = [claim for path in paths for claim in parse_claims(read_yaml(path), where=str(path))]
    return tuple(claims)


def load_deviations(path: Path) -> tuple[Deviation, ...]:
    """Read the deviations, in the order of their file.

    Raises:
        ValueError: names the file, the entry, the key and the rule.
    """
    entries = read_yaml(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: must be a list of deviations")
    found = []
    for position, entry in enumerate(entries, start=1):
        name = entry.get("id") if isinstance(entry, dict) else None
        here = f"{path}: deviation {name!r}" if name else f"{path}: deviation number {position}"
        found.append(parse(Deviation, entry, where=here))
    ids = [deviation.id for deviation in found]
    for name in ids:
        if ids.count(name) > 1:
            raise ValueError(f"{path}: deviation {name!r}: id must be unique, it is here twice")
    return tuple(found)


def load_planned(path: Path) -> tuple[Planned, ...]:
    """Read the planned experiments, in the order of their file.

    Raises:
        ValueError: names the file, the entry, the key and the rule.
    """
    entries = read_yaml(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: must be a list of planned experiments")
    found = tuple(
        parse(Planned, entry, where=f"{path}: entry number {position}")
        for position, entry in enumerate(entries, start=1)
    )
    names = Counter(name for planned in found for name in planned.experiments)
    for name, times in names.items():
        if times > 1:
            raise ValueError(f"{path}: {name} must stand here once, it is here {times} times")
    return found


def load_titles(path: Path) -> dict[str, str]:
    """Read the titles of papers from BibTeX: arXiv number without its version -> title."""
    entries = re.split(r"^@", path.read_text(), flags=re.MULTILINE)
    found = {}
    for entry in entries:
        eprint = re.search(r"eprint\s*=\s*\{([0-9.]+)", entry)
        title = re.search(r"\btitle\s*=\s*\{(.+)\},?$", entry, flags=re.MULTILINE)
        if eprint and title:
            found[eprint[1]] = re.sub(r"[{}]", "", title[1])
    return found


def load_links(path: Path) -> dict[str, Link]:
    """Read the addresses of published campaigns; empty without the file.

    Raises:
        ValueError: names the file, the campaign, the key and the rule.
    """
    entries = read_json(path) if path.is_file() else {}
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: must map each campaign to its url and day of publication")
    return {
        name: parse(Link, entry, where=f"{path}: campaign {name!r}")
        for name, entry in entries.items()
    }
