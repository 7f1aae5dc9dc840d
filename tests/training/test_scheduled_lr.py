"""ScheduledLR: schedules in somebody else's training loop."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, lr_scheduler

from anneal import (
    ScheduledLR,
    constant,
    cosine_restarts,
    linear_ramp,
    one_cycle,
    one_cycle_momentum,
    triangular,
    triangular2,
)

TRIANGLE = triangular(base_lr=0.1, max_lr=0.5, half_cycle_steps=4)
MOMENTUM = one_cycle_momentum(
    max_momentum=0.95, min_momentum=0.85, half_cycle_steps=4, total_steps=12
)


def parameters(num: int = 1) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.ones(2)) for _ in range(num)]


def rates(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def halving(update: int) -> float:
    return 0.5**update


@pytest.mark.parametrize("make", [SGD, Adam, AdamW, RMSprop, Adagrad])
def test_every_update_is_driven_by_the_schedule_at_its_index(
    make: Callable[..., Optimizer],
) -> None:
    optimizer = make(parameters(), lr=0.3)
    scheduled = ScheduledLR(optimizer, TRIANGLE)
    driven = []
    for update in range(20):
        assert scheduled.update == update
        assert scheduled.last_lr == rates(optimizer)
        driven += rates(optimizer)
        optimizer.step()
        scheduled.step()
    assert driven == [TRIANGLE(update) for update in range(20)]


def test_weights_move_as_with_torch_s_own_scheduler() -> None:
    def train(make: Callable[[Optimizer], Any]) -> torch.Tensor:
        (weight,) = parameters()
        optimizer = SGD([weight], lr=0.1, momentum=0.9)
        scheduler = make(optimizer)
        for _ in range(30):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
            scheduler.step()
        return weight.detach()

    ours = train(
        lambda optimizer: ScheduledLR(
            optimizer, cosine_restarts(min_lr=0.0, max_lr=0.1, first_cycle_steps=5, growth=2)
        )
    )
    torchs = train(
        lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=5, T_mult=2)
    )
    torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=0.0)  # measured: 4e-7


def test_groups_keep_their_ratios_to_the_default_rate() -> None:
    one, ten, frozen = parameters(3)
    optimizer = SGD(
        [{"params": [one]}, {"params": [ten], "lr": 0.1}, {"params": [frozen], "lr": 0.0}], lr=0.01
    )
    scheduled = ScheduledLR(optimizer, TRIANGLE)
    for update in range(9):
        rate = TRIANGLE(update)
        assert rates(optimizer) == pytest.approx([rate, 10 * rate, 0.0], rel=1e-15)
        scheduled.step()


def test_group_added_later_joins_with_its_own_ratio() -> None:
    optimizer = SGD(parameters(), lr=0.01)
    scheduled = ScheduledLR(optimizer, TRIANGLE)
    scheduled.step()
    optimizer.add_param_group({"params": parameters(), "lr": 0.02})
    scheduled.step()
    assert rates(optimizer) == pytest.approx([TRIANGLE(2), 2 * TRIANGLE(2)], rel=1e-15)


def test_second_scheduled_lr_starts_from_ratios_not_current_rates() -> None:
    one, ten = parameters(2)
    optimizer = SGD([{"params": [one]}, {"params": [ten], "lr": 0.1}], lr=0.01)
    ScheduledLR(optimizer, constant(lr=1e-6))
    ScheduledLR(optimizer, TRIANGLE)
    assert rates(optimizer) == pytest.approx([0.1, 1.0], rel=1e-15)


def test_zero_default_rate_is_fine_while_all_groups_have_it() -> None:
    one, two = parameters(2)
    optimizer = SGD([{"params": [one]}, {"params": [two]}], lr=0.0)
    ScheduledLR(optimizer, TRIANGLE)
    assert rates(optimizer) == [0.1, 0.1]


def test_zero_default_rate_with_unequal_groups_is_refused() -> None:
    one, two = parameters(2)
    optimizer = SGD([{"params": [one]}, {"params": [two], "lr": 0.1}], lr=0.0)
    with pytest.raises(ValueError, match=r"^the optimizer's default lr must be positive .* got 0"):
        ScheduledLR(optimizer, TRIANGLE)
    assert rates(optimizer) == [0.0, 0.1]


def test_optimizer_without_a_default_rate_takes_the_rate_of_its_groups() -> None:
    optimizer = SGD(parameters(), lr=0.01)
    del optimizer.defaults["lr"]
    ScheduledLR(optimizer, TRIANGLE)
    assert rates(optimizer) == [0.1]


def test_group_without_a_rate_is_refused() -> None:
    optimizer = SGD(parameters(), lr=0.01)
    del optimizer.param_groups[0]["lr"]
    with pytest.raises(ValueError, match=r"^parameter group 0 must have an lr, got "):
        ScheduledLR(optimizer, TRIANGLE)


def test_tensor_rate_is_filled_in_place() -> None:
    optimizer = Adam(parameters(), lr=torch.tensor(0.01), capturable=False, foreach=False)
    before = optimizer.param_groups[0]["lr"]
    scheduled = ScheduledLR(optimizer, TRIANGLE)
    scheduled.step()
    assert optimizer.param_groups[0]["lr"] is before
    assert before.item() == pytest.approx(TRIANGLE(1), rel=1e-7)  # float32


def test_momentum_is_left_alone_unless_asked() -> None:
    sgd, adam = SGD(parameters(), lr=0.1, momentum=0.7), Adam(parameters(), lr=0.1)
    for optimizer in (sgd, adam):
        scheduled = ScheduledLR(optimizer, TRIANGLE)
        scheduled.step()
        assert scheduled.last_momentum is None
    assert sgd.param_groups[0]["momentum"] == 0.7
    assert adam.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (SGD, lambda group: group["momentum"]),
        (RMSprop, lambda group: group["momentum"]),
        (Adam, lambda group: group["betas"][0]),
        (AdamW, lambda group: group["betas"][0]),
    ],
)
def test_momentum_follows_its_own_schedule_when_asked(
    make: Callable[..., Optimizer], read: Callable[[dict[str, Any]], float]
) -> None:
    one, two = parameters(2)
    optimizer = make([{"params": [one]}, {"params": [two], "lr": 0.2}], lr=0.1)
    scheduled = ScheduledLR(optimizer, TRIANGLE, momentum=MOMENTUM)
    for update in range(14):
        assert [read(group) for group in optimizer.param_groups] == [MOMENTUM(update)] * 2
        assert scheduled.last_momentum == MOMENTUM(update)
        scheduled.step()


def test_second_beta_is_left_alone() -> None:
    optimizer = Adam(parameters(), lr=0.1, betas=(0.9, 0.99))
    ScheduledLR(optimizer, TRIANGLE, momentum=MOMENTUM)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.99)


def test_optimizer_without_momentum_or_betas_is_refused() -> None:
    optimizer = Adagrad(parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"neither momentum nor betas"):
        ScheduledLR(optimizer, TRIANGLE, momentum=MOMENTUM)
    assert rates(optimizer) == [0.1]


def test_one_cycle_equals_torchs_linear_three_phase_schedule() -> None:
    shape = {"half_cycle_steps": 29, "total_steps": 100}
    ours, torchs = (SGD(parameters(), lr=0.1, momentum=0.9) for _ in range(2))
    scheduled = ScheduledLR(
        ours,
        one_cycle(base_lr=0.1, max_lr=1.0, final_lr=0.001, **shape),
        momentum=one_cycle_momentum(max_momentum=0.95, min_momentum=0.85, **shape),
    )
    scheduler = lr_scheduler.OneCycleLR(
        torchs,
        max_lr=1.0,
        total_steps=100,
        pct_start=0.3,
        anneal_strategy="linear",
        div_factor=10.0,
        final_div_factor=100.0,
        three_phase=True,
    )
    for _ in range(99):
        for key in ("lr", "momentum"):
            value = ours.param_groups[0][key]
            assert value == pytest.approx(torchs.param_groups[0][key], rel=1e-12)
        for optimizer, clock in ((ours, scheduled), (torchs, scheduler)):
            optimizer.step()
            clock.step()


def test_plain_functions_are_welcome() -> None:
    optimizer = SGD(parameters(), lr=0.1)
    scheduled = ScheduledLR(optimizer, halving)
    scheduled.step()
    scheduled.step()
    assert rates(optimizer) == [0.25]


def test_set_update_jumps_anywhere() -> None:
    optimizer = SGD(parameters(), lr=0.1)
    scheduled = ScheduledLR(optimizer, TRIANGLE)
    for update in (3, 10**9, 0, 5):
        scheduled.set_update(update)
        assert scheduled.update == update
        assert rates(optimizer) == [TRIANGLE(update)]
    scheduled.step()
    assert rates(optimizer) == [TRIANGLE(6)]


@pytest.mark.parametrize("update", [-1, 1.5, True, None])
def test_jump_to_no_update_is_refused_and_changes_nothing(update: Any) -> None:
    optimizer = SGD(parameters(), lr=0.1)
    scheduled = ScheduledLR(optimizer, TRIANGLE)
    scheduled.step()
    with pytest.raises(ValueError, match=r"^update must "):
        scheduled.set_update(update)
    assert scheduled.update == 1
    assert rates(optimizer) == [TRIANGLE(1)]


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, None, "0.1", True])
def test_function_that_returns_no_rate_is_refused_and_changes_nothing(value: Any) -> None:
    optimizer = SGD(parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^schedule\(0\) must "):
        ScheduledLR(optimizer, lambda _: value)
    scheduled = ScheduledLR(optimizer, lambda update: value if update == 1 else 0.3)
    with pytest.raises(ValueError, match=r"^schedule\(1\) must "):
        scheduled.step()
    assert scheduled.update == 0
    assert rates(optimizer) == [0.3]


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_momentum_out_of_range_is_refused_and_changes_nothing(value: float) -> None:
    optimizer = SGD(parameters(), lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"^momentum\(0\) must "):
        ScheduledLR(optimizer, TRIANGLE, momentum=lambda _: value)
    assert rates(optimizer) == [0.1]
    assert optimizer.param_groups[0]["momentum"] == 0.9


def test_model_as_optimizer_and_uncalled_schedule_are_refused() -> None:
    model: Any = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"^optimizer must be an optimizer of torch, got Linear$"):
        ScheduledLR(model, TRIANGLE)
    function: Any = triangular2
    with pytest.raises(ValueError, match=r"function triangular2: call it .* triangular2\(\*, base"):
        ScheduledLR(SGD(parameters(), lr=0.1), function)


def test_what_cannot_be_called_is_refused() -> None:
    optimizer = SGD(parameters(), lr=0.1)
    schedule: Any = 0.1
    with pytest.raises(ValueError, match=r"^schedule must be a schedule or a function"):
        ScheduledLR(optimizer, schedule)
    with pytest.raises(ValueError, match=r"^momentum must be a schedule or a function"):
        ScheduledLR(optimizer, TRIANGLE, momentum=schedule)


def make_pair(
    schedule: Callable[[int], float] = TRIANGLE,
    momentum: Callable[[int], float] | None = None,
    ratio: float = 10.0,
) -> tuple[SGD, ScheduledLR]:
    one, two = parameters(2)
    groups = [{"params": [one]}, {"params": [two], "lr": 0.01 * ratio}]
    optimizer = SGD(groups, lr=0.01, momentum=0.9)
    return optimizer, ScheduledLR(optimizer, schedule, momentum=momentum)


def save_at(update: int, path: Path, *args: Any) -> dict[str, Any]:
    optimizer, scheduled = make_pair(*args)
    for _ in range(update):
        optimizer.step()
        scheduled.step()
    torch.save({"optimizer": optimizer.state_dict(), "scheduled": scheduled.state_dict()}, path)
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


@pytest.mark.parametrize("optimizer_first", [True, False])
@pytest.mark.parametrize("schedule", [TRIANGLE, halving])
def test_resumed_run_continues_at_the_saved_update(
    tmp_path: Path, schedule: Callable[[int], float], optimizer_first: bool
) -> None:
    state = save_at(7, tmp_path / "checkpoint.pt", schedule, MOMENTUM)
    optimizer, scheduled = make_pair(schedule, MOMENTUM)
    if optimizer_first:
        optimizer.load_state_dict(state["optimizer"])
        scheduled.load_state_dict(state["scheduled"])
    else:
        scheduled.load_state_dict(state["scheduled"])
        optimizer.load_state_dict(state["optimizer"])
    for update in range(7, 12):
        assert scheduled.update == update
        expected = [schedule(update), 10 * schedule(update)]
        assert rates(optimizer) == pytest.approx(expected, rel=1e-15)
        assert optimizer.param_groups[1]["momentum"] == MOMENTUM(update)
        scheduled.step()


def test_it_may_be_made_after_the_optimizer_was_loaded(tmp_path: Path) -> None:
    """The rates of the checkpoint, those of update 7, must not be taken for the groups' own."""
    state = save_at(7, tmp_path / "checkpoint.pt")
    one, two = parameters(2)
    optimizer = SGD([{"params": [one]}, {"params": [two]}], lr=0.01, momentum=0.9)
    optimizer.load_state_dict(state["optimizer"])
    scheduled = ScheduledLR(optimizer, TRIANGLE)
    scheduled.load_state_dict(state["scheduled"])
    assert rates(optimizer) == pytest.approx([TRIANGLE(7), 10 * TRIANGLE(7)], rel=1e-15)


