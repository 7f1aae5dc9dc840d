"""The rate applied is the rate asked for, checked against a model in plain floats."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, Adam, AdamW, lr_scheduler

from anneal import ScheduledLR, linear_decay, triangular

RATES = (0.01, 0.02, 0.04, 0.1)
RTOL = 1e-6  # a tensor rate is a float32: measured 3e-8
TRIANGLES = [
    triangular(base_lr=0.5, max_lr=2.0, half_cycle_steps=3),
    triangular(base_lr=0.001, max_lr=0.006, half_cycle_steps=2),
]


KINDS: dict[str, Any] = {
    "plain": SGD,
    "tensor": partial(Adam, foreach=False),
    "fused": partial(AdamW, fused=True),
    "capturable": partial(Adam, capturable=True),
}


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(1))


@dataclass
class Expected:
    """What should happen, in plain floats: a schedule, its update, and the ratio of each group."""

    schedule: Any
    update: int = 0
    ratios: list[float] = field(default_factory=list)

    def rates(self) -> list[float]:
        return [self.schedule(self.update) * ratio for ratio in self.ratios]


class Program:
    """An optimizer with its ScheduledLR, and how to build both again."""

    def __init__(self, default_lr: float, *, kind: str, groups: list[dict[str, Any]]) -> None:
        self.default_lr, self.kind, self.groups = default_lr, kind, groups
        self.as_tensor = kind != "plain"
        self.optimizer: Any = None
        self.scheduler: Any = None

    def build(self, schedule: Any) -> None:
        self.optimizer = self._make_optimizer()
        self.scheduler = ScheduledLR(self.optimizer, schedule)

    def load_finished(self, schedule: Any, *, driven_by: str) -> None:
        """Train to the end with another scheduler, load that optimizer's state, begin again."""
        finished = self._make_optimizer()
        if driven_by == "cosine":
            scheduler: Any = lr_scheduler.CosineAnnealingLR(finished, T_max=3)
        else:
            scheduler = ScheduledLR(
                finished, linear_decay(max_lr=0.3, base_lr=0.0, half_cycle_steps=3)
            )
        for _ in range(3):
            finished.step()
            scheduler.step()
        assert [float(group["lr"]) for group in finished.param_groups] == [0.0] * len(self.groups)
        self.optimizer = self._make_optimizer()
        self.optimizer.load_state_dict(finished.state_dict())
        self.scheduler = ScheduledLR(self.optimizer, schedule)

    def add(self, group: dict[str, Any]) -> None:
        self.groups.append(group)
        self.optimizer.add_param_group(self._new(group))

    def change_by_hand(self, rate: float) -> None:
        group = self.optimizer.param_groups[0]
        group["lr"] = torch.tensor(rate) if self.as_tensor else rate

    def rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def _make_optimizer(self) -> Any:
        """Return an optimizer with half of its groups in the constructor and half added."""
        lr = torch.tensor(self.default_lr) if self.as_tensor else self.default_lr
        groups = [self._new(group) for group in self.groups]
        half = len(groups) // 2 + 1
        optimizer = KINDS[self.kind](groups[:half], lr=lr)
        for group in groups[half:]:
            optimizer.add_param_group(group)
        return optimizer

    def _new(self, group: dict[str, Any]) -> dict[str, Any]:
        lr = {"lr": torch.tensor(group["lr"])} if self.as_tensor and "lr" in group else {}
        return group | lr | {"params": [parameter()]}


GROUP = st.fixed_dictionaries(
    {}, optional={"lr": st.sampled_from(RATES), "lr_scale": st.sampled_from((0.25, 0.5))}
)
OPERATION = st.one_of(
    st.tuples(st.just("step"), st.integers(1, 4)),
    st.tuples(st.just("go to"), st.integers(0, 12)),
    st.tuples(st.just("add a group"), GROUP),
    st.tuples(st.just("make a second"), st.sampled_from(TRIANGLES)),
    st.tuples(st.just("resume, optimizer first"), st.booleans()),
    st.tuples(st.just("change by hand"), st.sampled_from(RATES)),
    st.tuples(st.just("load a finished run"), st.sampled_from(("cosine", "ours"))),
)


