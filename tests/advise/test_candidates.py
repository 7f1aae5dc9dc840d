"""Which schedule is recommended, at which rates, and what is said of it."""

from pathlib import Path
from typing import Any

import pytest

from anneal.advise.candidates import CANDIDATES, AdviceConfig, Choice, at_bounds, choose, fill_run
from anneal.config.compose import compose_plain, compose_run
from anneal.config.durations import Clock
from anneal.config.scheduler import ScheduleBuilder
from anneal.config.schema import OptimizerConfig, SchedulerConfig
from anneal.config.strict import parse
from anneal.schedules import Schedule

ONE_IMAGE, CHANCE = 0.1, 10.0
SGD = OptimizerConfig(name="sgd", weight_decay=0.0, arguments={"momentum": 0.9})


def seen(**accuracies: list[float | None]) -> dict[str, dict[int, float | None]]:
    return {name: dict(enumerate(values)) for name, values in accuracies.items()}


def result_of(choice: Choice, name: str) -> Any:
    return next(s for s in choice.results if s.name == name)


# --- the choice -----------------------------------------------------------------------------------


def test_candidate_better_with_every_seed_is_recommended() -> None:
    """Behind by 5, 5.1 and 4.9: mean 5, sd 0.1; Student's t of 2 degrees makes +- 0.248."""
    choice = choose(
        seen(constant=[90.0, 91.0, 92.0], cosine=[95.0, 96.1, 96.9]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert (choice.recommended, choice.best) == ("cosine", "cosine")
    gap = result_of(choice, "constant").gap
    assert gap.mean == pytest.approx(5.0)
    assert (gap.low, gap.high) == (
        pytest.approx(4.752, abs=1e-3),
        pytest.approx(5.248, abs=1e-3),
    )
    assert not result_of(choice, "constant").tied
    assert choice.reason == "cosine (96.00 %) is the best; every other is worse over 3 seeds"


def test_simplest_of_tied_candidates_near_best_is_recommended() -> None:
    choice = choose(
        seen(
            one_cycle=[95.0, 96.5, 96.0],
            cosine=[95.2, 96.0, 96.0],
            step_decay=[94.8, 96.6, 95.6],
            constant=[90.0, 91.0, 91.0],
        ),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert choice.best == "one_cycle"
    assert choice.recommended == "step_decay"
    assert [s.name for s in choice.results] == ["constant", "step_decay", "cosine", "one_cycle"]
    assert [s.tied for s in choice.results] == [False, True, True, True]
    assert choice.reason.startswith(
        "one_cycle (95.83 %) is the best and statistically tied over 3 seeds with step_decay "
        "(95.67 %) and cosine (95.73 %); step_decay is the simplest of these within 0.5 points "
        "of it"
    )


def test_tied_candidate_far_below_best_is_not_recommended() -> None:
    """Behind by 3, 8 and 20.08: mean 10.36, sd 8.78, and +- 21.8 includes 0."""
    choice = choose(
        seen(constant=[93.0, 88.0, 76.01], cosine=[96.0, 96.0, 96.09]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert result_of(choice, "constant").tied
    assert (choice.recommended, choice.best) == ("cosine", "cosine")
    assert choice.reason == (
        "cosine (96.03 %) is the best and statistically tied over 3 seeds with constant (85.67 %); "
        "cosine is the simplest of these within 0.5 points of it"
    )


def test_near_candidate_worse_with_every_seed_is_not_recommended() -> None:
    """Behind by 0.3, 0.31 and 0.29: near, and the interval is above 0."""
    choice = choose(
        seen(constant=[94.7, 95.69, 95.71], cosine=[95.0, 96.0, 96.0]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert choice.recommended == "cosine"


@pytest.mark.parametrize(("lower", "recommended"), [(0.49, "constant"), (0.51, "cosine")])
def test_recommended_mean_is_within_half_a_point_of_best(lower: float, recommended: str) -> None:
    around = [-1.0, 0.0, 1.0]
    choice = choose(
        seen(constant=[90.0 - lower + by for by in around], cosine=[90.0, 90.0, 90.0]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert choice.recommended == recommended


def test_reason_gives_seeds_needed_to_separate_recommended_from_best() -> None:
    """Behind by 0.3, 0.6 and 0: the sd is the mean; t(6) / sqrt(7) = 0.925 is the first below 1."""
    choice = choose(
        seen(constant=[94.7, 95.4, 96.0], cosine=[95.0, 96.0, 96.0]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert choice.recommended == "constant"
    assert "(11 seeds would separate it from cosine with 80 % power)" in choice.reason


def test_seeds_are_paired() -> None:
    """Seeds that differ by ten points hide nothing when each shows the same difference."""
    choice = choose(
        seen(constant=[80.0, 90.0, 85.0], cosine=[81.0, 91.1, 85.9]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert choice.recommended == "cosine"


def test_difference_of_one_image_is_a_tie() -> None:
    """The same image with each seed: an interval of no width, wholly above 0."""
    accuracies = seen(constant=[94.9, 95.9, 94.9], cosine=[95.0, 96.0, 95.0])
    assert choose(accuracies, resolution_pct=0.1001, chance_pct=CHANCE).recommended == "constant"
    assert choose(accuracies, resolution_pct=0.05, chance_pct=CHANCE).recommended == "cosine"


def test_diverged_candidate_is_never_recommended() -> None:
    choice = choose(
        seen(constant=[50.0, 51.0, 50.0], one_cycle=[99.0, None, 99.0]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert (choice.recommended, choice.best) == ("constant", "constant")
    assert result_of(choice, "one_cycle").num_diverged == 1
    assert "one_cycle diverged with 1 of 3 seeds" in choice.reason


def test_nothing_is_recommended_when_all_diverged() -> None:
    choice = choose(
        seen(constant=[None, 9.0, 9.0], cosine=[None, None, None]),
        resolution_pct=ONE_IMAGE,
        chance_pct=CHANCE,
    )
    assert (choice.recommended, choice.best) == (None, None)
    assert choice.reason.startswith("no candidate trained to its end with every seed; constant")


def test_nothing_is_recommended_when_nothing_was_learnt() -> None:
    """12, 16 and 20 %: mean 16, sd 4, and 16 - 9.94 is below chance."""
    accuracies = seen(constant=[9.0, 10.0, 11.0], cosine=[12.0, 16.0, 20.0])
    choice = choose(accuracies, resolution_pct=ONE_IMAGE, chance_pct=CHANCE)
    assert (choice.recommended, choice.best) == (None, "cosine")
    assert choice.reason.startswith(
        "cosine is the best, but its 95 % interval does not exclude the 10.00 % of always"
    )
    assert choose(accuracies, resolution_pct=ONE_IMAGE, chance_pct=6.0).recommended == "cosine"


def test_equal_candidates_are_ranked_by_simplicity() -> None:
    same: list[float | None] = [95.0, 95.0, 95.0]
    choice = choose(seen(one_cycle=same, cosine=same), resolution_pct=ONE_IMAGE, chance_pct=CHANCE)
    assert (choice.best, choice.recommended) == ("cosine", "cosine")


def test_candidates_with_different_seeds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="the same seeds"):
        choose(
            {"constant": {0: 90.0}, "cosine": {1: 90.0}},
            resolution_pct=ONE_IMAGE,
            chance_pct=CHANCE,
        )
    with pytest.raises(ValueError, match="the same seeds"):
        choose({}, resolution_pct=ONE_IMAGE, chance_pct=CHANCE)


# --- the candidates between the bounds ------------------------------------------------------------


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch, repository: Path) -> dict[str, SchedulerConfig]:
    monkeypatch.chdir(repository)
    return {
        name: compose_run([f"scheduler={candidate.scheduler}"]).scheduler
        for name, candidate in CANDIDATES.items()
    }


def built(section: SchedulerConfig, total_steps: int, budget_fraction: float = 1.0) -> Schedule:
    full = round(total_steps / budget_fraction)
    clock = Clock(steps_per_epoch=100, images_per_step=100, total_steps=full)
    build = ScheduleBuilder(clock=clock, total_steps=total_steps, budget_fraction=budget_fraction)
    return build({"name": section.name, **section.arguments}, where="here", key="scheduler")


def test_candidate_follows_its_description_between_bounds(
    shapes: dict[str, SchedulerConfig],
) -> None:
    rates: dict[str, list[float]] = {}
    for name, shape in shapes.items():
        section = at_bounds(name, shape, base_lr=0.1, max_lr=0.8, optimizer=SGD)
        if (cycles := CANDIDATES[name].cycles) is not None:
            section = fill_run(section, cycles=cycles, total_steps=800, budget_fraction=1.0)
        schedule = built(section, 800)
        rates[name] = [schedule(update) for update in range(800)]
    assert set(rates["constant"]) == {0.1}
    held = [rates["step_decay"][u] for u in (0, 399, 400, 599, 600, 799)]
    assert held == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
    assert rates["step_decay_max"] == pytest.approx([8 * lr for lr in rates["step_decay"]])
    assert rates["cosine"][0] == 0.8
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert rates["cosine"][-1] < 1e-5
    assert rates["linear"] == pytest.approx([0.8 * (800 - u) / 800 for u in range(800)])
    warm = rates["warmup_cosine"]
    assert warm[:80] == pytest.approx([0.8 / 60 + (0.8 - 0.8 / 60) * u / 80 for u in range(80)])
    assert warm[80] == 0.8
    assert warm[80:] == sorted(warm[80:], reverse=True)
    assert warm[440] == pytest.approx(0.4)
    assert warm[-1] < 1e-5
    stable = rates["warmup_stable_decay"]
    assert stable[:80] == pytest.approx([0.01 * u for u in range(80)])
    assert set(stable[80:561]) == {0.8}
    assert stable[560:] == pytest.approx([0.8 * (799 - u) / 239 for u in range(560, 800)])
    tops = [rates["triangular2"][u] for u in (100, 300, 500, 700)]
    assert tops == pytest.approx([0.8, 0.45, 0.275, 0.1875])
    assert min(rates["triangular2"]) == 0.1
    assert [u for u in range(800) if rates["cosine_restarts"][u] == 0.8] == [0, 115, 345]
    assert rates["cosine_restarts"][-1] < 1e-3  # 115 + 230 + 460 is 805
    assert max(rates["one_cycle"]) == rates["one_cycle"][360] == 0.8
    assert rates["one_cycle"][0] == rates["one_cycle"][720] == 0.1
    assert rates["one_cycle"][-1] == pytest.approx(0.001)


@pytest.mark.parametrize("budget_fraction", [1.0, 0.1, 0.3])
@pytest.mark.parametrize("total_steps", [7, 12, 293, 300, 301])
def test_last_update_is_never_a_restart(
    shapes: dict[str, SchedulerConfig], total_steps: int, budget_fraction: float
) -> None:
    """0.1429 of 300 updates is 42, three cycles of it end at 294: six would be at the peak."""
    section = fill_run(
        shapes["cosine_restarts"],
        cycles=3,
        total_steps=total_steps,
        budget_fraction=budget_fraction,
    )
    schedule = built(section, total_steps, budget_fraction)
    first = -(-total_steps // 7)
    peaks = [u for u in range(total_steps) if schedule(u) == schedule(0)]
    assert peaks == [0, first, 3 * first]


def test_momentum_is_cycled_only_if_optimizer_has_one(shapes: dict[str, SchedulerConfig]) -> None:
    def momentum(optimizer: OptimizerConfig) -> object:
        section = at_bounds(
            "one_cycle", shapes["one_cycle"], base_lr=0.1, max_lr=0.8, optimizer=optimizer
        )
        return section.momentum

    assert momentum(SGD) == shapes["one_cycle"].momentum
    assert momentum(SGD) is not None
    without = OptimizerConfig(name="sgd", weight_decay=0.0, arguments={"momentum": 0.0})
    assert momentum(without) is None
    rmsprop = OptimizerConfig(name="caffe_rmsprop", weight_decay=0.0, arguments={})
    assert momentum(rmsprop) is None


def test_conf_tries_every_candidate_with_three_seeds_or_more(
    monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.chdir(repository)
    section = compose_plain("advise")["advise"]
    advice = parse(AdviceConfig, section, where="conf/advise.yaml", key="advise")
    assert advice.candidates == tuple(CANDIDATES)
    assert len(advice.seeds) >= 3
