"""Claims on experiments over subjects: the median of differences, and means by seed."""

from dataclasses import replace

import pytest
from tests.claims.test_verdict import order_claim, value_claim

from anneal.claims.verdict import judge
from anneal.results.metrics import Evidence, Run
from anneal.results.subjects import mean_over_subjects, over_subjects

FINAL = "test_accuracy_pct@final"
REFERENCE = [90.0, 80.0, 70.0, 60.0, 90.0, 80.0, 70.0, 60.0, 90.0]
GAINS = [2.0, 3.0, -30.0, 4.0, 1.0, 5.0, 2.5, 6.0, 0.5]  # one subject for which it fails


def subject(name, number, finals, *, status="finished"):
    runs = [
        Run(
            seed=seed,
            configuration_hash=f"{name}{number}",
            status=status,
            updates=10,
            metrics={FINAL: final} if status == "finished" else {},
        )
        for seed, final in enumerate(finals)
    ]
    full = f"{name}/subject-{number:02d}"
    return Evidence(experiment=full, budget_fraction=1.0, runs=tuple(runs))


def evidence(**finals):
    """Return evidence on experiments from the finals of each subject's seeds."""
    parts = [subject(n, i, seeds) for n, all_ in finals.items() for i, seeds in enumerate(all_, 1)]
    return over_subjects({part.experiment: part for part in parts})


@pytest.fixture
def found():
    ours = [[r + g - 1, r + g + 1] for r, g in zip(REFERENCE, GAINS, strict=True)]
    return evidence(a=ours, b=[[r] for r in REFERENCE])


def test_difference_is_within_subjects_after_seeds_are_averaged(found):
    judged = judge(order_claim(subjects="median", num_subjects=9), found)
    assert (judged.ours.mean, judged.ours.low, judged.ours.high) == (2.5, 0.5, 5.0)  # 2nd, 8th
    assert (judged.n, judged.verdict) == (9, "reproduced")
    assert judged.ours.method == "exact sign test of the median"
    assert "2.50 points better, median of 9 subjects" in judged.reason
    assert judged.like_paper is None


def test_order_of_errors_has_the_sign_of_an_improvement(found):
    claim = order_claim(
        subjects="median", num_subjects=9, metric="test_error_pct@final", values=[1.0, 3.0]
    )
    assert judge(claim, found).ours.mean == 2.5


def test_median_that_one_subject_could_turn_is_too_close_to_call(found):
    judged = judge(order_claim(subjects="median", num_subjects=9, margin=1.0), found)
    assert judged.verdict == "too close to call"
    assert "more subjects would tell" in judged.reason


def test_value_of_a_median_is_judged_by_its_interval():
    found = evidence(a=[[r] for r in REFERENCE])
    claim = value_claim(subjects="median", num_subjects=9, value=80.0, tolerance=11.0)
    assert (judge(claim, found).verdict, judge(claim, found).ours.mean) == ("too close to call", 80)
    wide = value_claim(subjects="median", num_subjects=9, value=75.0, tolerance=15.0)
    assert judge(wide, found).verdict == "reproduced"
    assert (
        judge(value_claim(subjects="median", num_subjects=9, value=50.0), found).verdict == "higher"
    )


def test_four_subjects_have_no_interval():
    judged = judge(value_claim(subjects="median", num_subjects=4), evidence(a=[[80.0]] * 4))
    assert (judged.verdict, judged.reason) == (
        "one run",
        "4 subjects are not enough for an interval",
    )


def test_mean_over_subjects_is_judged_by_seeds():
    found = evidence(a=[[80.0, 81.0, 82.0], [90.0, 91.0, 92.0]])
    judged = judge(value_claim(subjects="mean", num_subjects=2, value=86.0, tolerance=2.0), found)
    assert (judged.n, judged.ours.mean, judged.verdict) == (3, 86.0, "reproduced")
    assert judged.ours.method == "Student's t"


def test_seed_that_diverged_for_one_subject_has_no_mean():
    parts = [subject("a", 1, [80.0, 81.0]), subject("a", 2, [80.0, 81.0], status="diverged")]
    row = over_subjects({part.experiment: part for part in parts})["a"]
    assert mean_over_subjects(row, (1, 2)).values(FINAL) == {}
    assert mean_over_subjects(row, (1, 2)).num_diverged == 2