@settings(max_examples=150, deadline=None)
@given(
    default_lr=st.sampled_from(RATES),
    kind=st.sampled_from(sorted(KINDS)),
    groups=st.lists(GROUP, max_size=2),
    operations=st.lists(OPERATION, max_size=8),
)
def test_rates_follow_the_schedule_through_any_operations(
    default_lr: float,
    kind: str,
    groups: list[dict[str, Any]],
    operations: list[tuple[str, Any]],
) -> None:
    program = Program(default_lr, kind=kind, groups=[{}, *groups])
    expected = Expected(TRIANGLES[0])

    def ratio(group: dict[str, Any]) -> float:
        return float(group.get("lr", default_lr) / default_lr * group.get("lr_scale", 1.0))

    program.build(expected.schedule)
    expected.ratios = [ratio(group) for group in program.groups]
    assert program.rates() == pytest.approx(expected.rates(), rel=RTOL)
    for name, value in operations:
        if name == "step":
            for _ in range(value):
                program.optimizer.step()
                program.scheduler.step()
            expected.update += value
        elif name == "go to":
            program.scheduler.set_update(value)
            expected.update = value
        elif name == "add a group":
            program.add(value)
            program.scheduler.step()  # from here on the new group follows
            expected.ratios.append(ratio(value))
            expected.update += 1
        elif name == "make a second":
            program.scheduler = ScheduledLR(program.optimizer, value)
            expected.schedule, expected.update = value, 0
        elif name == "resume, optimizer first":
            optimizer, scheduler = program.optimizer.state_dict(), program.scheduler.state_dict()
            program.build(expected.schedule)
            if value:
                program.optimizer.load_state_dict(optimizer)
                program.scheduler.load_state_dict(scheduler)
            else:
                program.scheduler.load_state_dict(scheduler)
                program.optimizer.load_state_dict(optimizer)
        elif name == "load a finished run":
            program.load_finished(expected.schedule, driven_by=value)
            expected.update = 0
        else:
            program.change_by_hand(program.rates()[0] * 3 + value)
            with pytest.raises(ValueError, match="must have the rate"):
                program.scheduler.step()
            program.scheduler.set_update(expected.update)
        assert program.rates() == pytest.approx(expected.rates(), rel=RTOL)
        assert program.scheduler.get_last_lr() == pytest.approx(expected.rates(), rel=RTOL)


@pytest.mark.parametrize("own", [0.001, 0.0, 0.1])
def test_one_rate_for_all_groups_is_the_schedules_whatever_the_default(own: float) -> None:
    optimizer = SGD([{"params": [parameter()], "lr": own} for _ in range(2)], lr=0.1)
    ScheduledLR(optimizer, TRIANGLES[0])
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.5]


def test_rate_lowered_by_hand_before_is_not_taken_for_a_ratio() -> None:
    optimizer = SGD([parameter()], lr=0.1)
    optimizer.param_groups[0]["lr"] = 0.001
    ScheduledLR(optimizer, TRIANGLES[0])
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_rates_without_default_are_refused_unless_ratios_are_given() -> None:
    optimizer = SGD([{"params": [parameter()], "lr": lr} for lr in (0.01, 0.1)])  # default: 0.001
    with pytest.raises(ValueError, match=r"0\.01 \(group 0\), 0\.1 \(group 1\).*ratios=\[1\.0"):
        ScheduledLR(optimizer, TRIANGLES[0])
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1]
    ScheduledLR(optimizer, TRIANGLES[0], ratios=[1.0, 10.0])
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 5.0]


@pytest.mark.parametrize("ratios", [[1.0], [1.0, 2.0, 3.0], [1.0, -1.0], [1.0, float("nan")]])
def test_ratios_that_do_not_fit_the_groups_are_refused(ratios: list[float]) -> None:
    optimizer = SGD([{"params": [parameter()]} for _ in range(2)], lr=0.1)
    with pytest.raises(ValueError, match=r"^ratios"):
        ScheduledLR(optimizer, TRIANGLES[0], ratios=ratios)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


def test_added_group_may_say_its_ratio() -> None:
    optimizer = SGD([parameter()], lr=0.1)
    scheduler = ScheduledLR(optimizer, TRIANGLES[0])
    optimizer.add_param_group({"params": [parameter()], "scheduled_lr_ratio": 0.25})
    scheduler.step()
    assert scheduler.last_lr == [1.0, 0.25]


