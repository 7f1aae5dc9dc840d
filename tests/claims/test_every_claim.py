"""Every claim of paper/claims/ can be judged, and its verdict hangs on its number."""

import dataclasses
import re
from collections import defaultdict
from pathlib import Path

import pytest

from anneal.claims.files import load_claims
from anneal.claims.schema import OrderClaim, SpeedClaim, ValueClaim
from anneal.claims.verdict import judge
from anneal.claims.words import ours_words, paper_words, verdicts_overview, verdicts_table
from anneal.results.curves import Point
from anneal.results.metrics import Evidence, Run, find_metric, restate

CLAIMS = load_claims(Path(__file__).parents[2] / "paper" / "claims")
PAPERS = sorted({claim.id.split("/")[0] for claim in CLAIMS})
BY_PAPER = {
    paper: [claim for claim in CLAIMS if claim.id.split("/")[0] == paper] for paper in PAPERS
}
SLIGHTLY = (-0.001, 0.0, 0.001)  # three seeds whose mean is the number
SUBJECTS = 14
SLOWER_UPDATES = 10_000


def measured(experiment, cells, *, budget_fraction=1.0, size=3):
    """Runs that measured these cells (metric -> a value a seed), written down as runs record them.

    Several runs make an ensemble: the values of such a cell stand under the first seeds of groups.
    """
    records, curves, ensembles = defaultdict(dict), defaultdict(list), {}
    for metric, values in cells.items():
        accuracies = [restate(metric, value)[1] for value in values]
        recorded, _ = restate(metric, 0)
        if update := re.search(r"@update_(\d+)", recorded):
            for seed, accuracy in enumerate(accuracies):
                point = Point(update=int(update[1]), test_accuracy_pct=accuracy)
                curves[seed].append(point)
        elif re.search(r"@ensemble_(?!1x)", recorded):
            for seed, accuracy in enumerate(accuracies):
                ensembles.setdefault((seed, 100 + seed), {})[recorded] = accuracy
        else:
            for seed, accuracy in enumerate(accuracies):
                records[seed][recorded] = accuracy
    runs = tuple(
        Run(seed=seed, configuration_hash="0" * 12, status="finished", updates=10**6,
            metrics=records[seed], curve=tuple(curves[seed]))
        for seed in range(size)
    )  # fmt: skip
    return Evidence(
        experiment=experiment, budget_fraction=budget_fraction, runs=runs, ensembles=ensembles
    )


def reaching(experiment, metric, target, updates):
    """Runs whose curves meet the target at these updates, one a seed, and nothing before."""
    column, at_target = restate(metric, target)
    runs = tuple(
        Run(seed=seed, configuration_hash="0" * 12, status="finished", updates=update, metrics={},
            curve=(Point(update=1, **{column: 1.0}), Point(update=update, **{column: at_target})))
        for seed, update in enumerate(updates)
    )  # fmt: skip
    return Evidence(experiment=experiment, budget_fraction=1.0, runs=runs)


def at_its_own_number(claim, *, budget_fraction=1.0):
    """Return evidence that measured exactly what the paper prints."""
    if isinstance(claim, ValueClaim):
        cells = {claim.metric: [claim.value + d for d in SLIGHTLY]}
        made = [measured(claim.experiments[0], cells)]
    elif isinstance(claim, OrderClaim):
        sign = 1 if find_metric(claim.metric).higher_is_better else -1
        first, second = claim.values or (50 + sign * (claim.margin + 0.5), 50.0)
        better, worse = [first + d for d in SLIGHTLY], [second] * 3
        if len(claim.experiments) == 1:
            cells = dict(zip(claim.metrics, (better, worse), strict=True))
            made = [measured(claim.experiments[0], cells)]
        else:
            made = [
                measured(name, {metric: values})
                for name, metric, values in zip(
                    claim.experiments, claim.metrics, (better, worse), strict=True
                )
            ]
    else:
        higher_is_better = find_metric(claim.metric).higher_is_better
        given_up = -claim.target_tolerance if higher_is_better else claim.target_tolerance
        sooner = round(claim.ratio * SLOWER_UPDATES)
        made = [
            reaching(name, claim.metric, claim.target + given_up, updates)
            for name, updates in zip(
                claim.experiments,
                ([sooner - 1, sooner, sooner + 1], [SLOWER_UPDATES] * 3),
                strict=True,
            )
        ]
    whole = [dataclasses.replace(part, budget_fraction=budget_fraction) for part in made]
    if not isinstance(claim, SpeedClaim) and claim.subjects:  # each subject measures the same
        subjects = range(1, SUBJECTS + 1)
        whole = [
            dataclasses.replace(part, subjects=dict.fromkeys(subjects, part)) for part in whole
        ]
    return {part.experiment: part for part in whole}