def test_state_is_plain_json() -> None:
    _, scheduled = make_pair(halving, MOMENTUM)
    state = scheduled.state_dict()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    _, other = make_pair(halving, MOMENTUM)
    other.load_state_dict(json.loads(json.dumps(state)))


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ((triangular(base_lr=0.1, max_lr=0.6, half_cycle_steps=4),), "schedule"),
        ((constant(lr=0.1),), "schedule"),
        ((halving,), "schedule"),
        ((TRIANGLE, MOMENTUM), "momentum"),
        ((TRIANGLE, constant(lr=0.9)), "momentum"),
        ((TRIANGLE, None, 5.0), "ratios"),
    ],
)
def test_state_of_another_schedule_is_refused_before_anything_changes(
    tmp_path: Path, other: tuple[Any, ...], name: str
) -> None:
    state = save_at(7, tmp_path / "checkpoint.pt", *other)["scheduled"]
    optimizer, scheduled = make_pair()
    scheduled.step()
    before = rates(optimizer)
    with pytest.raises(ValueError, match=rf"^{name} .*must be th\w+ of the state, .*, got "):
        scheduled.load_state_dict(state)
    assert scheduled.update == 1
    assert rates(optimizer) == before


def test_refusal_names_both_schedules() -> None:
    _, saved = make_pair(constant(lr=0.1))
    _, scheduled = make_pair()
    with pytest.raises(ValueError, match=r"'constant'.*, got .*'triangular'"):
        scheduled.load_state_dict(saved.state_dict())


