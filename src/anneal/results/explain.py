"""Explanation of a difference between two runs: what differs, and from which update.

A run is a run directory, or a committed run ``<campaign>/<experiment>/seed-<n>`` of ``results/``.
A committed run has a thinned curve and no plan: its histories part between two points on record.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.config.strict import flat_numbers, flatten
from anneal.io.csv_files import number_or_none, short
from anneal.io.files import read_yaml_mapping
from anneal.io.text import did_you_mean, shorten
from anneal.results.campaign import CampaignResults
from anneal.results.compare import COMPARED_ENVIRONMENT, Change
from anneal.results.evaluate import environment_of
from anneal.results.store import load_results
from anneal.runs.directory import HISTORY, PLAN, RunDirectory, read_lines
from anneal.runs.layout import CAMPAIGN_FILE, RESULTS

_OF_A_START = ("started", "ended", "from_update", "to_update", "seconds", "code", "data")
CONFIGURATION, MACHINE, DETAILS = "configuration", "machine", "machine and versions"
_SHOWN = 6  # keys of one kind


@dataclass(frozen=True, kw_only=True)
class ReadRun:
    """One run as read from disk.

    Args:
        words: where it was read, how it ended.
        seed: of the run.
        configuration_hash: of everything that changes its numbers.
        kinds: kind of setting -> flat keys and values; a kind that was not recorded is missing.
        history: update -> recorded values.
        result: final metrics.
        committed: histories and metrics have the digits of ``results/``, not all of them.
    """

    words: str
    seed: int
    configuration_hash: str
    kinds: Mapping[str, Mapping[str, Any]]
    history: Mapping[int, Mapping[str, Any]]
    result: Mapping[str, Any]
    committed: bool = False


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Differences of two runs.

    Args:
        before, after: the runs.
        kinds: kind of setting -> its differing keys; only kinds that both runs record.
        last_equal: last update up to which every value on record is equal; None if none is.
        parts: first update that differs; None if none of the shared ones does.
        parting: the values that differ there.
        results: differing final metrics.
    """

    before: ReadRun
    after: ReadRun
    kinds: Mapping[str, tuple[Change, ...]]
    last_equal: int | None
    parts: int | None
    parting: tuple[Change, ...]
    results: tuple[Change, ...]


def explain(before: ReadRun, after: ReadRun) -> Explanation:
    """Compare two runs: settings by kind, histories update by update, final metrics."""
    mixed = before.committed != after.committed
    if mixed:
        before, after = _as_committed(before), _as_committed(after)
    last_equal, parts = None, None
    parting: tuple[Change, ...] = ()
    for update in sorted(before.history.keys() & after.history.keys()):
        parting = _changes(before.history[update], after.history[update], shared=True)
        if parting:
            parts = update
            break
        last_equal = update
    shared = [kind for kind in before.kinds if kind in after.kinds]
    if DETAILS in shared:
        shared.remove(MACHINE)
    kinds = {kind: _changes(before.kinds[kind], after.kinds[kind]) for kind in shared}
    if before.configuration_hash == after.configuration_hash:  # keys at their default differ
        kinds |= {CONFIGURATION: ()}
    if before.seed != after.seed:
        kinds = {"seed": (Change(key="seed", before=before.seed, after=after.seed),)} | kinds
    return Explanation(
        before=before,
        after=after,
        kinds=kinds,
        last_equal=last_equal,
        parts=parts,
        parting=parting,
        results=_changes(before.result, after.result, shared=mixed),
    )


def _as_committed(run: ReadRun) -> ReadRun:
    """Return a run with the digits that ``results/`` keeps."""
    history = {
        update: {k: number_or_none(str(v)) for k, v in values.items() if v is not None}
        for update, values in run.history.items()
    }
    result = {key: float(short(value)) for key, value in run.result.items()}
    return dataclasses.replace(run, history=history, result=result)


def _changes(
    before: Mapping[str, Any], after: Mapping[str, Any], *, shared: bool = False
) -> tuple[Change, ...]:
    """Return the keys with different values; with ``shared`` only those that both sides have."""
    keys = before.keys() & after.keys() if shared else before.keys() | after.keys()
    order = [key for key in {**before, **after} if key in keys]
    return tuple(
        Change(key=key, before=before.get(key), after=after.get(key))
        for key in order
        if before.get(key) != after.get(key)
    )


def read_run_of(asked: str) -> ReadRun:
    """Read a run directory or a committed run.

    Raises:
        ValueError: it is neither, or one of its files is invalid; names it.
    """
    folder = Path(asked)
    if (folder / PLAN).is_file():
        return _read_directory(folder)
    parts = folder.parts[1:] if folder.parts[:1] == (RESULTS.name,) else folder.parts
    if len(parts) >= 3 and (RESULTS / parts[0] / CAMPAIGN_FILE).is_file():
        results = load_results(RESULTS / parts[0])
        assert results is not None
        return _read_committed(results, RESULTS / parts[0], "/".join(parts[1:-1]), parts[-1])
    raise ValueError(
        f"{asked} is no run: neither a folder with {PLAN}, such as "
        f"runs/<campaign>/<experiment>/seed-0, nor <campaign>/<experiment>/seed-0 of {RESULTS}/"
    )


