import dataclasses
import math

import numpy as np
import pytest
from tests.claims.test_verdict import order_claim, runs, value_claim

from anneal.claims.families import (
    can_be_settled,
    count_together,
    family_of,
    place_named,
    place_of,
)
from anneal.claims.verdict import judge, judge_all
from anneal.results.statistics import joint_confidence, student_half_width

TABLES = 20_000
CONFIDENCE_OF_FIVE = joint_confidence(5)


def source(at, paper="1506.01186v6"):
    return {"paper": paper, "at": at, "confidence": "A"}


def table_of(num, *, at="Table 1", **changes):
    return [
        value_claim(id=f"clr/{at.lower().replace(' ', '')}/{i}", experiments=[f"e{i}"], **changes)
        for i in range(num)
    ]


def measured(num, values=(81.3, 81.4, 81.5), **arguments):
    return {f"e{i}": runs(values, name=f"e{i}", **arguments) for i in range(num)}


@pytest.mark.parametrize(
    ("at", "place"),
    [
        ("Table 1", "Table 1"),
        ("table 3, row 2", "Table 3"),
        ("Table 1 and section 4.1.1", "Table 1"),
        ("section 4.1.1 and Table 1", "Table 1"),
        ("Table 1 and Fig. 4", "Table 1"),
        ("Fig. 4", "Fig. 4"),
        ("Figure 4b", "Fig. 4"),
        ("Tables 1 and 3", "Table 1"),
        ("section 4.2", "section 4.2"),
        ("Sec. 4.2.", "section 4.2"),
        ("Appendix A.2", "appendix A.2"),
        ("Table A1", "Table A1"),
        ("Table IV", "Table IV"),
        ("Table 10", "Table 10"),
        ("README of  the code", "README of the code"),
        ("a comfortable seat", "a comfortable seat"),
    ],
)
def test_place_of_claim_is_table_then_figure_then_section(at, place):
    assert place_of(at) == place


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("table1", "Table 1"),
        ("figure_4", "Fig. 4"),
        ("section4.2", "section 4.2"),
        ("fig2a", "Fig. 2a"),
        ("appendix_a", "appendix A"),
        ("section", None),
        ("figure", None),
        ("cifar10", None),
        ("wrn_zca", None),
        ("table1_extra", None),
    ],
)
def test_a_name_in_an_id_is_a_place_where_it_says_nothing_else(name, place):
    assert place_named(name) == place


def test_a_family_is_one_kind_from_one_table_of_one_paper():
    family = family_of(value_claim())
    assert family == ("1506.01186v6", "Table 1", "value")
    assert family_of(value_claim(source=source("Table 1 and section 4.1"))) == family
    assert family_of(value_claim(source=source("Table 3"))) != family
    assert family_of(value_claim(source=source("Table 1", paper="1608.03983v5"))) != family
    assert family_of(order_claim()) != family


def test_only_claims_with_three_runs_at_the_papers_budget_count():
    claims = table_of(5)
    evidence = measured(2) | {
        "e2": runs([81.4, 81.4], name="e2"),
        "e3": runs([81.3, 81.4, 81.5], name="e3", budget_fraction=0.5),
    }
    assert [can_be_settled(claim, evidence) for claim in claims] == [True, True, *[False] * 3]
    together = count_together(claims, evidence)
    # those that cannot be settled yet are counted in for themselves alone
    assert [together[claim.id] for claim in claims] == [2, 2, 3, 3, 3]


def test_what_the_runs_measured_does_not_change_a_family():
    claims = table_of(3)
    diverged = measured(2) | {"e2": runs([None, None, None], name="e2")}
    assert count_together(claims, diverged) == count_together(claims, measured(3))


def test_a_claim_that_is_alone_in_its_table_is_judged_as_ever():
    claims = [*table_of(1), *table_of(1, at="Table 3", source=source("Table 3"))]
    for found in judge_all(claims, measured(1)):
        assert found == judge(found.claim, measured(1))
        assert (found.num_together, found.joint) == (1, found.ours)
        assert found.reason == "the interval lies inside the tolerance"


def test_five_claims_of_one_table_show_both_intervals():
    # by hand: sd 0.1, half-widths 4.303 / 9.925 times 0.1 / sqrt(3) = 0.248 / 0.573
    found = judge_all(table_of(5), measured(5))[2]
    assert (found.verdict, found.num_together) == ("reproduced", 5)
    assert found.reason == (
        "with 5 claims of Table 1 judged together the interval is [80.83, 81.97] and lies inside "
        "the tolerance"
    )
    assert found.ours.half_width == pytest.approx(0.2484, abs=1e-4)
    assert found.joint.half_width == pytest.approx(0.5730, abs=1e-4)


def test_verdict_lost_in_family_says_what_it_would_be_alone():
    found = judge_all(table_of(5), measured(5, (81.28, 81.4, 81.52)))[0]
    assert found.verdict == "inconclusive"
    assert found.reason == (
        "with 5 claims of Table 1 judged together the interval is [80.71, 82.09] and straddles an "
        "edge of the tolerance (alone it would be reproduced); if mean and spread stay as they "
        "are, 1 more seed would settle it with a chance of 80 %"
    )
    assert found.num_more == 1
    assert judge(found.claim, measured(1, (81.28, 81.4, 81.52))).verdict == "reproduced"


def test_more_claims_need_more_seeds():
    spread = (81.0, 81.4, 81.8)
    alone = judge(table_of(1)[0], measured(1, spread))
    together = judge_all(table_of(8), measured(8, spread))[0]
    assert (alone.verdict, together.verdict) == ("inconclusive", "inconclusive")
    assert 0 < alone.num_more < together.num_more