@pytest.mark.parametrize(
    "other",
    [
        lambda update: 0.5 ** (update + 1),
        lambda update: 0.5**update * (1 + 1e-6),
        lambda update: 0.5**update if update < 900_000 else 1e-3,
        TRIANGLE,
    ],
)
def test_state_of_a_function_with_other_values_is_refused(
    other: Callable[[int], float],
) -> None:
    _, saved = make_pair(other)
    _, scheduled = make_pair(halving)
    with pytest.raises(ValueError, match=r"^schedule must be that of the state, "):
        scheduled.load_state_dict(saved.state_dict())


def test_functions_that_differ_in_the_last_bits_alone_are_the_same() -> None:
    _, saved = make_pair(lambda update: math.exp(-update * math.log(2)))
    _, scheduled = make_pair(halving)
    saved.step()
    scheduled.load_state_dict(saved.state_dict())
    assert scheduled.update == 1


def test_function_may_end_with_its_run() -> None:
    table = [0.1, 0.2, 0.3]
    _, saved = make_pair(table.__getitem__)
    saved.step()
    _, scheduled = make_pair(lambda update: table[update])
    scheduled.load_state_dict(saved.state_dict())
    assert scheduled.last_lr[0] == 0.2
    _, longer = make_pair([*table, 0.4].__getitem__)
    with pytest.raises(ValueError, match=r"^schedule must be that of the state, "):
        longer.load_state_dict(saved.state_dict())


