"""Compare two sets of measurements: differences beyond noise, with their causes.

A cell is one experiment (or combination of options) with its runs. Seeds that both sides have are
paired, with Student's t of their differences. With fewer than two of them it is Welch's t over all
runs. If all values are equal there is no t, and the p-value is that of the exact sign-flip or
permutation test. The p-values of all cells that differ are corrected together by Holm's method; the
intervals are of each cell alone.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy import stats

from anneal.config.strict import flat_numbers
from anneal.results.metrics import Evidence, Metric, find_metric
from anneal.results.statistics import CONFIDENCE, Interval, mean_interval

Movement = Literal[
    "higher",
    "lower",
    "within noise",
    "the same",
    "too few runs",
    "diverged",
    "appeared",
    "vanished",
]
COMPARED_ENVIRONMENT = ("commit", "device", "precision", "kernels", "threads", "torch")
RECORD_ROUNDING = 1e-8  # relative: the record keeps ten digits


@dataclass(frozen=True, kw_only=True)
class ComparedExperiment:
    """One experiment, or combination of options, on one side.

    Args:
        evidence: its runs under one configuration, and its name.
        configuration_hash: of that configuration.
        configuration: as composed, nested plain data.
        as_run: its schedules and length in updates.
    """

    evidence: Evidence
    configuration_hash: str
    configuration: Mapping[str, Any]
    as_run: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One key that differs; None on a side without it."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One row of a comparison.

    Args:
        name: on side B (side A may have another name for the same configuration).
        before, after: the cells; None on a side without the row.
        means: mean and interval on each side; None if no run has the metric.
        difference: after - before; its ends are None with too few runs.
        test: None if there is no p-value.
        p_value: of this cell alone, two-sided.
        corrected: the p-value corrected for all cells that have one.
        movement: ``higher`` and ``lower`` are differences beyond noise; ``diverged`` means that a
            seed finished on one side and diverged on the other.
        configuration: keys that differ; empty if the hash is the same.
        environment: differences in machine and code.
    """

    name: str
    before: ComparedExperiment | None
    after: ComparedExperiment | None
    means: tuple[Interval | None, Interval | None]
    difference: Interval | None
    test: Literal["paired", "Welch"] | None
    p_value: float | None
    corrected: float | None
    movement: Movement
    configuration: tuple[Change, ...]
    environment: tuple[Change, ...]

    @property
    def same_configuration(self) -> bool | None:
        """Whether both sides have the same configuration; None if one side lacks the row."""
        if self.before is None or self.after is None:
            return None
        return self.before.configuration_hash == self.after.configuration_hash


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All rows, in the order of side B, then the rows that vanished."""

    metric: Metric
    rows: tuple[ComparedRow, ...]

    @property
    def num_corrected(self) -> int:
        """Number of p-values corrected together."""
        return sum(row.corrected is not None for row in self.rows)

    def count(self, *movements: Movement) -> int:
        """Return the number of rows with one of these movements."""
        return sum(row.movement in movements for row in self.rows)


def compare(
    before: Mapping[str, ComparedExperiment],
    after: Mapping[str, ComparedExperiment],
    *,
    metric: str,
) -> Comparison:
    """Compare two sets of cells, matched by name, and the rest by equal configuration.

    Args:
        before: side A.
        after: side B.
        metric: one value for each run, such as ``test_accuracy_pct@final``.

    Raises:
        ValueError: the metric does not exist, or has more than one value for each run.
    """
    found = find_metric(metric)
    if "@" not in metric:
        raise ValueError(f"metric must have one value a run, such as {metric}@final, got {metric}")
    rows = [
        _row(before.get(earlier or ""), after.get(name or ""), metric=found)
        for earlier, name in _match(before, after)
    ]
    return Comparison(metric=found, rows=tuple(_corrected(rows)))


def _match(
    before: Mapping[str, ComparedExperiment], after: Mapping[str, ComparedExperiment]
) -> list[tuple[str | None, str | None]]:
    """Return the names (before, after) of each row; None on a side without it."""
    waiting = [name for name in before if name not in after]
    pairs: list[tuple[str | None, str | None]] = []
    for name, cell in after.items():
        same = (n for n in waiting if before[n].configuration_hash == cell.configuration_hash)
        earlier = name if name in before else next(same, None)
        if earlier in waiting:
            waiting.remove(earlier)
        pairs.append((earlier, name))
    return pairs + [(name, None) for name in waiting]


def _row(
    before: ComparedExperiment | None, after: ComparedExperiment | None, *, metric: Metric
) -> ComparedRow:
    values = tuple(cell.evidence.values(metric.name) if cell else {} for cell in (before, after))
    means = tuple(mean_interval(list(side.values())) if side else None for side in values)
    one = after or before
    assert one is not None
    if before is None or after is None:
        found = _Difference("vanished" if after is None else "appeared")
    else:
        found = _difference(*values)
        if _diverged_on_one_side(before.evidence, after.evidence):
            found = dataclasses.replace(found, movement="diverged")
    both = (before, after) if before and after else None
    return ComparedRow(
        name=one.evidence.experiment,
        before=before,
        after=after,
        means=(means[0], means[1]),
        difference=found.interval,
        test=found.test,
        p_value=found.p_value,
        corrected=None,
        movement=found.movement,
        configuration=_configuration_changes(*both) if both else (),
        environment=_environment_changes(*both) if both else (),
    )


@dataclass(frozen=True)
class _Difference:
    movement: Movement
    interval: Interval | None = None
    test: Literal["paired", "Welch"] | None = None
    p_value: float | None = None


def _diverged_on_one_side(before: Evidence, after: Evidence) -> bool:
    """Return whether a shared seed finished on one side only."""
    one, other = ({run.seed: run.finished for run in side.runs} for side in (before, after))
    return any(one[seed] != other[seed] for seed in one.keys() & other.keys())


def _difference(before: Mapping[int, float], after: Mapping[int, float]) -> _Difference:
    """Return after - before, with interval and p-value if there are enough runs."""
    if not before or not after:
        return _Difference("too few runs")
    shared = sorted(before.keys() & after.keys())
    rounding = RECORD_ROUNDING * max(map(abs, [*before.values(), *after.values()]))
    differences = [after[seed] - before[seed] for seed in shared]
    if shared and all(abs(difference) <= rounding for difference in differences):
        zero = Interval(mean=0.0, low=0.0, high=0.0, n=len(shared), sd=0.0, method="equal runs")
        return _Difference("the same", zero)
    if len(shared) >= 2:
        paired = mean_interval(differences)
        assert paired.sd is not None
        if paired.sd <= rounding:
            return _Difference("within noise", paired, "paired", 2.0 ** (1 - len(shared)))
        p_value = float(stats.ttest_1samp(differences, 0.0).pvalue)
        return _Difference("within noise", paired, "paired", p_value)
    return _welch(list(before.values()), list(after.values()), rounding)


def _welch(before: Sequence[float], after: Sequence[float], rounding: float) -> _Difference:
    """Compare the means of unpaired runs with unequal variances (Welch 1947)."""
    mean = math.fsum(after) / len(after) - math.fsum(before) / len(before)
    n = min(len(before), len(after))
    if n < 2:
        alone = Interval(mean=mean, low=None, high=None, n=n, sd=None, method="a single run")
        return _Difference("too few runs", alone)
    spread = max(max(side) - min(side) for side in (before, after))
    if spread <= rounding:
        p_value = 2 / math.comb(len(before) + len(after), n) if abs(mean) > rounding else 1.0
        ends, method = (mean, mean), "exact permutations"
    else:
        found = stats.ttest_ind(after, before, equal_var=False)
        p_value, ends = float(found.pvalue), found.confidence_interval(CONFIDENCE)
        method = "Welch's t"
    low, high = map(float, ends)
    interval = Interval(mean=mean, low=low, high=high, n=n, sd=None, method=method)
    return _Difference("within noise", interval, "Welch", min(1.0, p_value))


def _corrected(rows: Sequence[ComparedRow]) -> Iterator[ComparedRow]:
    """Yield the rows with p-values corrected by Holm's method (1979) and their movement."""
    ordered = sorted(row.p_value for row in rows if row.p_value is not None)
    corrected: dict[float, float] = {}
    highest = 0.0
    for place, p_value in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - place) * p_value))
        corrected.setdefault(p_value, highest)
    for row in rows:
        if row.p_value is None:
            yield row
            continue
        now = corrected[row.p_value]
        assert row.difference is not None
        movement = row.movement
        if movement != "diverged" and now < 1 - CONFIDENCE:
            movement = "higher" if row.difference.mean > 0 else "lower"
        yield dataclasses.replace(row, corrected=now, movement=movement)


def _configuration_changes(
    before: ComparedExperiment, after: ComparedExperiment
) -> tuple[Change, ...]:
    """Return the composed keys that differ; if none does, those of the plan in updates."""
    if before.configuration_hash == after.configuration_hash:
        return ()
    kinds = ((before.configuration, after.configuration), (before.as_run, after.as_run))
    for one, other in kinds:
        old, new = (flat_numbers(side) for side in (one, other))
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if keys:
            return tuple(Change(key=k, before=old.get(k), after=new.get(k)) for k in keys)
    return ()


def _environment_changes(
    before: ComparedExperiment, after: ComparedExperiment
) -> tuple[Change, ...]:
    """Return the differences in machine and code that both sides record."""
    found = []
    for key in COMPARED_ENVIRONMENT:
        one, other = (
            sorted({run.environment[key] for run in cell.evidence.runs if key in run.environment})
            for cell in (before, after)
        )
        if one and other and one != other:
            found.append(Change(key=key, before=" / ".join(one), after=" / ".join(other)))
    return tuple(found)