def test_order_of_means_is_over_the_subjects_that_both_rows_have():
    seeds = [0.0, 0.1, 0.2]
    found = evidence(
        a=[[80 + s for s in seeds], [90 + s for s in seeds], [10 + s for s in seeds]],
        b=[[79 + s for s in seeds], [88 + s for s in seeds]],
    )
    judged = judge(order_claim(subjects="mean", num_subjects=2), found)
    assert (judged.n, judged.ours.mean) == (3, pytest.approx(1.5))
    alone = over_subjects({f"{n}/subject-0{n}": subject(n, n, [1.0]) for n in (1, 2)})
    few = {"a": alone["1"], "b": alone["2"]}
    assert judge(order_claim(subjects="mean", num_subjects=1), few).verdict == "not run"


def test_missing_experiment_over_subjects_is_not_run(found):
    judged = judge(order_claim(subjects="median", num_subjects=9, experiments=["a", "c"]), found)
    assert (judged.verdict, judged.missing) == ("not run", ("c",))


@pytest.mark.parametrize(("subjects", "rule"), [(None, "set"), ("median", "left out")])
def test_claim_must_say_what_it_takes_of_subjects(subjects, rule, found):
    name = "a" if subjects is None else "b/subject-01"
    claim = value_claim(experiments=[name], subjects=subjects, num_subjects=subjects and 9)
    with pytest.raises(
        ValueError, match=f"claim 'clr/a': subjects must be {rule}, since {name} is"
    ):
        judge(claim, found)


def test_unknown_statistic_of_subjects_is_refused():
    with pytest.raises(ValueError, match="subjects must be one of median, mean, got 'best'"):
        value_claim(subjects="best")


def test_claim_is_not_judged_on_fewer_subjects_than_the_paper_has(found):
    judged = judge(order_claim(subjects="median", num_subjects=14), found)
    assert (judged.verdict, judged.missing) == ("not run", ("a", "b"))
    assert judged.reason == "a has 9 of 14, b has 9 of 14 subjects"
    others = {f"b/subject-{i:02d}": subject("b", i, [80.0]) for i in range(2, 11)}
    judged = judge(order_claim(subjects="median", num_subjects=9), found | over_subjects(others))
    assert (judged.verdict, judged.reason) == ("not run", "a and b share 8 of 9 subjects")
    reading = judge(
        value_claim(experiments=["a"], readings=["b"], subjects="median", num_subjects=9),
        found | evidence(b=[[80.0]] * 8),
    ).readings[0]
    assert (reading.verdict, reading.ours) == ("not run", None)


def test_subject_whose_every_run_diverged_is_one_fewer():
    endings = ["finished"] * 8 + ["diverged"]
    parts = [subject("a", n, [80.0], status=ending) for n, ending in enumerate(endings, 1)]
    found = over_subjects({part.experiment: part for part in parts})
    judged = judge(value_claim(subjects="median", num_subjects=9), found)
    assert (judged.verdict, judged.reason) == ("not run", "a has 8 of 9 subjects")


@pytest.mark.parametrize("asked", [{"subjects": "mean"}, {"num_subjects": 14}])
def test_claim_gives_statistic_and_number_of_subjects_together(asked):
    with pytest.raises(ValueError, match="subjects and num_subjects are given together"):
        value_claim(**asked)


def test_decoder_without_seeds_is_the_pair_of_every_seed():
    found = evidence(a=[[80.0, 81.0, 82.0], [90.0, 91.0, 92.0]], b=[[79.0], [88.0]])
    assert judge(order_claim(subjects="mean", num_subjects=2), found).n == 1  # b trained one seed
    parts = {
        n: replace(one, runs=(replace(one.runs[0], updates=0),))
        for n, one in found["b"].subjects.items()
    }
    decoder = over_subjects({one.experiment: one for one in parts.values()})
    judged = judge(order_claim(subjects="mean", num_subjects=2), found | decoder)
    assert (judged.n, judged.ours.mean) == (3, pytest.approx(2.5))
    turned = order_claim(
        subjects="mean", num_subjects=2, experiments=["b", "a"], values=[80.0, 79.0]
    )
    assert (judge(turned, found | decoder).n, judge(turned, found | decoder).ours.mean) == (3, -2.5)
