"""Claims on experiments over subjects: their evidence, and the estimate of a median."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anneal.claims.schema import Claim, SpeedClaim
from anneal.results.equivalence import Place, Tolerance
from anneal.results.metrics import Evidence
from anneal.results.statistics import Interval, median_interval
from anneal.results.subjects import mean_over_subjects


@dataclass(frozen=True, kw_only=True)
class MedianEstimate:
    """Median over subjects of the numbers that are held against a claim.

    Args:
        values: one for each subject.
        level: two-sided, of the interval.
    """

    values: tuple[float, ...]
    level: float
    borrows = False  # from no other row

    @property
    def n(self) -> int:
        """Number of subjects."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The median, in the place where other estimates have their mean."""
        return self.interval().mean

    def place(self, tolerance: Tolerance) -> Place | None:
        """Return where the interval is; None where there are too few subjects for one."""
        found = self.interval()
        if found.low is None or found.high is None:
            return None
        above = found.low > tolerance.low if tolerance.is_open else found.low >= tolerance.low
        return Place(
            inside=above and found.high <= tolerance.high,
            lower=found.high < tolerance.low,
            higher=found.low > tolerance.high,
        )

    def confidence(self, _tolerance: Tolerance) -> float | None:
        """Return None: the interval's steps are too coarse for one."""
        return None

    def interval(self) -> Interval:
        """Return the median with the interval that decides."""
        return median_interval(self.values, confidence=self.level)


def few_subjects(
    claim: Claim, evidence: Mapping[str, Evidence], names: Sequence[str]
) -> dict[str, str]:
    """Return how many subjects each experiment has, in words, where they are fewer than asked.

    A subject whose every run diverged counts as none. Where each experiment has enough and too few
    of them are the same, how many the experiments share.
    """
    asked = 0 if isinstance(claim, SpeedClaim) else claim.num_subjects or 0
    found = {
        name: {
            number
            for number, part in evidence[name].subjects.items()
            if any(run.finished for run in part.runs)
        }
        for name in names
    }
    few = {name: f"{name} has {len(n)} of {asked}" for name, n in found.items() if len(n) < asked}
    shared = len(set.intersection(*found.values()))
    if few or shared >= asked:
        return few
    return dict.fromkeys(names, f"{' and '.join(names)} share {shared} of {asked}")


def evidence_of(
    claim: Claim, evidence: Mapping[str, Evidence], names: Sequence[str]
) -> list[Evidence]:
    """Return the evidence on a claim's experiments, as the claim takes their subjects.

    Means are over the subjects that all of the experiments have.

    Args:
        claim: what the paper says.
        evidence: by experiment.
        names: of the experiments, in the claim's order.

    Raises:
        ValueError: an experiment is over subjects and the claim does not say what it takes of
            them, or the other way round.
    """
    asked = None if isinstance(claim, SpeedClaim) else claim.subjects
    found = [evidence[name] for name in names]
    for part in found:
        if bool(part.subjects) != (asked is not None):
            what = "is over several subjects" if part.subjects else "is not over several subjects"
            raise ValueError(
                f"claim '{claim.id}': subjects must be {'set' if part.subjects else 'left out'}, "
                f"since {part.experiment} {what}, got {asked}"
            )
    if asked != "mean":
        return found
    shared = set.intersection(*(set(part.subjects) for part in found))
    return [mean_over_subjects(part, shared) for part in found]