def num_values(claim):
    """Return how many values are held against a claim's number."""
    is_median = not isinstance(claim, SpeedClaim) and claim.subjects == "median"
    return SUBJECTS if is_median else len(SLIGHTLY)


def changed_numbers(claim):
    """Return claims with another number, and the verdict that the same evidence must give them."""
    if isinstance(claim, ValueClaim):
        lower = dataclasses.replace(claim, value=claim.value - 3 * claim.tolerance)
        higher = dataclasses.replace(claim, value=claim.value + 3 * claim.tolerance)
        return {"higher": lower, "lower": higher}
    if isinstance(claim, OrderClaim):
        ahead = abs(claim.values[0] - claim.values[1]) if claim.values else abs(claim.margin) + 0.5
        return {"not the paper's order": dataclasses.replace(claim, margin=ahead + 1)}
    slower = dataclasses.replace(claim, ratio=claim.ratio + 3 * claim.tolerance)
    faster = dataclasses.replace(claim, ratio=claim.ratio / 4, tolerance=claim.ratio / 4)
    return {"lower": slower, "higher": faster}


@pytest.mark.parametrize("paper", PAPERS)
def test_runs_at_the_papers_number_reproduce_each_claim(paper):
    found = [judge(claim, at_its_own_number(claim)) for claim in BY_PAPER[paper]]
    wrong = {f.claim.id: f.reason for f in found if f.verdict != "reproduced"}
    assert wrong == {}
    assert all(f.n == num_values(f.claim) for f in found)


@pytest.mark.parametrize("paper", PAPERS)
def test_verdict_on_each_claim_flips_when_its_number_is_another(paper):
    tried = 0
    for claim in BY_PAPER[paper]:
        evidence = at_its_own_number(claim)
        for expected, changed in changed_numbers(claim).items():
            assert judge(changed, evidence).verdict == expected, claim.id
            tried += 1
        if isinstance(claim, SpeedClaim):
            up = 1 if find_metric(claim.metric).higher_is_better else -1
            further = dataclasses.replace(claim, target=claim.target + up)
            assert "never reached" in judge(further, evidence).reason, claim.id
    assert tried >= len(BY_PAPER[paper])


@pytest.mark.parametrize("paper", PAPERS)
def test_order_turned_round_is_not_reproduced(paper):
    turned = 0
    for claim in BY_PAPER[paper]:
        if isinstance(claim, OrderClaim) and claim.margin >= 0:
            better, worse = claim.metrics
            other = dataclasses.replace(
                claim, experiments=claim.experiments[::-1], metric=worse, worse_metric=better
            )
            found = judge(other, at_its_own_number(claim))
            assert found.verdict == "not the paper's order", claim.id
            turned += 1
    assert turned > 2


@pytest.mark.parametrize("paper", PAPERS)
def test_shorter_run_never_gets_a_verdict(paper):
    for claim in BY_PAPER[paper]:
        found = judge(claim, at_its_own_number(claim, budget_fraction=0.999))
        assert (found.verdict, found.n) == ("shorter run", num_values(claim)), claim.id
        assert "**shorter run (99.9 %)**" in verdicts_table([found])


@pytest.mark.parametrize("kind", [ValueClaim, OrderClaim, SpeedClaim])
def test_one_shorter_row_is_enough_to_have_no_verdict(kind):
    for claim in [c for c in CLAIMS if isinstance(c, kind)][:20]:
        evidence = at_its_own_number(claim)
        name = claim.experiments[-1]
        evidence[name] = dataclasses.replace(evidence[name], budget_fraction=0.1)
        found = judge(claim, evidence)
        assert found.verdict == "shorter run", claim.id


@pytest.mark.parametrize("paper", PAPERS)
def test_every_claim_has_words_for_both_numbers_and_a_row_in_both_tables(paper):
    found = [judge(claim, at_its_own_number(claim)) for claim in BY_PAPER[paper]]
    for judgement in found:
        claim = judgement.claim
        number = {ValueClaim: "value", SpeedClaim: "target"}.get(type(claim))
        shown = getattr(claim, number) if number else (claim.values or (claim.margin,))[0]
        assert f"{abs(shown):g}" in paper_words(claim), claim.id
        assert "one run" not in ours_words(judgement)
    for table in (verdicts_table(found), verdicts_overview(found)):
        assert len(table.splitlines()) == 2 + len(found)


def test_claim_without_runs_names_each_experiment_once():
    for claim in CLAIMS:
        found = judge(claim, {})
        assert found.verdict == "not run"
        assert found.reason == f"no run yet of {' and '.join(claim.experiments)}"