@pytest.mark.parametrize(
    "broken",
    [
        {},
        None,
        {"update": 3},
        {"update": -1},
        {"update": 2.0},
        {"schedule": None},
        {"schedule": {"name": "triangular"}},
        {"ratios": [1.0]},
        {"ratios": ["1", "10"]},
        {"ratios": None},
        {"last_epoch": 3},
    ],
)
def test_broken_state_is_refused_before_anything_changes(broken: Any) -> None:
    optimizer, scheduled = make_pair()
    whole, before = scheduled.state_dict(), rates(optimizer)
    state = whole | broken if broken and broken != {"update": 3} else broken
    with pytest.raises(ValueError, match=r"must"):
        scheduled.load_state_dict(state)
    assert scheduled.update == 0
    assert scheduled.state_dict() == whole
    assert rates(optimizer) == before


def test_changing_a_saved_state_does_not_change_the_run() -> None:
    _, scheduled = make_pair()
    scheduled.state_dict()["schedule"]["arguments"]["max_lr"] = 7.0
    assert scheduled.state_dict()["schedule"] == TRIANGLE.describe()


def test_it_serves_an_optimizer_that_is_compiled_or_wrapped() -> None:
    """Wrappers keep param_groups and defaults; nothing else is asked of an optimizer."""

    class Wrapper:
        def __init__(self, optimizer: Optimizer) -> None:
            self.param_groups, self.defaults = optimizer.param_groups, optimizer.defaults

    inner = SGD(parameters(), lr=0.1)
    wrapper: Any = Wrapper(inner)
    ScheduledLR(wrapper, linear_ramp(first_lr=0.0, last_lr=1.0, total_steps=3)).step()
    assert rates(inner) == [0.5]


def test_module_named_torch_does_not_hide_torch() -> None:
    import anneal.training.scheduled_lr

    assert anneal.training.scheduled_lr.torch is sys.modules["torch"]
