"""ScheduledLR as one of torch's schedulers, and a Schedule inside LambdaLR."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
    StepLR,
)

from anneal import ScheduledLR, one_cycle_momentum, triangular

TRIANGLE = triangular(base_lr=1.0, max_lr=5.0, half_cycle_steps=2)
MOMENTUM = one_cycle_momentum(
    max_momentum=0.95, min_momentum=0.85, half_cycle_steps=4, total_steps=12
)


def make(lr: Any = 0.1) -> SGD:
    return SGD([torch.nn.Parameter(torch.ones(1))], lr=lr, momentum=0.9, foreach=False)


def rate(optimizer: Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def drive(optimizer: Optimizer, scheduler: Any, steps: int) -> list[float]:
    driven = []
    for _ in range(steps):
        driven.append(rate(optimizer))
        optimizer.step()
        scheduler.step()
    return driven


def through_file(state: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_scheduler_has_what_frameworks_read() -> None:
    optimizer = make()
    scheduler = ScheduledLR(optimizer, TRIANGLE)
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.optimizer is optimizer
    assert (scheduler.base_lrs, scheduler.get_last_lr()) == ([0.1], [1.0])
    assert (scheduler.last_epoch, scheduler._step_count) == (0, 1)
    scheduler.step()
    assert (scheduler.last_epoch, scheduler._step_count) == (1, 2)
    assert scheduler.get_last_lr() == scheduler.get_lr() == [3.0]
    assert optimizer.param_groups[0]["initial_lr"] == 0.1


def test_rates_alone_are_not_given_where_momentum_is_set_too() -> None:
    scheduler = ScheduledLR(make(), TRIANGLE, momentum=MOMENTUM)
    with pytest.raises(ValueError, match=r"^get_lr\(\) gives rates alone .*get_last_lr\(\)$"):
        scheduler.get_lr()
    assert scheduler.get_last_lr() == [1.0]


def test_optimizer_step_is_not_replaced() -> None:
    optimizer = make()
    ScheduledLR(optimizer, TRIANGLE)
    assert "step" not in vars(optimizer)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copy_of_a_scheduler_drives_its_own_optimizer(copied: Any) -> None:
    optimizer = make()
    scheduler = ScheduledLR(optimizer, TRIANGLE, momentum=MOMENTUM)
    scheduler.step()
    other = copied(scheduler)
    assert other.optimizer is not optimizer
    other.step()
    assert (other.update, rate(other.optimizer)) == (2, 5.0)
    assert (scheduler.update, rate(optimizer)) == (1, 3.0)


def test_sequential_lr_runs_it_after_a_warmup() -> None:
    optimizer = make()
    warmup = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    ours = ScheduledLR(optimizer, TRIANGLE, momentum=MOMENTUM)
    scheduler = SequentialLR(optimizer, [warmup, ours], milestones=[2])
    assert drive(optimizer, scheduler, 7) == pytest.approx([0.05, 0.075, 1.0, 3.0, 5.0, 3.0, 1.0])
    assert optimizer.param_groups[0]["momentum"] == MOMENTUM(5)


def test_sequential_lr_runs_it_before_another_as_it_runs_lambda_lr() -> None:
    def build(make_first: Any) -> list[float]:
        optimizer = make()
        parts = [make_first(optimizer), StepLR(optimizer, 1, gamma=0.5)]
        return drive(optimizer, SequentialLR(optimizer, parts, milestones=[3]), 7)

    ours = build(lambda optimizer: ScheduledLR(optimizer, TRIANGLE))
    assert ours[:3] == [1.0, 3.0, 5.0]
    torchs = build(lambda optimizer: LambdaLR(optimizer, TRIANGLE.as_lambda(base_lr=0.1)))
    assert ours == pytest.approx(torchs, rel=1e-15)


@pytest.mark.parametrize("optimizer_first", [True, False])
@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5])
def test_sequential_lr_resumes(steps: int, ours_first: bool, optimizer_first: bool) -> None:
    def build() -> tuple[SGD, SequentialLR]:
        optimizer = make()
        parts: list[Any] = [
            ScheduledLR(optimizer, TRIANGLE),
            LinearLR(optimizer, start_factor=0.5, total_iters=4),
        ]
        order = parts if ours_first else parts[::-1]
        return optimizer, SequentialLR(optimizer, order, milestones=[2])

    whole = drive(*build(), 9)
    optimizer, scheduler = build()
    drive(optimizer, scheduler, steps)
    saved = through_file([optimizer.state_dict(), scheduler.state_dict()])
    optimizer, scheduler = build()
    if optimizer_first:
        optimizer.load_state_dict(saved[0])
        scheduler.load_state_dict(saved[1])
    else:
        scheduler.load_state_dict(saved[1])
        optimizer.load_state_dict(saved[0])
    assert drive(optimizer, scheduler, 9 - steps) == whole[steps:]


def test_chained_scheduler_takes_it_alone() -> None:
    optimizer = make()
    scheduler = ChainedScheduler([ScheduledLR(optimizer, TRIANGLE)])
    assert drive(optimizer, scheduler, 4) == [1.0, 3.0, 5.0, 3.0]


@pytest.mark.parametrize("ours_first", [True, False])
def test_chained_scheduler_with_another_is_refused(ours_first: bool) -> None:
    optimizer = make()
    parts = [ScheduledLR(optimizer, TRIANGLE), ExponentialLR(optimizer, 0.5)]
    scheduler = ChainedScheduler(parts if ours_first else parts[::-1])
    with pytest.raises(ValueError, match=r"^parameter group 0 must have the rate .*SequentialLR"):
        drive(optimizer, scheduler, 2)


def test_rate_changed_by_hand_is_refused_and_can_be_taken_back() -> None:
    optimizer = make(lr=torch.tensor(0.1))
    scheduler = ScheduledLR(optimizer, TRIANGLE)
    optimizer.param_groups[0]["lr"].fill_(0.5)
    with pytest.raises(ValueError, match=r"got 0\.5: another scheduler .*set_update\(1\) goes on"):
        scheduler.step()
    assert (scheduler.update, rate(optimizer)) == (0, 0.5)
    scheduler.set_update(1)
    scheduler.step()
    assert rate(optimizer) == 5.0


def test_step_with_an_epoch_goes_there_with_torchs_warning() -> None:
    optimizer = make()
    scheduler = ScheduledLR(optimizer, TRIANGLE)
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(2)
    assert (scheduler.last_epoch, rate(optimizer)) == (2, 5.0)


def test_shared_rate_tensor_becomes_one_for_each_group() -> None:
    shared = torch.tensor(0.1)
    one, two = ({"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(2))
    optimizer = Adam([one, two | {"lr_scale": 0.5}], lr=shared, foreach=False)
    ScheduledLR(optimizer, TRIANGLE)
    assert [float(group["lr"]) for group in optimizer.param_groups] == [1.0, 0.5]
    assert optimizer.param_groups[0]["lr"] is shared  # a compiled step reads this tensor
    assert float(optimizer.defaults["lr"]) == pytest.approx(0.1)


@pytest.mark.parametrize("lr", [torch.tensor(0.1), 0.1], ids=["tensor", "float"])
def test_compiled_optimizer_makes_no_more_graphs_than_lambda_lr(lr: Any) -> None:
    graphs = {}
    for kind in (ScheduledLR, LambdaLR):
        torch._dynamo.reset()
        counters["stats"].clear()
        optimizer = Adam(
            [torch.nn.Parameter(torch.ones(3)) for _ in range(2)], lr=copy.deepcopy(lr)
        )
        factor = TRIANGLE if kind is ScheduledLR else TRIANGLE.as_lambda(base_lr=0.1)
        scheduler = kind(optimizer, factor)

        @torch.compile(backend="eager")
        def update(optimizer: Adam = optimizer, scheduler: Any = scheduler) -> None:
            optimizer.step()
            scheduler.step()

        applied = []
        for _ in range(6):
            for weight in optimizer.param_groups[0]["params"]:
                weight.grad = torch.ones(3)
            applied.append(rate(optimizer))
            update()
        assert applied == pytest.approx([TRIANGLE(step) for step in range(6)])
        graphs[kind] = counters["stats"]["unique_graphs"]
    assert 1 <= graphs[ScheduledLR] <= graphs[LambdaLR]


# --- a schedule inside LambdaLR -------------------------------------------------------------------


@pytest.mark.parametrize("factor", [TRIANGLE, TRIANGLE.as_lambda(base_lr=1.0)])
def test_schedule_inside_lambda_lr_is_saved_and_loaded(factor: Any) -> None:
    optimizer = make(lr=1.0)
    scheduler = LambdaLR(optimizer, factor)
    drive(optimizer, scheduler, 3)
    state = through_file(scheduler.state_dict())
    (saved,) = state["lr_lambdas"]
    assert TRIANGLE.describe() in (saved, saved.get("schedule"))
    resumed = LambdaLR(make(lr=1.0), factor)
    resumed.load_state_dict(state)
    assert (resumed.last_epoch, factor(3)) == (3, 3.0)


def test_lambda_factor_gives_absolute_rates() -> None:
    optimizer = make(lr=0.1)
    scheduler = LambdaLR(optimizer, TRIANGLE.as_lambda(base_lr=0.1))
    assert drive(optimizer, scheduler, 5) == pytest.approx([1.0, 3.0, 5.0, 3.0, 1.0], rel=1e-15)


def test_lambda_factor_pickles() -> None:
    factor = TRIANGLE.as_lambda(base_lr=0.5)
    assert pickle.loads(pickle.dumps(factor))(1) == factor(1) == 6.0


@pytest.mark.parametrize("base_lr", [0.0, -1.0, float("nan")])
def test_lambda_factor_of_no_rate_is_refused(base_lr: float) -> None:
    with pytest.raises(ValueError, match=r"^base_lr must be "):
        TRIANGLE.as_lambda(base_lr=base_lr)