@pytest.mark.parametrize(
    "make",
    [
        partial(SGD, fused=True),
        partial(Adam, fused=True),
        partial(Adam, foreach=False),
        partial(AdamW, capturable=True, weight_decay=0.0),
    ],
    ids=["fused SGD", "fused Adam", "Adam", "compiled AdamW"],
)
def test_weights_move_by_tensor_rates_of_each_update(make: Any) -> None:
    """With gradient 1 each of these moves a weight by the rate; the second group by twice that."""
    weights = [parameter(), parameter()]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr": torch.tensor(0.02)}]
    optimizer = make(groups, lr=torch.tensor(0.01))
    scheduler = ScheduledLR(optimizer, TRIANGLES[1])
    step = optimizer.step
    if optimizer.defaults.get("capturable"):  # processors have it inside of a compiled step alone
        torch._dynamo.reset()
        step = torch.compile(optimizer.step, backend="eager")
    for _ in range(7):
        for weight in weights:
            weight.grad = torch.ones(1)
        step()
        scheduler.step()
    moved = [1 - weight.item() for weight in weights]
    total = sum(TRIANGLES[1](update) for update in range(7))
    assert moved == pytest.approx([total, 2 * total], rel=1e-4)  # measured: 1e-5, float32 near 1


@pytest.mark.parametrize(
    "attach",
    [
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=4),
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=5),
        lambda o: lr_scheduler.CyclicLR(o, base_lr=0.2, max_lr=1.0, step_size_up=3),
        lambda o: lr_scheduler.LinearLR(o, start_factor=0.25),
        lambda o: lr_scheduler.MultiStepLR(o, milestones=[1, 2]),
    ],
)
@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "same optimizer"])
def test_rate_after_torchs_schedulers_is_the_schedules(attach: Any, loaded: bool) -> None:
    optimizer = SGD([parameter()], lr=0.1, momentum=0.9)
    other = attach(optimizer)
    for _ in range(4):
        optimizer.step()
        other.step()
    if loaded:
        state = optimizer.state_dict()
        optimizer = SGD([parameter()], lr=0.1, momentum=0.9)
        optimizer.load_state_dict(state)
    scheduler = ScheduledLR(optimizer, TRIANGLES[0])
    for update in range(5):
        assert scheduler.last_lr == [TRIANGLES[0](update)]
        scheduler.step()


def test_several_rates_lowered_by_hand_are_refused_and_ratios_settle_it() -> None:
    optimizer = SGD([{"params": [parameter()]}, {"params": [parameter()], "lr": 0.2}], lr=0.1)
    for group in optimizer.param_groups:
        group["lr"] /= 10
    with pytest.raises(ValueError, match="the ratios of the parameter groups are ambiguous"):
        ScheduledLR(optimizer, TRIANGLES[0])
    assert ScheduledLR(optimizer, TRIANGLES[0], ratios=[1.0, 2.0]).last_lr == [0.5, 1.0]


class Undecided(torch.optim.Optimizer):
    """An optimizer without a default rate."""

    def __init__(self, groups: Any) -> None:
        super().__init__(groups, {})


def test_groups_without_a_default_rate_are_told_apart_by_ratios_alone() -> None:
    optimizer = Undecided([{"params": [parameter()], "lr": lr} for lr in (0.1, 0.1)])
    scheduler = ScheduledLR(optimizer, TRIANGLES[0])
    assert scheduler.last_lr == [0.5, 0.5]
    optimizer.add_param_group({"params": [parameter()], "lr": 0.2})
    with pytest.raises(ValueError, match=r'got None .*0\.2 \(group 2\); .*"scheduled_lr_ratio"'):
        scheduler.step()
    assert (scheduler.update, scheduler.last_lr) == (0, [0.5, 0.5, 0.2])
    optimizer.param_groups[2]["scheduled_lr_ratio"] = 2.0
    scheduler.step()
    assert scheduler.last_lr == [1.0, 1.0, 2.0]
    unequal = Undecided([{"params": [parameter()], "lr": lr} for lr in (0.1, 0.2)])
    with pytest.raises(ValueError, match=r"default lr must be positive .* got None"):
        ScheduledLR(unequal, TRIANGLES[0])
    assert ScheduledLR(unequal, TRIANGLES[0], ratios=[1.0, 2.0]).last_lr == [0.5, 1.0]
