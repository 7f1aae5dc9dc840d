"""What it takes to run a claim that was not run: hours on a processor, a GPU, data, or code.

Hours come from committed runs. A row that was run says how long a run takes; any other has its
floating-point operations (``paper/costs.json``) at the median speed of the networks that ran.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Literal

from anneal.claims.schema import Claim, OrderClaim
from anneal.claims.verdict import Judgement
from anneal.report.content import NOT_RUN, Content
from anneal.results.ensembles import ensemble_of
from anneal.results.metrics import Evidence, Run, restate
from anneal.results.statistics import FEWEST_RUNS

MOST_HOURS = 100.0  # on a processor; what takes longer wants a GPU
HOUR = 3600.0

Way = Literal["here", "GPU", "data", "code", "reference"]
WAYS: dict[Way, str] = {  # -> the words for a claim that was not run
    "here": "can run here",
    "GPU": "needs a GPU",
    "data": "no data",
    "code": "no row yet",
    "reference": "for reference, no row",
}


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one claim takes.

    Args:
        way: whether it can be run here, or what it lacks.
        hours: of its missing runs, one after the other on a processor; None where nothing tells.
    """

    way: Way
    hours: float | None

    @property
    def words(self) -> str:
        """It in a few words.

        >>> Need(way="here", hours=2.04).words, Need(way="data", hours=None).words
        ('here in 2.0 hours', 'no data')
        >>> Need(way="GPU", hours=1234.5).words
        'needs a GPU (1,200 hours here)'
        """
        if self.hours is None:
            return WAYS[self.way]
        if self.way == "here":
            return f"here in {hours_words(self.hours)}"
        return f"{WAYS[self.way]} ({hours_words(self.hours)} here)"


@dataclass(frozen=True, kw_only=True)
class Total:
    """What a number of claims take together: a run that several need is counted once.

    Args:
        claims: by what they lack.
        hours: of the claims that can be run here.
    """

    claims: Mapping[Way, int]
    hours: float

    @property
    def words(self) -> str:
        """It in a sentence without its stop; empty where nothing is left.

        >>> Total(claims={"here": 2, "GPU": 1}, hours=3.21).words
        'left: 2 here in 3.2 hours, 1 needs a GPU'
        """
        parts = []
        for way, words in WAYS.items():
            count = self.claims.get(way, 0)
            if not count:
                continue
            if way == "here":
                parts.append(f"{count} here in {hours_words(self.hours)}")
            elif way == "GPU":
                parts.append(f"{count} need{'s' * (count == 1)} a GPU")
            else:
                parts.append(f"{count} {words}")
        return f"left: {', '.join(parts)}" if parts else ""


