"""What is pasted is what was advised: each snippet is run and followed update by update."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

from anneal.advise.framework_snippets import NAMES, framework_snippets
from anneal.advise.snippets import anneal_snippet, as_function, torch_snippet
from anneal.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    exp_range,
    hann,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    staged,
    step_decay,
    triangular,
    triangular2,
    warmup,
    warmup_stable_decay,
)

RTOL = 1e-9  # measured, torch 2.11: 7e-15 at most
OPTIMIZERS = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.05),
}
BOUNDS = {"base_lr": 0.00118, "max_lr": 0.00812}


def one_cycle_of(half: int, total: int, **others: float) -> Schedule:
    values = BOUNDS | {"final_lr": 0.01 * 0.00118} | others
    return one_cycle(**values, half_cycle_steps=half, total_steps=total)


def stable_of(warm: int, stable: int, decay: int, final_lr: float = 0.0) -> Schedule:
    return warmup_stable_decay(
        max_lr=0.00812,
        final_lr=final_lr,
        warmup_steps=warm,
        stable_steps=stable,
        decay_steps=decay,
    )


def momentum_of(half: int, total: int) -> Schedule:
    return one_cycle_momentum(
        max_momentum=0.95, min_momentum=0.85, half_cycle_steps=half, total_steps=total
    )


# Each with the updates over which it is followed: its run, or several cycles of one without an end.
IN_TORCH: list[tuple[Schedule, Schedule | None, int]] = [
    (constant(lr=0.00118), None, 50),
    (step_decay(initial_lr=0.00118, milestones=[150, 225], factor=0.1), None, 300),
    (step_decay(initial_lr=3.0, milestones=[1, 2, 3, 9], factor=0.2), None, 12),
    (cosine(min_lr=0.0, max_lr=0.00812, total_steps=300), None, 300),
    (cosine(min_lr=0.001, max_lr=0.1, total_steps=1), None, 1),
    (cosine(min_lr=0.0, max_lr=0.1, total_steps=7_001), None, 7_001),
    (cosine_restarts(min_lr=0.0, max_lr=0.00812, first_cycle_steps=42, growth=2), None, 300),
    (cosine_restarts(min_lr=0.0001, max_lr=0.1, first_cycle_steps=10, growth=3), None, 1_300),
    (polynomial(initial_lr=0.00812, power=1.0, total_steps=300), None, 300),
    (polynomial(initial_lr=0.1, power=0.5, total_steps=7_001), None, 7_001),
    (
        warmup(
            first_lr=0.00812 / 60,
            warmup_steps=30,
            schedule=cosine(min_lr=0.0, max_lr=0.00812, total_steps=270),
        ),
        None,
        300,
    ),
    (stable_of(30, 180, 90), None, 300),
    (stable_of(1, 1, 2, final_lr=0.001), None, 6),
    (triangular(**BOUNDS, half_cycle_steps=37), None, 300),
    (triangular2(**BOUNDS, half_cycle_steps=37), None, 300),
    (triangular2(**BOUNDS, half_cycle_steps=1), None, 9),
    (exp_range(**BOUNDS, half_cycle_steps=37, gamma=0.99, decays="amplitude"), None, 300),
    (one_cycle_of(135, 300), momentum_of(135, 300), 300),
    (one_cycle_of(135, 300), None, 300),
    (one_cycle_of(3_150, 7_001), momentum_of(3_150, 7_001), 7_001),
    (one_cycle_of(1, 4), momentum_of(1, 4), 4),
    (one_cycle_of(9, 20, base_lr=0.3, max_lr=0.3, final_lr=0.3), momentum_of(9, 20), 20),
]
ONLY_HERE: list[tuple[Schedule, Schedule | None, str]] = [
    (one_cycle_of(9, 20, final_lr=0.0), None, "cannot be 0"),
    (one_cycle_of(9, 20), momentum_of(8, 20), "cycles the momentum only in step"),
    (one_cycle_of(9, 20), constant(lr=0.9), "cycles the momentum only in step"),
    (cosine(min_lr=0.0, max_lr=0.1, total_steps=20), momentum_of(9, 20), "does not cycle"),
    (
        cosine_restarts(
            min_lr=0.0, max_lr=0.1, first_cycle_steps=5, growth=1, max_lr_factor=0.5
        ),
        None,
        "all return to the same rate",
    ),
    (triangular(**BOUNDS, half_cycle_steps=5, divide_by_cycle=True), None, "never divides it"),
    (exp_range(**BOUNDS, half_cycle_steps=5, gamma=0.9), None, "not both bounds"),
    (hann(**BOUNDS, half_cycle_steps=5), None, "known to equal hann"),
]  # fmt: skip


def names(cases: list[tuple[Schedule, Any, Any]]) -> list[str]:
    return [f"{case[0].name}-{number}" for number, case in enumerate(cases)]


def described(schedule: Schedule | None) -> dict[str, Any] | None:
    return None if schedule is None else schedule.describe()


def momentum_in(group: dict[str, Any]) -> float:
    return float(group["betas"][0] if "betas" in group else group["momentum"])


def run_snippet(code: str, optimizer: str, num_updates: int) -> Iterator[list[dict[str, Any]]]:
    """Run a snippet with an optimizer; yield its groups before each update."""
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [weight]} for weight in weights]
    space: dict[str, Any] = {"optimizer": OPTIMIZERS[optimizer](groups)}
    exec(code, space)
    step = (space.get("scheduled") or space["scheduler"]).step
    for _ in range(num_updates):
        yield space["optimizer"].param_groups
        space["optimizer"].step()
        step()


def follows(
    code: str, schedule: Schedule, momentum: Schedule | None, optimizer: str, num_updates: int
) -> None:
    before = None
    for update, groups in enumerate(run_snippet(code, optimizer, num_updates)):
        for group in groups:
            assert group["lr"] == pytest.approx(schedule(update), rel=RTOL, abs=0), update
            before = before or momentum_in(group)
            expected = before if momentum is None else momentum(update)
            assert momentum_in(group) == pytest.approx(expected, rel=RTOL, abs=0), update


ANY_END = [(schedule, momentum, 40) for schedule, momentum, _ in ONLY_HERE]
NESTED = [
    (staged(stages=[(0, constant(lr=0.1)), (5, constant(lr=0.01))]), None, 9),
    (warmup(first_lr=0.0001, warmup_steps=3, schedule=triangular2(**BOUNDS, half_cycle_steps=5)),
     None, 20),
]  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("schedule", "momentum", "num_updates"),
    [*IN_TORCH, *ANY_END, *NESTED],
    ids=names([*IN_TORCH, *ANY_END, *NESTED]),
)
def test_anneal_snippet_gives_rate_of_each_update(
    schedule: Schedule, momentum: Schedule | None, num_updates: int, optimizer: str
) -> None:
    code = anneal_snippet(schedule.describe(), described(momentum))
    follows(code, schedule, momentum, optimizer, num_updates)
    assert max(map(len, code.splitlines())) <= 100


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("schedule", "momentum", "num_updates"), IN_TORCH, ids=names(IN_TORCH))
def test_torch_snippet_gives_rate_of_each_update(
    schedule: Schedule, momentum: Schedule | None, num_updates: int, optimizer: str
) -> None:
    found = torch_snippet(schedule.describe(), described(momentum))
    assert found.reason == ""
    assert found.code is not None
    follows(found.code, schedule, momentum, optimizer, num_updates)


@pytest.mark.parametrize(("schedule", "momentum", "reason"), ONLY_HERE, ids=names(ONLY_HERE))
def test_reason_replaces_snippet_that_torch_cannot_follow(
    schedule: Schedule, momentum: Schedule | None, reason: str
) -> None:
    found = torch_snippet(schedule.describe(), described(momentum))
    assert found.code is None
    assert reason in found.reason


@pytest.mark.parametrize(
    ("schedule", "momentum"), [(s, m) for s, m, _ in IN_TORCH[-2:]], ids=["one_cycle", "flat"]
)
def test_framework_snippet_is_what_the_framework_takes(
    schedule: Schedule, momentum: Schedule | None
) -> None:
    snippets = framework_snippets(schedule.describe(), described(momentum), total_steps=20)
    assert list(snippets) == list(NAMES)

    def made(framework: str) -> tuple[torch.optim.Optimizer, Any]:
        optimizer = OPTIMIZERS["sgd"]([torch.nn.Parameter(torch.zeros(1))])
        space: dict[str, Any] = {}
        snippet = snippets[framework]
        exec(as_function("make", snippet.code, returns=snippet.returns), space)
        return optimizer, space["make"](optimizer)

    optimizer, configured = made("lightning")
    assert configured["optimizer"] is optimizer
    assert configured["lr_scheduler"]["interval"] == "step"
    assert isinstance(configured["lr_scheduler"]["scheduler"], LRScheduler)
    optimizer, (first, scheduled) = made("hf_trainer")
    assert first is optimizer
    assert scheduled.optimizer is optimizer
    optimizer, lr_scheduler = made("timm")
    lr_scheduler.step(0)
    for update in (0, 1, 7, 3):  # a resume jumps
        lr_scheduler.step_update(num_updates=update, metric=None)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(schedule(update), rel=RTOL)
    for framework in ("lightning", "hf_trainer"):
        optimizer, given = made(framework)
        step = (given["lr_scheduler"]["scheduler"] if framework == "lightning" else given[1]).step
        for update in range(20):
            assert optimizer.param_groups[0]["lr"] == pytest.approx(schedule(update), rel=RTOL)
            optimizer.step()
            step()


def test_anneal_snippet_keeps_ratios_of_parameter_groups() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.1}], lr=0.05
    )
    exec(anneal_snippet(constant(lr=0.2).describe()), {"optimizer": optimizer})
    assert [group["lr"] for group in optimizer.param_groups] == [0.2, 0.4]


def test_snippet_becomes_a_function() -> None:
    code = as_function("make", anneal_snippet(constant(lr=0.2).describe()), returns="scheduled")
    space: dict[str, Any] = {}
    exec(code, space)
    weight = torch.nn.Parameter(torch.zeros(1))
    made = space["make"](torch.optim.SGD([weight], lr=0.05))
    assert made.last_lr == [0.2]
