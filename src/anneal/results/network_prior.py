"""Spread over seeds, with what the other rows of a network tell about it.

The spread of three runs is next to no information. Rows of one data set and one model spread alike,
within limits: the variances of its rows are taken to scatter about a common one, and how far they
do is estimated from them (Smyth 2004, "Linear models and empirical Bayes methods for assessing
differential expression in microarray experiments"). The common variance then counts as so many
degrees of freedom, at most four, since a few rows estimate it badly.

Everything is in points of the final accuracy of single networks. Losses, top-5 accuracies and
ensembles have no prior.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from anneal.results.metrics import Evidence, Run, restate
from anneal.results.setting import Setting
from anneal.results.statistics import FEWEST_RUNS

PRIOR_DF_CAP = 4.0  # six rows estimate it badly: 2.7 (likelihood) to 5.9 (moments)
FEWEST_ROWS, FEWEST_DF = 3, 6
OWN_FROM = 5  # runs from which Student's own t is as powerful, and exact
NOISIER = 0.75  # quantile of F above which a row lends nothing from its network
MORE_SPREAD = 4.0  # variances: of unannealed weights, and where no donor has the optimizer
FINAL = "test_accuracy_pct@final"
_OF_ONE_NETWORK = re.compile(r"test_accuracy_pct@(final|recommended|best|update_(\d+))")

Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class NetworkPrior:
    """The usual spread of a network's rows.

    Args:
        df: degrees of freedom that it counts as; an array in simulations.
        variance: of one annealed run of a usual row.
        optimizers: of the rows that it is estimated from.
    """

    df: float | Numbers
    variance: float | Numbers
    optimizers: frozenset[str] = frozenset()


def find_priors(evidence: Mapping[str, Evidence]) -> dict[tuple[str, str], NetworkPrior]:
    """Return the prior of each network that has one, by data set and model.

    Rows at full budget take part, in any order, precision or machine. Where two rows have equal
    configurations the one with more runs does.
    """
    rows: dict[str, Evidence] = {}
    for part in evidence.values():
        if part.setting is None or part.budget_fraction < 1 or not part.runs:
            continue
        configuration = part.runs[0].configuration_hash
        if configuration not in rows or _finals(part).size > _finals(rows[configuration]).size:
            rows[configuration] = part
    networks: dict[tuple[str, str], list[tuple[Evidence, Setting]]] = {}
    for part in rows.values():
        assert part.setting is not None
        networks.setdefault(part.setting.network, []).append((part, part.setting))
    found = {network: _network_prior(those) for network, those in networks.items()}
    return {network: prior for network, prior in found.items() if prior is not None}


def _finals(part: Evidence) -> Numbers:
    return np.array([*part.values(FINAL).values()])


def _network_prior(rows: Iterable[tuple[Evidence, Setting]]) -> NetworkPrior | None:
    variances, degrees, optimizers = [], [], set()
    for part, setting in rows:
        finals = _finals(part)
        if finals.size < 2:
            continue
        image = 100 / setting.test_images if setting.test_images else 0.0
        variance = max(float(finals.var(ddof=1)), image**2)
        if variance == 0:  # runs that are equal, of a data set whose size is not known
            continue
        is_unannealed = setting.is_unannealed(setting.total_steps)
        variances.append(variance / (MORE_SPREAD if is_unannealed else 1))
        degrees.append(finals.size - 1)
        optimizers.add(setting.optimizer)
    fitted = fit_prior(variances, degrees)
    if fitted is None:
        return None
    return NetworkPrior(df=fitted[0], variance=fitted[1], optimizers=frozenset(optimizers))


def fit_prior(variances: Sequence[float], degrees: Sequence[int]) -> tuple[float, float] | None:
    """Return degrees of freedom and variance of the prior; None where rows are too few.

    >>> df, variance = fit_prior([0.1, 0.1, 0.1], [2, 2, 2])  # no excess over chance: capped
    >>> df, round(variance, 3)
    (4.0, 0.178)

    Args:
        variances: of each row, positive.
        degrees: of freedom of each, its runs less one.
    """
    if len(variances) < FEWEST_ROWS or sum(degrees) < FEWEST_DF:
        return None
    half = np.asarray(degrees, dtype=np.float64) / 2
    logs = np.log(variances) - special.digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    centre = float(logs.mean())
    if excess <= 0:
        return PRIOR_DF_CAP, math.exp(centre)
    df = 2 * _trigamma_inverse(excess)
    variance = math.exp(centre + float(special.digamma(df / 2)) - math.log(df / 2))
    return min(df, PRIOR_DF_CAP), variance


def _trigamma_inverse(value: float) -> float:
    """Return where trigamma has a positive value, by Newton's method on its reciprocal."""
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    at = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, at))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, at))
        at += step
        if -step / at < 1e-12:
            break
    return at


def spread(
    own: float | Numbers | None, n: int, prior: NetworkPrior | None, *, units: float = 1.0
) -> tuple[float | Numbers, float | Numbers] | None:
    """Return the variance of one value and its degrees of freedom; None where nothing tells it.

    Args:
        own: variance of the row's own values (n - 1); None for a single one. An array in
            simulations, and then the prior's numbers too.
        n: number of values.
        prior: of the network.
        units: how many times the usual variance is expected here.
    """
    if n >= OWN_FROM or prior is None:
        return None if own is None or n < FEWEST_RUNS else (own, float(n - 1))
    expected = units * prior.variance
    if own is None or n < 2:
        return expected, prior.df
    is_noisier = own > special.fdtri(n - 1, prior.df, NOISIER) * expected
    pooled = (prior.df * expected + (n - 1) * own) / (prior.df + n - 1)
    variance = np.where(is_noisier, own, pooled)
    df = np.where(is_noisier, n - 1, prior.df + n - 1)
    if variance.ndim == 0:
        return float(variance), float(df)
    return variance, df


def prior_of(
    cells: Sequence[tuple[Evidence, str]], priors: Mapping[tuple[str, str], NetworkPrior]
) -> tuple[NetworkPrior, float] | None:
    """Return the prior of a measurement, or of a difference of two, with its units.

    Args:
        cells: the evidence and the metric of each measurement.
        priors: by network.

    Returns:
        None where a cell is no accuracy of a single network, or the cells' network has no prior.
    """
    networks = {part.setting.network if part.setting else None for part, _ in cells}
    network = networks.pop()
    prior = priors.get(network) if network and not networks else None
    if prior is None:
        return None
    units = [_units(part, metric, prior) for part, metric in cells]
    known = [of_one for of_one in units if of_one is not None]
    return (prior, sum(known)) if len(known) == len(units) else None


def _units(part: Evidence, metric: str, prior: NetworkPrior) -> float | None:
    """Return how many times the usual variance a measurement is expected to have."""
    moment = _OF_ONE_NETWORK.fullmatch(restate(metric, 0)[0])
    if moment is None or part.setting is None:
        return None
    updates = {_update_of(run, moment, part.setting) for run in part.runs if run.finished}
    is_unannealed = any(part.setting.is_unannealed(update) for update in updates)
    is_foreign = part.setting.optimizer not in prior.optimizers
    return (MORE_SPREAD if is_unannealed else 1.0) * (MORE_SPREAD if is_foreign else 1.0)


def _update_of(run: Run, moment: re.Match[str], setting: Setting) -> int:
    """Return after which update a run was evaluated."""
    if moment[2]:
        return int(moment[2])
    if moment[1] == "recommended":
        return setting.ends()[-1]
    return int(run.metrics.get("best_update", run.updates)) if moment[1] == "best" else run.updates