@dataclass(frozen=True)
class Effort:
    """What claims take, as the runs of a report tell.

    Args:
        content: of the report.
    """

    content: Content

    @cached_property
    def _speeds(self) -> dict[str, dict[str, float]]:
        """Operations a second by network and row: of rows with a known cost, the median run."""
        runs: dict[tuple[str, str], list[Run]] = {}
        for section in self.content.sections:
            for row in section.rows:
                about = row.experiment.about
                network = f"{about['model']} on {about['dataset']}"
                runs.setdefault((network, row.experiment.name), []).extend(row.evidence.runs)
        found: dict[str, dict[str, float]] = {}
        for (network, name), those in runs.items():
            if cost := self.content.costs.get(name):
                per_update = cost["flop"] / cost["updates"]
                timed = [(run.updates, _seconds_of(run)) for run in those if run.finished]
                speeds = [updates * per_update / s for updates, s in timed if s]
                if speeds:
                    found.setdefault(network, {})[name] = median(speeds)
        return found

    @cached_property
    def usual_speed(self) -> float | None:
        """Operations a second that our networks run at, the median of them; None without a run."""
        networks = [median(rows.values()) for rows in self._speeds.values()]
        return median(networks) if networks else None

    def seconds(self, name: str) -> float | None:
        """Return how long one run of a row takes at full length; None where nothing tells."""
        whole = self.content.evidence.get(name)
        if whole is not None and whole.budget_fraction == 1:
            timed = [s for run in whole.runs if run.finished and (s := _seconds_of(run))]
            if timed:
                return median(timed)
        own = [rows[name] for rows in self._speeds.values() if name in rows]
        speed = own[0] if own else self.usual_speed
        cost = self.content.costs.get(name)
        return cost["flop"] / speed if cost and speed else None

    def hours(self, missing: Mapping[str, int]) -> float | None:
        """Return the hours of runs, by row; None where nothing tells of one of them."""
        seconds = [(n, self.seconds(name)) for name, n in missing.items()]
        known = [n * each for n, each in seconds if each is not None]
        return sum(known) / HOUR if len(known) == len(seconds) else None

    def missing(self, judgements: Sequence[Judgement]) -> Counter[str]:
        """Return by row the runs that claims lack for a verdict; a shared run is one.

        A row over subjects has a run of each of them for each seed. An ensemble across two rows
        has one run of each for each seed.
        """
        needed = Counter[str]()
        for found in judgements:
            for name, runs in runs_for(found.claim).items():
                rows = self.trained_for(name)
                needed |= Counter(dict.fromkeys(rows, runs if rows == [name] else FEWEST_RUNS))
        for name in needed:
            needed[name] *= self.content.costs.get(name, {}).get("subjects", 1)
        have = {name: num_runs(self.content.evidence.get(name)) for name in needed}
        return needed - Counter(have)

    def trained_for(self, name: str) -> list[str]:
        """Return the rows behind one: itself, none behind a decoder, two behind an ensemble."""
        found: list[str] = self.content.costs.get(name, {}).get("trains", [name])
        return found

    def need(self, found: Judgement) -> Need:
        """Return what a claim that was not run takes."""
        names = [name for name in found.claim.experiments if name not in self.content.costs]
        if names:
            lacks = {self.content.planned.get(name, "") for name in names}
            if "data" in lacks:
                return Need(way="data", hours=None)
            return Need(way="code" if "code" in lacks else "reference", hours=None)
        behind = [one for name in found.claim.experiments for one in self.trained_for(name)]
        if any(self.content.costs[name].get("needs_data") for name in behind):
            return Need(way="data", hours=None)
        hours = self.hours(self.missing([found])) if behind else None
        is_long = hours is not None and hours > MOST_HOURS
        return Need(way="GPU" if is_long else "here", hours=hours)

    def need_words(self, found: Judgement) -> str:
        """Return what a claim takes in words; empty where it was run."""
        return self.need(found).words if found.verdict == NOT_RUN else ""

    def total(self, judgements: Sequence[Judgement]) -> Total:
        """Return what those of some claims that were not run take together."""
        open_claims = [found for found in judgements if found.verdict == NOT_RUN]
        ways = [(found, self.need(found).way) for found in open_claims]
        here = [found for found, way in ways if way == "here"]
        return Total(
            claims=Counter(way for _, way in ways), hours=self.hours(self.missing(here)) or 0.0
        )


def hours_words(hours: float) -> str:
    """Return hours with two digits, or minutes.

    >>> hours_words(0.034), hours_words(9.96), hours_words(1234.0)
    ('2 minutes', '10 hours', '1,200 hours')
    """
    if hours < 1:
        return f"{max(1.0, 60 * hours):.0f} minutes"
    return f"{hours:.1f} hours" if hours < 9.95 else f"{float(f'{hours:.2g}'):,.0f} hours"


def runs_for(claim: Claim) -> Counter[str]:
    """Return how many runs of each experiment give a verdict; an ensemble takes several."""
    metrics = claim.metrics if isinstance(claim, OrderClaim) else (claim.metric,) * 2
    found = Counter[str]()
    for name, metric in zip((claim.experiments[0], claim.experiments[-1]), metrics, strict=True):
        ensemble = ensemble_of(restate(metric, 0)[0])
        found |= Counter({name: FEWEST_RUNS * (ensemble[0] if ensemble else 1)})
    return found


def num_runs(evidence: Evidence | None) -> int:
    """Return how many runs of the full length there are."""
    whole = evidence is not None and evidence.budget_fraction == 1
    return sum(run.finished for run in evidence.runs) if evidence is not None and whole else 0


def _seconds_of(run: Run) -> float:
    return float(run.environment.get("seconds") or 0)
