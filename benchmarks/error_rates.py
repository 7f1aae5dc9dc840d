"""Error rates of the rule of verdicts, in simulation of the rule's own code.

``python benchmarks/error_rates.py`` prints the table and writes it into ``docs/verdicts.md``.

A network has six rows, with the spreads that CLR's rows had when the rule was written; the
tolerance is 0.8 points. Each row is judged in turn, and all six have as many runs. Where one or two
runs are judged they are of a further row, which spreads as one of the six, and these have three.
The judging is the product's: ``fit_prior`` and ``spread`` of :mod:`anneal.results.network_prior`
and ``place`` of :mod:`anneal.results.equivalence`, given all networks at once. The paper's number
is that of a single run.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anneal.io.files import renew_page
from anneal.io.terminal import command, say
from anneal.io.text import Alignment, markdown_table
from anneal.results.equivalence import Tolerance, level_for, place
from anneal.results.network_prior import NetworkPrior, fit_prior, spread
from anneal.results.statistics import FEWEST_RUNS

SDS = (0.162, 0.183, 0.227, 0.284, 0.344, 0.947)  # exp ... decay, in results/clr_cifar10
TOLERANCE = 0.8
NETWORKS, SEED = 4000, 0
LOOKS = ((1,), (2,), (3,), (4,), (5,), (3, 5))  # runs at which a row is judged, until it is settled
PAGE = Path("docs/verdicts.md")

Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Rates:
    """How often each row, in 0..1, is called what; arrays over the rows."""

    inside: Numbers
    outside: Numbers


@dataclass(frozen=True)
class Campaign:
    """Runs of many networks, whose true means are all 0: networks x rows x runs."""

    runs: Numbers
    few: Numbers  # two runs each of further rows that spread alike
    priors: dict[int, NetworkPrior] = field(default_factory=dict)  # fitted, by runs of a row

    @classmethod
    def draw(cls, most: int, *, networks: int = NETWORKS, seed: int = SEED) -> "Campaign":
        """Return runs that spread normally, seeded."""
        rng = np.random.default_rng(seed)
        shape = (networks, len(SDS), max(most, FEWEST_RUNS))
        runs = rng.standard_normal(shape) * np.array(SDS)[:, None]
        few = rng.standard_normal((*shape[:2], 2)) * np.array(SDS)[:, None]
        return cls(runs=runs, few=few)

    def prior(self, n: int) -> NetworkPrior:
        """Return the priors of all networks, where each row has n runs, or three at least."""
        n = max(n, FEWEST_RUNS)
        if n not in self.priors:
            variances = self.runs[..., :n].var(axis=-1, ddof=1)
            degrees = [n - 1] * len(SDS)
            fitted = np.array([fit_prior(of_one, degrees) for of_one in variances.tolist()])
            self.priors[n] = NetworkPrior(df=fitted[:, 0], variance=fitted[:, 1])
        return self.priors[n]

    def judge(self, looks: tuple[int, ...], values: Numbers) -> Rates:
        """Return how often each row is called inside and outside its tolerance.

        Args:
            looks: numbers of runs at which it is judged, until it is settled.
            values: the paper's, for each network and row.
        """
        inside = np.zeros(values.shape, dtype=bool)
        outside = np.zeros(values.shape, dtype=bool)
        for n in looks:
            prior = self.prior(n)
            for row in range(len(SDS)):
                now_inside, now_outside = self._judge_row(row, n, prior, values[:, row])
                is_open = ~(inside[:, row] | outside[:, row])
                inside[:, row] |= is_open & now_inside
                outside[:, row] |= is_open & now_outside
        return Rates(inside.mean(axis=0), outside.mean(axis=0))

    def _judge_row(
        self, row: int, n: int, prior: NetworkPrior, values: Numbers
    ) -> tuple[Flags, Flags]:
        # a row that tells of the spread has three runs, so that fewer are of a further row
        runs = (self.runs if n >= FEWEST_RUNS else self.few)[:, row, :n]
        own = runs.var(axis=-1, ddof=1) if n > 1 else None
        found = spread(own, n, prior)
        assert found is not None
        # the place of a difference from the paper's number, so that all networks share an interval
        tolerance = Tolerance(low=-TOLERANCE, high=TOLERANCE, paper=0.0, paper_runs=1.0)
        means = runs.mean(axis=-1) - values
        where = place(means, *found, n, tolerance=tolerance, level=level_for(n))
        return np.asarray(where.inside), np.asarray(where.lower | where.higher)


def simulate(looks: tuple[int, ...], *, networks: int, seed: int) -> dict[str, Rates]:
    """Return the rates where the paper's number is a draw, the truth, or so many tolerances off."""
    campaign = Campaign.draw(max(looks), networks=networks, seed=seed)
    shape = (networks, len(SDS))
    draws = np.random.default_rng(seed + 1).standard_normal(shape) * np.array(SDS)
    values = {"draw": draws, "truth": np.zeros(shape)}
    values |= {name: np.full(shape, times * TOLERANCE) for name, times in _OFF.items()}
    return {name: campaign.judge(looks, of) for name, of in values.items()}


_OFF = {"edge": 1, "two": 2, "three": 3}


def table(*, networks: int = NETWORKS, seed: int = SEED) -> str:
    """Return the table of error rates, in percent."""
    header = [
        "runs",
        "exact replication reproduced: paper's number a draw / the truth",
        "called lower or higher: a draw (row with the largest spread) / the truth",
        "wrong at the edge, favourable: mean (worst row)",
        "wrong at the edge, unfavourable: mean (worst row)",
        "2 / 3 tolerances off, seen",
    ]
    rows = []
    for looks in LOOKS:
        found = simulate(looks, networks=networks, seed=seed)
        draw, truth, edge = found["draw"], found["truth"], found["edge"]
        few = " (so far)" if looks[-1] < FEWEST_RUNS else ""
        rows.append(
            [
                f"{', then '.join(map(str, looks))}{few}",
                f"{_percent(draw.inside.mean(), 0)} / {_percent(truth.inside.mean(), 0)}",
                f"{_percent(draw.outside.mean())} ({_percent(draw.outside[-1])}) / "
                f"{_percent(truth.outside.mean())}",
                f"{_percent(edge.inside.mean())} ({_percent(edge.inside.max())})",
                f"{_percent(edge.outside.mean())} ({_percent(edge.outside.max())})",
                f"{_percent(found['two'].outside.mean(), 0)} / "
                f"{_percent(found['three'].outside.mean(), 0)}",
            ]
        )
    sides: list[Alignment] = ["left", *["right"] * (len(header) - 1)]  # type: ignore[list-item]
    return markdown_table(header, rows, sides=sides)


def _percent(part: float, decimals: int = 1) -> str:
    return f"{100 * part:.{decimals}f}"


@command()
def main(arguments: list[str]) -> None:
    """Print the table of error rates and write it into the page that explains the rule."""
    if arguments:
        raise ValueError(f"error_rates takes no arguments, got {arguments}")
    made = table()
    say(made)
    about = f"`python benchmarks/error_rates.py`: {NETWORKS:,} networks, seed {SEED}, percent."
    renew_page(PAGE, {"error-rates": f"{about}\n\n{made}"})


if __name__ == "__main__":
    main()