@pytest.mark.parametrize("n", [3, 5, 6, 7, 9])
@pytest.mark.parametrize("kind", ["value", "order"])
def test_company_never_makes_a_verdict_easier(kind, n):
    rng = np.random.default_rng(n)
    seen = set()
    for _ in range(60):
        spread = rng.choice([0.02, 0.2, 1.0])
        a = runs(rng.normal(81.4 + rng.choice([-2, 0, 0.5]), spread, n).tolist())
        b = runs(rng.normal(81.4, spread, n).tolist(), name="b")
        claim = value_claim() if kind == "value" else order_claim()
        alone = judge(claim, {"a": a, "b": b})
        for num in (2, 5, 30):
            found = judge(claim, {"a": a, "b": b}, num_together=num)
            assert found.verdict in (alone.verdict, "inconclusive")
            assert found.ours == alone.ours
            seen.add((alone.verdict, found.verdict))
    assert ("not reproduced", "not reproduced") in seen  # and none of it was idle
    assert any(verdict != together for verdict, together in seen)


def joint_errors(samples, *, confidence):
    """How often an interval of a table misses the true mean, 0 (tables x claims x runs)."""
    n = samples.shape[-1]
    half = student_half_width(sd=1.0, n=n, confidence=confidence) * samples.std(axis=-1, ddof=1)
    return np.mean(np.any(np.abs(samples.mean(axis=-1)) > half, axis=1))


@pytest.mark.parametrize("n", [3, 5])
def test_a_table_of_five_true_claims_is_all_right_in_95_of_100_repetitions(n):
    samples = np.random.default_rng(n).normal(0, 1, (TABLES, 5, n))
    # 20,000 tables know it to 0.0015 (one sd); independent: 1 - 0.99**5 = 0.049
    together = joint_errors(samples, confidence=CONFIDENCE_OF_FIVE)
    assert together == pytest.approx(1 - 0.99**5, abs=0.006)
    alone = joint_errors(samples, confidence=0.95)
    assert alone == pytest.approx(1 - 0.95**5, abs=0.012)  # 0.226: why it is done


def test_claims_that_share_a_row_are_all_right_at_least_as_often():
    rng = np.random.default_rng(4)
    shared = rng.normal(0, 1, (TABLES, 1, 4))
    differences = rng.normal(0, 1, (TABLES, 4, 4)) - shared
    errors = joint_errors(differences, confidence=joint_confidence(4))
    assert 0.02 < errors < 0.05 + 0.003  # two sd of 20,000 tables; measured 0.047


def test_false_verdicts_of_whole_tables_are_as_rare_as_their_intervals_say():
    # judge_all itself, on claims true to the digit: any verdict but `inconclusive` is false
    claims = table_of(5, value=81.4, tolerance=1e-9, seed_sd=None)
    rng = np.random.default_rng(1)
    samples = rng.normal(81.4, 0.3, (200, 5, 3))
    wrong_together, wrong_alone = 0, 0
    for table in samples.tolist():
        evidence = {f"e{i}": runs(values, name=f"e{i}") for i, values in enumerate(table)}
        found = judge_all(claims, evidence)
        wrong_together += any(one.verdict != "inconclusive" for one in found)
        wrong_alone += any(
            abs(one.ours.mean - 81.4) > one.ours.half_width for one in found
        )  # the plain 95 % intervals of the same runs
    # 200 tables know 0.05 to 0.015 and 0.226 to 0.03 (one sd)
    assert wrong_together / 200 < 0.05 + 3 * 0.015
    assert wrong_alone / 200 > 0.226 - 3 * 0.03
    # table by table the same as counted above from the half-widths
    counted = joint_errors(samples - 81.4, confidence=CONFIDENCE_OF_FIVE)
    assert wrong_together / 200 == pytest.approx(counted, abs=1e-12)


def test_orders_judged_together_are_reproduced_by_chance_in_few_tables():
    # five rows that are equal in truth, each said to be above a sixth: every `reproduced` is false
    claims = [order_claim(id=f"clr/t1/{i}", experiments=[f"e{i}", "b"]) for i in range(5)]
    rng = np.random.default_rng(2)
    wrong = 0
    for table in rng.normal(80, 0.5, (120, 6, 7)).tolist():
        *rows, last = table
        evidence = {f"e{i}": runs(values, name=f"e{i}") for i, values in enumerate(rows)}
        found = judge_all(claims, evidence | {"b": runs(last, name="b")})
        wrong += any(one.verdict == "reproduced" for one in found)
    # one side of 5 %: at most 0.025, which 120 tables know to 0.014 (one sd)
    assert wrong / 120 < 0.025 + 3 * 0.014


def test_divergence_is_weighed_the_same_in_company():
    evidence = measured(4) | {"e4": runs([81.3, 81.4, 81.5, 81.4, None], name="e4")}
    last = judge_all(table_of(5), evidence)[4]
    assert last.verdict == "inconclusive"
    assert last.reason == "1 of 5 runs of e4 diverged; the others alone would say reproduced"


def test_a_scaled_down_claim_is_judged_with_none():
    evidence = measured(3) | {"e3": runs([81.3, 81.4, 81.5], name="e3", budget_fraction=0.5)}
    found = judge_all(table_of(4), evidence)
    assert [one.num_together for one in found] == [3, 3, 3, 1]
    assert (found[3].verdict, found[3].joint, found[3].num_more) == (None, None, None)


def test_the_order_of_claims_does_not_matter():
    claims, evidence = table_of(4), measured(4)
    forwards = judge_all(claims, evidence)
    assert judge_all(claims[::-1], evidence) == forwards[::-1]
    assert all(math.isfinite(one.joint.low) for one in forwards)
    assert {dataclasses.replace(one, claim=claims[0]) for one in forwards} == {forwards[0]}
