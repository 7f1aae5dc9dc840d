"""Schema of ``paper/claims/*.yaml``: the claims of the papers as data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, cast

from anneal.config.strict import NOT_NEGATIVE, POSITIVE, Rule, one_of, parse
from anneal.io.text import did_you_mean
from anneal.results.metrics import METRICS, PATTERNS, find_metric, quantity_of

CONFIDENCES = {
    "A": "read in the paper or in its authors' code",
    "A-fig": "read off a figure of the paper",
    "B": "from a secondary source",
    "D": "derived by arithmetic from A values",
}
ROLES = {
    "headline": "what a paper's abstract or conclusion says; counted first",
    "detail": "a cell of a table or figure, or a sentence; counted",
    "context": "a baseline, a log or an order that the paper does not claim; shown, not counted",
}
_STATISTIC = re.compile(r"single run|best|(best|mean|median) of ([2-9]|[1-9]\d+)|runs not stated")
_ID = re.compile(r"[a-z0-9_.-]+(/[a-z0-9_.-]+)+")

CONFIDENCE_RULE = Rule(
    f"must be one of {', '.join(CONFIDENCES)} (what is recalled, unverified, is no target)",
    lambda v: v in CONFIDENCES,
)
STATISTIC_RULE = Rule(
    "must be 'single run', 'best', 'best of <n>', 'mean of <n>' or 'median of <n>' with n >= 2, or "
    "'runs not stated'",
    lambda v: bool(_STATISTIC.fullmatch(v)),
)
ID_RULE = Rule(
    "must be lower-case words joined by slashes, the paper first", lambda v: bool(_ID.fullmatch(v))
)
RUN_METRIC_RULE = Rule(
    f"must be one of {', '.join(name for name in (*METRICS, *PATTERNS) if '@' in name)}",
    lambda v: "@" in v,  # that it is known at all is checked before, with the nearest spelling
)
CURVE_METRIC_RULE = Rule(
    f"must be one of {', '.join(name for name in METRICS if '@' not in name)}",
    lambda v: "@" not in v,
)
DAY_RULE = Rule("must be a day as in 2026-11-28", lambda v: _is_day(v))
REASON_RULE = Rule("must say why", lambda v: bool(v.strip()))
ONE = Rule("must name one experiment", lambda v: len(v) == 1)
TWO = Rule("must name two different experiments", lambda v: len(v) == len(set(v)) == 2)
ONE_OR_TWO = Rule(
    "must name two different experiments, or one whose metrics differ",
    lambda v: len(v) == len(set(v)) in (1, 2),
)
DIFFERENT = Rule("must name each experiment once", lambda v: len(v) == len(set(v)))
SUBJECTS = {
    "median": "the median over subjects, whose interval is over subjects; seeds are averaged first",
    "mean": "the mean over subjects, whose interval is over seeds",
}
TWO_VALUES = Rule("must hold two values", lambda v: len(v) == 2)


@dataclass(frozen=True, kw_only=True)
class ClaimSource:
    """Place in the paper."""

    paper: str  # arXiv number with version, or repository@commit
    at: str  # table, figure or section
    confidence: Annotated[str, CONFIDENCE_RULE]


@dataclass(frozen=True, kw_only=True)
class OtherSource:
    """A second place with the same number, or nearly: the author's log of a cell of a table."""

    paper: str
    at: str
    confidence: Annotated[str, CONFIDENCE_RULE]
    value: float | None = None  # what it has there
    metric: Annotated[str | None, RUN_METRIC_RULE] = None  # where it goes by another name there
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A change of a claim after its first run; values and tolerances never change."""

    day: Annotated[str, DAY_RULE]
    what: Annotated[str, REASON_RULE]  # with what it was before
    why: Annotated[str, REASON_RULE]


@dataclass(frozen=True, kw_only=True)
class _CommonFields:
    """Fields of claims of every kind.

    ``readings`` are experiments that take the place of ``experiments[0]``: the same row under
    another reading of a setting that the paper leaves open.
    """

    id: Annotated[str, ID_RULE]
    kind: str
    role: Annotated[str, one_of(*ROLES)] = "detail"
    text: str
    source: ClaimSource
    also: tuple[OtherSource, ...] = ()
    readings: Annotated[tuple[str, ...], DIFFERENT] = ()
    corrections: tuple[Correction, ...] = ()

    @property
    def paper(self) -> str:
        """The paper, as the ids of its claims begin."""
        return self.id.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class ValueClaim(_CommonFields):
    """A number in a table: ``experiments[0]`` gives ``value`` +- ``tolerance``.

    ``subjects`` is for experiments over several subjects: which of SUBJECTS the paper's number is.
    ``num_subjects`` is how many the paper has; with fewer of them a claim is not judged.
    """

    metric: Annotated[str, RUN_METRIC_RULE]
    statistic: Annotated[str, STATISTIC_RULE]  # of the paper
    experiments: Annotated[tuple[str, ...], ONE]
    value: float
    tolerance: Annotated[float, POSITIVE]
    tolerance_reason: Annotated[str, REASON_RULE]
    seed_sd: Annotated[float | None, POSITIVE]  # expected, until runs tell; for the power view
    subjects: Annotated[str | None, one_of(*SUBJECTS)] = None
    num_subjects: Annotated[int | None, POSITIVE] = None

    @property
    def paper_number(self) -> float:
        """The paper's number, on the scale of ours."""
        return self.value