def _read_directory(folder: Path) -> ReadRun:
    """Read ``runs/<campaign>/<experiment>/seed-<n>`` or ``multirun/<hash>/seed-<n>``."""
    plan = read_yaml_mapping(folder / PLAN)
    if not isinstance(plan.get("configuration"), Mapping):
        raise ValueError(f"{folder / PLAN}: missing key configuration")
    directory = RunDirectory(folder, configuration_hash=str(plan.get("configuration_hash")))
    starts = directory.environment()
    result = directory.result()
    ended = f"{result['status']}, {result.get('updates')} updates" if result else "not ended"
    return ReadRun(
        words=f"{folder} ({ended}, {len(starts)} start{'s' * (len(starts) != 1)})",
        seed=_seed(folder.name, folder),
        configuration_hash=directory.configuration_hash,
        kinds={
            CONFIGURATION: flat_numbers(plan["configuration"]),
            "schedule": dict(
                flatten(
                    {
                        key: plan.get(key)
                        for key in ("total_steps", "schedule", "momentum_schedule", "range_test")
                    }
                )
            ),
            "code": _over_starts({"code": start.get("code")} for start in starts),
            "data": _over_starts(start.get("data") or {} for start in starts),
            MACHINE: _machine(_recorded(directory)),
            DETAILS: _over_starts(
                {key: value for key, value in start.items() if key not in _OF_A_START}
                for start in starts
            ),
        },
        history={
            int(line["update"]): {k: v for k, v in line.items() if k != "update"}
            for line in read_lines(folder / HISTORY)
            if "update" in line
        },
        result={key: value for key, value in (result or {}).items() if "@" in key},
    )


def _read_committed(results: CampaignResults, root: Path, name: str, seed_words: str) -> ReadRun:
    """Read a committed run of the current configuration of its experiment."""
    where = root / name
    if name not in results.experiments:
        raise ValueError(
            f"{root} has no experiment {name!r}{did_you_mean(name, results.experiments)}"
        )
    seed = _seed(seed_words, where)
    configuration_hash = results.experiments[name].configuration_hash
    run = results.runs.get((name, seed, configuration_hash))
    if run is None:
        seeds = sorted(
            s for n, s, digest in results.runs if (n, digest) == (name, configuration_hash)
        )
        raise ValueError(
            f"{where}: no seed {seed}; there is {', '.join(map(str, seeds)) or 'none'}"
        )
    return ReadRun(
        words=f"{where}/seed-{seed} ({run.status}, {run.updates} updates, committed)",
        seed=seed,
        configuration_hash=configuration_hash,
        kinds={
            CONFIGURATION: flat_numbers(results.configurations.get(configuration_hash, {})),
            MACHINE: _machine(run.environment),
        },
        history={
            point.update: {k: v for k, v in vars(point).items() if k != "update" and v is not None}
            for point in run.curve or ()
        },
        result=run.metrics,
        committed=True,
    )


def _machine(environment: Mapping[str, Any]) -> dict[str, str]:
    """Return what ``runs.csv`` keeps of a machine, as text."""
    return {key: str(environment[key]) for key in COMPARED_ENVIRONMENT if environment.get(key)}


def _recorded(directory: RunDirectory) -> Mapping[str, Any]:
    """Return the environment as results keep it; empty if a start has not recorded its own."""
    try:
        return environment_of(directory)
    except (KeyError, IndexError, TypeError):
        return {}


def _seed(words: str, where: Path) -> int:
    number = words.removeprefix("seed-")
    if not number.isdigit():
        raise ValueError(f"{where}: a run ends with seed-<n>, got {words!r}")
    return int(number)


def _over_starts(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each flat key with its value; with all its values where starts differ."""
    found: dict[str, list[Any]] = {}
    for entry in entries:
        for key, value in flatten(entry):
            values = found.setdefault(key, [])
            if value not in values:
                values.append(value)
    return {
        key: values[0] if len(values) == 1 else " / ".join(map(str, values))
        for key, values in found.items()
    }


def explanation_lines(found: Explanation) -> list[str]:
    """Return an explanation as lines for the terminal."""
    lines = [f"A  {found.before.words}", f"B  {found.after.words}"]
    rows = [(kind, _changes_words(changes)) for kind, changes in found.kinds.items()]
    kinds = {**found.before.kinds, **found.after.kinds}
    missing = [kind for kind in kinds if kind not in (*found.kinds, MACHINE)]
    if missing:
        rows.append(("not recorded", f"{', '.join(missing)} (of one run)"))
    rows += [("history", _history_words(found)), ("final metrics", _changes_words(found.results))]
    width = max(len(kind) for kind, _ in rows)
    return lines + [f"{kind:<{width}}  {words}" for kind, words in rows]


def _changes_words(changes: tuple[Change, ...]) -> str:
    words = [f"{c.key} {_value(c.before)} → {_value(c.after)}" for c in changes[:_SHOWN]]
    if len(changes) > _SHOWN:
        words.append(f"{len(changes) - _SHOWN} more keys")
    return "; ".join(words) or "equal"


def _value(value: Any) -> str:
    return "nothing" if value is None else shorten(str(value), 40)


def _history_words(found: Explanation) -> str:
    shared = found.before.history.keys() & found.after.history.keys()
    if not shared:
        return "no update is on record in both runs"
    if found.parts is None:
        return f"equal at all {len(shared)} updates on record in both, to update {max(shared)}"
    since = (
        f"equal to update {found.last_equal}, "
        if found.last_equal is not None
        else "different from the first update on record, "
    )
    return f"{since}parts at update {found.parts}: {_changes_words(found.parting)}"


def describe_explanation(found: Explanation) -> dict[str, Any]:
    """Return an explanation as plain data, the output of ``--json``."""
    return {
        "before": found.before.words,
        "after": found.after.words,
        "differences": {kind: list(map(vars, changes)) for kind, changes in found.kinds.items()},
        "history": {
            "last_equal": found.last_equal,
            "parts": found.parts,
            "values": list(map(vars, found.parting)),
        },
        "final_metrics": list(map(vars, found.results)),
    }
