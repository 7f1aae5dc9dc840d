"""Verdicts that borrow the spread of a network, and those of other readings."""

import dataclasses

import pytest
from tests.claims.test_verdict import order_claim, runs, value_claim

from anneal.claims.verdict import judge, judge_all
from anneal.claims.words import marked_verdict, readings_words, total_words, verdicts_table
from anneal.results.setting import Setting

DECAYING = {
    "name": "step_decay",
    "arguments": {"initial_lr": 1.0, "milestones": [50], "factor": 0.1},
}


def at(name, values, *, optimizer="sgd", **arguments):
    setting = Setting(
        dataset="cifar10",
        model="net",
        optimizer=optimizer,
        schedule=DECAYING,
        total_steps=100,
        test_images=10_000,
    )
    made = runs(values, name=name, **arguments)
    numbered = tuple(dataclasses.replace(run, configuration_hash=name) for run in made.runs)
    return dataclasses.replace(made, runs=numbered, setting=setting)


def network(*rows, spread=0.1):
    """Return evidence of three rows of one spread, and of these."""
    donors = [at(f"d{i}", [70 - spread, 70.0, 70 + spread]) for i in range(3)]
    return {part.experiment: part for part in (*donors, *rows)}


def test_one_run_agrees_or_differs_so_far_if_spread_is_known():
    assert judge(value_claim(), network(at("a", [81.4]))).verdict == "agrees so far"
    far = judge(value_claim(), network(at("a", [75.0])))
    assert far.verdict == "differs so far"
    assert far.borrows
    assert far.reason.endswith("assumes the usual spread of this network")
    assert judge(value_claim(), network(at("a", [80.8]))).verdict == "too close to call"
    assert judge(value_claim(), network(at("a", [81.4, 81.5]))).verdict == "agrees so far"
    assert judge(value_claim(), {"a": at("a", [81.4])}).verdict == "one run"


def test_one_run_is_held_to_95_percent_with_the_variance_of_the_network():
    found = judge(value_claim(), network(at("a", [81.4])))
    assert found.ours.confidence == 0.95
    # three rows without excess: four degrees of freedom, t(0.95, 4) = 2.776
    assert found.ours.high - found.ours.mean == pytest.approx(2.7764 * found.ours.sd, rel=1e-4)


def test_optimizer_that_no_donor_has_doubles_the_spread():
    own = judge(value_claim(), network(at("a", [81.4])))
    foreign = judge(value_claim(), network(at("a", [81.4], optimizer="adam")))
    assert foreign.ours.sd == pytest.approx(2 * own.ours.sd)


def test_pair_of_runs_has_the_variance_of_both_rows():
    evidence = network(at("a", [82.0]), at("b", [80.0]))
    found = judge(order_claim(), evidence)
    one = judge(value_claim(), evidence)
    assert found.verdict == "agrees so far"
    assert found.ours.sd == pytest.approx(2**0.5 * one.ours.sd)


def test_three_runs_borrow_and_five_do_not():
    three = judge(value_claim(), network(at("a", [81.3, 81.4, 81.6])))
    assert three.borrows
    assert three.ours.method == "Student's t with the network's usual spread"
    five = judge(value_claim(), network(at("a", [81.3, 81.4, 81.5, 81.4, 81.6])))
    assert not five.borrows


def test_diverged_run_takes_a_provisional_agreement_back():
    found = judge(value_claim(), network(at("a", [81.4, None])))
    assert found.verdict == "too close to call"
    assert "the others alone would say agrees so far" in found.reason


def test_provisional_verdict_says_where_another_spread_would_flip_it():
    near = judge(value_claim(), network(at("a", [81.4]), spread=0.15))
    assert near.verdict == "agrees so far"
    assert near.sensitivity == (
        "with the network's usual variance doubled it would be too close to call"
    )
    assert near.sensitivity in near.reason
    assert judge(value_claim(), network(at("a", [81.4]), spread=0.05)).sensitivity == ""


def test_verdict_does_not_hang_on_which_claims_are_beside_it():
    claims = [value_claim(id=f"clr/{i}", experiments=[f"e{i}"]) for i in range(5)]
    evidence = network(*(at(f"e{i}", [81.3, 81.4, 81.5]) for i in range(5)))
    found = judge_all(claims, evidence)
    assert judge_all(claims[:1], evidence) == found[:1]
    assert {one.verdict for one in found} == {"reproduced"}
    assert total_words(found).startswith("5 verdicts at 5 % a side. The rule is of 2026-11-28 ")
    assert total_words(found).endswith("for 5 of these verdicts it is post hoc.")


def read_as(literal, *others, readings=("r",)):
    evidence = network(at("a", literal), *others)
    return judge(value_claim(readings=list(readings)), evidence)


def test_other_reading_that_agrees_marks_the_verdict():
    found = read_as([75.0, 75.1, 75.2], at("r", [81.3, 81.4, 81.5]))
    assert (found.verdict, found.depends_on_reading) == ("lower", True)
    assert marked_verdict(found) == "✗ lower, ⑂ depends on the reading"
    assert readings_words(found).startswith("read as r: 81.40 ± ")
    assert readings_words(found).endswith("%, reproduced")
    assert "⑂" in verdicts_table([found])


def test_reading_of_an_order_is_worded_as_a_difference_in_points():
    evidence = network(at("a", [82.0]), at("b", [80.0]), at("r", [83.0]))
    found = judge(order_claim(readings=["r"]), evidence)
    assert readings_words(found).startswith("read as r: difference 3.00 ± ")
    assert readings_words(found).endswith(" points, agrees so far")


def test_two_runs_noisier_than_their_network_assume_nothing_of_it():
    found = judge(value_claim(), network(at("a", [60.0, 70.0])))
    assert not found.borrows
    assert "usual spread of this network" not in found.reason


def test_reading_that_does_not_agree_or_is_not_needed_marks_nothing():
    assert not read_as([75.0, 75.1, 75.2], at("r", [76.0, 76.1])).depends_on_reading
    assert not read_as([81.3, 81.4, 81.5], at("r", [81.3, 81.4, 81.5])).depends_on_reading
    missing = read_as([75.0, 75.1, 75.2])
    assert [reading.verdict for reading in missing.readings] == ["not run"]
    assert not missing.depends_on_reading


def test_readings_have_a_stricter_level_than_the_literal_one():
    found = read_as([75.0, 75.1, 75.2], at("r", [81.3, 81.4, 81.5]), at("s", [81.4]),
                    readings=("r", "s"))  # fmt: skip
    assert [round(r.ours.confidence, 3) for r in found.readings] == [0.95, 0.975]
    assert found.ours.confidence == 0.90
    assert found.readings[0].verdict == "reproduced"
    assert found.readings[1].verdict in ("agrees so far", "too close to call")


def test_shorter_reading_is_no_agreement():
    short = at("r", [81.3, 81.4, 81.5], budget_fraction=0.1)
    found = read_as([75.0, 75.1, 75.2], short)
    assert [reading.verdict for reading in found.readings] == ["shorter run"]
    assert not found.depends_on_reading