@dataclass(frozen=True, kw_only=True)
class OrderClaim(_CommonFields):
    """One row against another: [better, worse], better by more than ``margin``.

    A negative margin says "not worse by more than": how "the same accuracy in fewer updates" is
    judged, since no number of runs can show two means to be equal.

    ``worse_metric`` is for cells that differ in when or how they were measured, such as a snapshot
    ensemble against the last iterate; with it both cells may be of one experiment.

    With ``subjects: median`` the median over subjects of the difference within each is held against
    the margin.
    """

    metric: Annotated[str, RUN_METRIC_RULE]
    worse_metric: Annotated[str | None, RUN_METRIC_RULE]  # None: the same
    statistic: Annotated[str, STATISTIC_RULE]
    experiments: Annotated[tuple[str, ...], ONE_OR_TWO]
    values: Annotated[tuple[float, ...] | None, TWO_VALUES]  # the paper's; None: it prints none
    margin: float  # in the metric's unit, in the direction of an improvement
    margin_reason: Annotated[str, REASON_RULE]
    seed_sd: Annotated[float | None, POSITIVE]
    subjects: Annotated[str | None, one_of(*SUBJECTS)] = None
    num_subjects: Annotated[int | None, POSITIVE] = None

    @property
    def metrics(self) -> tuple[str, str]:
        """Names of the metrics of the better and of the worse cell."""
        return self.metric, self.worse_metric or self.metric

    @property
    def paper_number(self) -> float | None:
        """How much better the paper's first number is; None where it prints none."""
        if self.values is None:
            return None
        sign = 1 if find_metric(self.metric).higher_is_better else -1
        return sign * (self.values[0] - self.values[1])


@dataclass(frozen=True, kw_only=True)
class SpeedClaim(_CommonFields):
    """Speed-up: [faster, slower], updates of faster to the target over those of slower."""

    metric: Annotated[str, CURVE_METRIC_RULE]
    statistic: Annotated[str, STATISTIC_RULE]
    experiments: Annotated[tuple[str, ...], TWO]
    target: float  # the paper's, in the metric's unit
    target_tolerance: Annotated[float, NOT_NEGATIVE]  # the target is given up by as much
    ratio: Annotated[float, POSITIVE]  # the paper's
    tolerance: Annotated[float, POSITIVE]  # of the ratio
    tolerance_reason: Annotated[str, REASON_RULE]
    seed_sd: Annotated[float | None, POSITIVE]  # of the logarithm of the ratio

    @property
    def paper_number(self) -> float:
        """The paper's ratio."""
        return self.ratio


