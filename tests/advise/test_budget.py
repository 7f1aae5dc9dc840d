"""A budget in minutes: what it chooses, what it says, and that it goes on with its choice."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from anneal.advise import budget as budgets
from anneal.advise.budget import FIRST, Budget, Limits, choose_budget, describe_budget
from anneal.advise.candidates import CANDIDATES
from anneal.advise.trials import Pace
from anneal.commands import advise

ALL = Limits(
    full_steps=3_000,
    fraction=1.0,
    evaluations=10,
    candidates=tuple(CANDIDATES),
    seeds=5,
    sweep_steps=300,
    sweep_seeds=3,
    points=30,
    raises=0,
)


def pace(update: float, evaluation: float = 0.0) -> Pace:
    return Pace(update_seconds=update, evaluation_seconds=evaluation, num_updates=20)


def test_every_candidate_has_its_place_in_the_order() -> None:
    assert sorted(FIRST) == sorted(CANDIDATES)


def test_ample_minutes_take_all_that_is_configured() -> None:
    """900 + 50 trials of 3,000 updates are 150,900 s, 85 % of 2,959 minutes."""
    found = choose_budget(3_000, pace(1.0), ALL)
    assert found == Budget(
        sweep_seeds=3,
        sweep_steps=300,
        candidates=tuple(CANDIDATES),
        seeds=5,
        fraction=1.0,
        evaluations=10,
        seconds=150_900.0,
    )


def test_two_raises_of_the_bounds_are_planned_for() -> None:
    """900 + 12 x 5 trials of 3,000 updates are 180,900 s, 85 % of 3,547 minutes."""
    raising = dataclasses.replace(ALL, raises=3)
    assert choose_budget(3_600, pace(1.0), raising).seconds == 180_900.0
    assert choose_budget(3_500, pace(1.0), raising).fraction < 1


def test_fewer_seeds_go_before_candidates() -> None:
    """510 s leave 60 for the sweeps of 0.02 s: 450 s for 10 x 5 are 450, for 10 x 3 750 updates."""
    found = choose_budget(10, pace(0.02), ALL)
    assert (found.sweep_seeds, found.sweep_steps) == (3, 300)
    assert (len(found.candidates), found.seeds) == (10, 3)
    assert found.fraction == 0.27  # (510 - 18) / 30 / 0.02 is 820 of 3,000
    assert found.seconds == pytest.approx(18 + 30 * 810 * 0.02)


def test_few_minutes_try_the_first_candidates_only() -> None:
    """102 s: 1 sweep of 300 updates is 6 s, two are 12 and three 18, below 25.5."""
    found = choose_budget(2, pace(0.02), ALL)
    assert found.candidates == ("linear", "cosine", "one_cycle")
    assert found.seeds == 3
    assert found.fraction == 0.15  # 84 s / 9 / 0.02 is 466 of 3,000


@pytest.mark.parametrize("minutes", [1, 2, 5, 10, 30, 120, 600])
@pytest.mark.parametrize(("update", "evaluation"), [(0.02, 0.0), (0.005, 0.3), (0.1, 1.0)])
def test_choice_fits_into_the_minutes(minutes: float, update: float, evaluation: float) -> None:
    if minutes == 1 and update == 0.1:
        with pytest.raises(ValueError, match=r"advise.minutes must be at least \d+ for 3"):
            choose_budget(minutes, pace(update, evaluation), ALL)
        return
    found = choose_budget(minutes, pace(update, evaluation), ALL)
    assert found.seconds <= 60 * minutes
    assert found.fraction <= ALL.fraction
    assert 2 <= found.evaluations <= ALL.evaluations
    assert found.seeds >= 3


def test_more_minutes_never_shorten_everything() -> None:
    work = []
    for minutes in range(4, 200, 4):
        found = choose_budget(minutes, pace(0.02, 0.1), ALL)
        work.append(len(found.candidates) * found.seeds * found.fraction)
    assert work[-1] > 5 * work[0]
    assert all(b >= 0.9 * a for a, b in itertools.pairwise(work))


def test_too_few_minutes_say_how_many_would_do() -> None:
    with pytest.raises(ValueError, match=r"advise.minutes must be at least \d+ for 3") as refused:
        choose_budget(1, pace(2.0, 5.0), ALL)
    needed = int(str(refused.value).split("at least ")[1].split(" ")[0])
    assert choose_budget(2 * needed, pace(2.0, 5.0), ALL).seeds == 3


def test_expensive_evaluations_are_made_less_often() -> None:
    found = choose_budget(10, pace(0.005, 1.0), ALL)
    assert found.evaluations < 10


def test_choice_is_said_with_what_is_configured() -> None:
    assert describe_budget(choose_budget(2, pace(0.02), ALL), ALL) == [
        "range test: 3 of 3 seeds, 300 of 300 updates",
        "candidates: 3 of 10 (linear, cosine, one_cycle)",
        "trials: 3 of 5 seeds, 450 of 3,000 updates, 10 of 10 evaluations",
    ]


@pytest.mark.slow
def test_same_minutes_again_go_on_with_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "dataset=digits", "dataset.image_size=16", "optimizer=sgd", "training.batch_size=32",
        "training.length=160 steps", "range_test.first_lr=0.0003", "range_test.last_lr=0.3",
        "range_test.length=480 steps", "range_test.points=24", "hardware=cpu", "hardware.threads=1",
        "advise.minutes=1",
    ]  # fmt: skip
    measured: list[Any] = []

    def slow(*_: Any) -> Pace:  # some of the candidates fit into the minute
        measured.append(1)
        return pace(0.05)

    monkeypatch.setattr(budgets, "measure_pace", slow)
    advise.main(arguments)
    said = capsys.readouterr().out
    assert "1 min at 0.05 s an update" in said
    assert "  range test: 1 of 3 seeds, " in said
    folder = Path("advice/digits_caffe_cifar_sgd")
    answer = (folder / "advice.json").read_bytes()
    plan = json.loads((folder / "budget.json").read_text())["chosen"]
    names, total = plan["candidates"], len(plan["candidates"]) * plan["seeds"]
    assert f"  candidates: {len(names)} of 10 ({', '.join(names)})" in said
    assert f"{total} of {total}: {names[-1]}, seed {plan['seeds'] - 1}, about " in said
    assert json.loads(answer)["updates"]["trial"] == int(plan["fraction"] * 160)
    advise.main(arguments)
    assert "1 min: as chosen before" in capsys.readouterr().out
    assert len(measured) == 1
    assert (folder / "advice.json").read_bytes() == answer
