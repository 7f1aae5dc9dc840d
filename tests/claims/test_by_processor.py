"""Verdicts on the runs of one processor alone."""

from dataclasses import replace

from tests.claims.test_verdict import value_claim

from anneal.claims.by_processor import judge_apart, processors_words
from anneal.claims.verdict import judge
from anneal.results.metrics import Evidence, Run

FINAL = "test_accuracy_pct@final"


def evidence(*, near: list[float], far: list[float]) -> dict[str, Evidence]:
    """Return a row whose runs are of two processors, ``near`` the paper's 81.4 and ``far``."""
    values = [("Xeon", value) for value in near] + [("EPYC", value) for value in far]
    runs = tuple(
        Run(
            seed=seed,
            configuration_hash="a",
            status="finished",
            updates=10,
            metrics={FINAL: value},
            environment={"device": device},
        )
        for seed, (device, value) in enumerate(values)
    )
    return {"a": Evidence(experiment="a", budget_fraction=1.0, runs=runs)}


def test_verdict_that_one_processor_would_change_is_shown():
    found = evidence(near=[81.4, 81.5, 81.3], far=[79.0])
    claim = value_claim()
    (apart,) = judge_apart([judge(claim, found)], found)
    assert apart.whole.verdict == "too close to call"
    assert {name: one.verdict for name, one in apart.alone.items()} == {"Xeon": "reproduced"}
    words = processors_words([apart])
    assert "alone would change: 1." in words
    assert "| a reaches 81.4 % | Xeon |" in words


def test_verdict_that_no_processor_would_change_is_counted():
    found = evidence(near=[81.4, 81.5, 81.3], far=[81.4])
    apart = judge_apart([judge(value_claim(), found)], found)
    assert processors_words(apart).endswith("alone would change: none.")


def test_claim_on_one_processor_or_on_few_runs_of_each_is_left_out():
    one = evidence(near=[81.4, 81.5, 81.3], far=[])
    few = evidence(near=[81.4, 81.5], far=[81.3, 81.4])
    for found in (one, few):
        assert judge_apart([judge(value_claim(), found)], found) == ()


def test_ensemble_of_seeds_of_two_processors_belongs_to_neither():
    found = evidence(near=[81.4, 81.5, 81.3], far=[79.0])
    ensemble = "test_accuracy_pct@ensemble_2x1"
    both = {
        "a": replace(found["a"], ensembles={(2, 3): {ensemble: 81.4}, (0, 1): {ensemble: 80.0}})
    }
    claim = value_claim(metric=ensemble)
    assert judge(claim, both).n == 2
    assert judge_apart([judge(claim, both)], both) == ()