Claim = ValueClaim | OrderClaim | SpeedClaim
KINDS: dict[str, type[Claim]] = {"value": ValueClaim, "order": OrderClaim, "speed": SpeedClaim}


def parse_claims(entries: object, *, where: str) -> tuple[Claim, ...]:
    """Read the claims of one file, strictly.

    Args:
        entries: what YAML gave, a list of mappings.
        where: the file, for messages; its stem is how each id must begin.

    Raises:
        ValueError: names the file, the claim, the key, the rule and the nearest right spelling.
    """
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{where}: must be a list of claims")
    claims = tuple(_parse_claim(entry, where=where, at=i) for i, entry in enumerate(entries))
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise ValueError(f"{where}: claim '{claim.id}': id must be unique, it is here twice")
        seen.add(claim.id)
    return claims


def _parse_claim(entry: object, *, where: str, at: int) -> Claim:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: claim number {at + 1} must be a mapping, got {entry!r}")
    if not isinstance(entry.get("id"), str):
        raise ValueError(f"{where}: claim number {at + 1}: missing key id")
    here = f"{where}: claim '{entry['id']}'"
    if "kind" not in entry:
        raise ValueError(f"{here}: missing key kind")
    kind = entry["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        hint = did_you_mean(str(kind), KINDS)
        raise ValueError(f"{here}: kind must be one of {', '.join(KINDS)}, got {kind!r}{hint}")
    _check_metric(entry, here=here)
    optional: dict[str, Any] = {"seed_sd": None}
    if kind == "order":
        optional |= {"worse_metric": None, "values": None}
    claim = parse(cast(type[Any], KINDS[kind]), optional | dict(entry), where=here)
    if isinstance(claim, OrderClaim):
        _check_order(claim, here=here)
    if not isinstance(claim, SpeedClaim) and bool(claim.subjects) != bool(claim.num_subjects):
        raise ValueError(
            f"{here}: subjects and num_subjects are given together or not at all, "
            f"got {claim.subjects!r} and {claim.num_subjects!r}"
        )
    _check_readings(claim, here=here)
    stem = where.rsplit("/", 1)[-1].removesuffix(".yaml")
    if not claim.id.startswith(f"{stem}/"):
        raise ValueError(f"{here}: id must begin with '{stem}/', as the file is called")
    return cast(Claim, claim)


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _check_metric(entry: Mapping[str, Any], *, here: str) -> None:
    """Refuse an unknown metric with the nearest spelling, which a rule alone cannot name."""
    named = [(key, entry.get(key)) for key in ("metric", "worse_metric")]
    also = entry.get("also")
    if isinstance(also, list):
        others = (other.get("metric") for other in also if isinstance(other, Mapping))
        named += [(f"also[{i}].metric", name) for i, name in enumerate(others)]
    for key, name in named:
        if isinstance(name, str):
            try:
                find_metric(name)
            except ValueError as error:
                raise ValueError(f"{here}: {key}: {error}") from None


def _check_readings(claim: Claim, *, here: str) -> None:
    """Refuse a reading that is one of the claim's own rows."""
    for name in claim.readings:
        if name in claim.experiments:
            raise ValueError(f"{here}: readings must differ from experiments, got {name!r}")


def _check_order(claim: OrderClaim, *, here: str) -> None:
    """Refuse two cells that are one or cannot be compared, and numbers that deny the claim."""
    better, worse = claim.metrics
    if quantity_of(better) != quantity_of(worse):
        raise ValueError(
            f"{here}: worse_metric must measure {quantity_of(better)} as metric does, got {worse!r}"
        )
    if len(claim.experiments) == 1 and better == worse:
        raise ValueError(f"{here}: experiments {ONE_OR_TWO.words}, got {[*claim.experiments]!r}")
    if claim.paper_number is not None and not claim.paper_number > claim.margin:
        raise ValueError(
            f"{here}: values must stand in the order that is claimed, the first better by more "
            f"than the margin {claim.margin:g}, got {list(claim.values or ())!r}"
        )
