"""Oracle layer: torch's own schedulers, stepped and never given an epoch."""

from collections.abc import Callable

import pytest
import torch
from torch.optim import SGD, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from anneal.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    exp_range,
    exponential,
    linear_decay,
    linear_ramp,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    step_decay,
    triangular,
    triangular2,
    warmup,
)

FLOAT64_RTOL = (
    1e-12  # measured, torch 2.11: restarts 2e-16, CyclicLR 1.2e-14, CosineAnnealingLR 5e-14
)

Step = dict[str, float]


def step_torch(make: Callable[[SGD], LRScheduler], *, lr: float, num_updates: int) -> list[Step]:
    """Return the rate and momentum that drive each update under a scheduler of torch."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    scheduler = make(optimizer)
    steps = []
    for _ in range(num_updates):
        group = optimizer.param_groups[0]
        steps.append({"lr": float(group["lr"]), "momentum": float(group["momentum"])})
        optimizer.step()
        scheduler.step()
    return steps


def assert_same(schedule: Schedule, steps: list[Step], key: str = "lr") -> None:
    for update, step in enumerate(steps):
        assert schedule(update) == pytest.approx(step[key], rel=FLOAT64_RTOL), update


@pytest.mark.parametrize("half_cycle_steps", [1, 7, 391, 2000])
@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_cyclical_schedules_match_cyclic_lr(mode: str, half_cycle_steps: int) -> None:
    num_updates = min(10_000, 50 * half_cycle_steps)
    bounds = {"base_lr": 0.001, "max_lr": 0.006}
    steps = step_torch(
        lambda optimizer: lr_scheduler.CyclicLR(
            optimizer,
            **bounds,
            step_size_up=half_cycle_steps,
            mode=mode,  # type: ignore[arg-type]
            gamma=0.9994 if mode == "exp_range" else 1.0,
            cycle_momentum=False,
        ),
        lr=0.1,
        num_updates=num_updates,
    )
    schedules = {
        "triangular": triangular(**bounds, half_cycle_steps=half_cycle_steps),
        "triangular2": triangular2(**bounds, half_cycle_steps=half_cycle_steps),
        "exp_range": exp_range(
            **bounds, half_cycle_steps=half_cycle_steps, gamma=0.9994, decays="amplitude"
        ),
    }
    assert_same(schedules[mode], steps)


@pytest.mark.parametrize("min_lr", [0.0, 0.001])
@pytest.mark.parametrize(("first", "growth"), [(1, 1), (1, 2), (10, 2), (10, 3), (781, 2)])
def test_cosine_restarts_match_cosine_annealing_warm_restarts(
    first: int, growth: int, min_lr: float
) -> None:
    steps = step_torch(
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(
            optimizer, T_0=first, T_mult=growth, eta_min=min_lr
        ),
        lr=0.05,
        num_updates=6000,
    )
    assert_same(
        cosine_restarts(min_lr=min_lr, max_lr=0.05, first_cycle_steps=first, growth=growth), steps
    )


@pytest.mark.parametrize("total_steps", [1, 2, 500, 5000])
def test_cosine_matches_cosine_annealing_lr_until_the_end_of_the_run(total_steps: int) -> None:
    steps = step_torch(
        lambda optimizer: lr_scheduler.CosineAnnealingLR(
            optimizer, T_max=total_steps, eta_min=0.001
        ),
        lr=0.05,
        num_updates=total_steps,
    )
    assert_same(cosine(min_lr=0.001, max_lr=0.05, total_steps=total_steps), steps)


def test_exponential_matches_exponential_lr() -> None:
    steps = step_torch(
        lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.999),
        lr=0.1,
        num_updates=4000,
    )
    assert_same(exponential(initial_lr=0.1, gamma=0.999), steps)


def test_step_decay_matches_multi_step_lr() -> None:
    milestones = [60, 120, 160]
    steps = step_torch(
        lambda optimizer: lr_scheduler.MultiStepLR(optimizer, milestones=milestones, gamma=0.2),
        lr=0.1,
        num_updates=200,
    )
    assert_same(step_decay(initial_lr=0.1, milestones=milestones, factor=0.2), steps)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_polynomial_matches_polynomial_lr_until_the_end_of_the_run(power: float) -> None:
    steps = step_torch(
        lambda optimizer: lr_scheduler.PolynomialLR(optimizer, total_iters=700, power=power),
        lr=0.1,
        num_updates=700,
    )
    assert_same(polynomial(initial_lr=0.1, power=power, total_steps=700), steps)


def test_linear_ramp_and_linear_decay_match_linear_lr() -> None:
    up = step_torch(
        lambda optimizer: lr_scheduler.LinearLR(
            optimizer, start_factor=0.1, end_factor=1.0, total_iters=99
        ),
        lr=1.0,
        num_updates=150,
    )
    assert_same(linear_ramp(first_lr=0.1, last_lr=1.0, total_steps=100), up)
    down = step_torch(
        lambda optimizer: lr_scheduler.LinearLR(
            optimizer, start_factor=1.0, end_factor=0.1, total_iters=99
        ),
        lr=1.0,
        num_updates=150,
    )
    assert_same(linear_ramp(first_lr=1.0, last_lr=0.1, total_steps=100), down)
    assert_same(linear_decay(max_lr=1.0, base_lr=0.1, half_cycle_steps=99), down)


def test_warmup_of_a_constant_matches_linear_lr() -> None:
    steps = step_torch(
        lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=40),
        lr=0.4,
        num_updates=80,
    )
    assert_same(warmup(first_lr=0.1, warmup_steps=40, schedule=constant(lr=0.4)), steps)


@pytest.mark.parametrize(("total_steps", "half_cycle_steps"), [(100, 29), (10, 3), (1000, 449)])
def test_one_cycle_matches_the_linear_three_phase_one_cycle_lr(
    total_steps: int, half_cycle_steps: int
) -> None:
    steps = step_torch(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=total_steps,
            pct_start=(half_cycle_steps + 1) / total_steps,  # torch's peak: pct * total - 1
            anneal_strategy="linear",
            base_momentum=0.85,
            max_momentum=0.95,
            div_factor=10.0,
            final_div_factor=100.0,
            three_phase=True,
        ),
        lr=0.1,
        num_updates=total_steps - 1,
    )
    rate = one_cycle(
        base_lr=0.1,
        max_lr=1.0,
        final_lr=0.001,
        half_cycle_steps=half_cycle_steps,
        total_steps=total_steps,
    )
    momentum = one_cycle_momentum(
        max_momentum=0.95,
        min_momentum=0.85,
        half_cycle_steps=half_cycle_steps,
        total_steps=total_steps,
    )
    assert_same(rate, steps)
    assert_same(momentum, steps, "momentum")
