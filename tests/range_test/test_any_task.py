"""The range test on any task: one loss with a known curve, trained in many ways.

The network is one weight w, an input x gives w x, and the loss is half its square. A step of SGD
with rate r multiplies w by 1 - r x^2, so each number of the curve is known.
"""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from anneal.range_test import RangeTestCurve, own_step, read_curve
from anneal.range_test.sweep import sweep_rates
from anneal.schedules import linear_ramp
from anneal.training.evaluation import Measurement

SWEEP = {"first_lr": 0.0, "last_lr": 0.05, "total_steps": 20}
RATES = linear_ramp(**SWEEP)
POINTS = 10
X = 4.0
RTOL = 1e-5  # measured: 6.8e-7, float32


class Weight(nn.Module):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.w * inputs
        return {"outputs": outputs, "loss": 0.5 * outputs.square().mean()}


def known_curve(mean_square: float = X**2) -> list[tuple[float, float, float | None]]:
    """Return rate, held-out loss and training loss of each point."""
    w, points, losses = 1.0, [(0.0, mean_square / 2, None)], []
    for update in range(SWEEP["total_steps"]):
        losses.append(mean_square * w * w / 2)
        w *= 1 - RATES(update) * mean_square
        if (update + 1) % (SWEEP["total_steps"] // POINTS) == 0:
            mean = math.fsum(losses) / len(losses)
            points.append((RATES(update), mean_square * w * w / 2, mean))
            losses = []
    return points


def assert_known(curve: RangeTestCurve, mean_square: float = X**2, rtol: float = RTOL) -> None:
    assert {point.accuracy_pct for point in curve.points} == {None}
    expected = known_curve(mean_square)
    assert [point.lr for point in curve.points] == [rate for rate, _, _ in expected]
    for point, (_, held_out, train) in zip(curve.points, expected, strict=True):
        assert point.held_out_loss == pytest.approx(held_out, rel=rtol)
        assert point.train_loss == (None if train is None else pytest.approx(train, rel=rtol))


def swept(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: Callable[[Any], torch.Tensor],
    batches: Any,
    **more: Any,
) -> RangeTestCurve:
    applied: list[float] = []
    hook = optimizer.register_step_pre_hook(lambda o, *_: applied.append(o.param_groups[0]["lr"]))
    evaluate = more.pop("evaluate", lambda: model(torch.tensor([X]))["loss"].item())
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    try:
        curve = sweep_rates(
            model,
            optimizer,
            batches,
            step=step,
            evaluate=evaluate,
            points=POINTS,
            **SWEEP,
            **more,
        )
    finally:
        hook.remove()
        assert repr(before) == repr((model.state_dict(), optimizer.state_dict()))
    assert applied == [RATES(update) for update in range(SWEEP["total_steps"])]
    return curve


def made() -> tuple[Weight, torch.optim.Optimizer]:
    model = Weight()
    return model, torch.optim.SGD(model.parameters(), lr=0.3, foreach=False)


def plain(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[..., torch.Tensor]:
    def step(inputs: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(inputs)["loss"]
        loss.backward()
        optimizer.step()
        return loss

    return step


@pytest.mark.parametrize(
    ("batch", "inputs_of"),
    [
        ((torch.tensor([X]), "mask", 3), lambda batch: batch[0]),
        ({"inputs": torch.tensor([X]), "labels": None}, lambda batch: batch["inputs"]),
        (torch.tensor([X]), lambda batch: batch),
    ],
    ids=["tuple of three", "dict", "tensor"],
)
def test_batch_of_any_form_and_dict_of_outputs_give_the_known_curve(
    batch: Any, inputs_of: Any
) -> None:
    model, optimizer = made()
    step = plain(model, optimizer)
    assert_known(swept(model, optimizer, lambda given: step(inputs_of(given)), [batch]))


def test_closure_gives_the_known_curve() -> None:
    model, optimizer = made()

    def step(inputs: torch.Tensor) -> torch.Tensor:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(inputs)["loss"]
            loss.backward()
            return loss

        return optimizer.step(closure)

    assert_known(swept(model, optimizer, step, [torch.tensor([X])]))


@pytest.mark.parametrize("batch_at_once", [True, False])
def test_accumulation_gives_the_known_curve(batch_at_once: bool) -> None:
    """The rate stays until there was an update, whether a step takes one batch or all."""
    model, optimizer = made()
    parts = [torch.tensor([1.0]), torch.tensor([3.0])]  # of mean square 5
    calls = []

    def step(batch: Any) -> torch.Tensor:
        calls.append(batch)
        losses = []
        for part in batch if batch_at_once else [batch]:
            losses.append(model(part)["loss"])
            (losses[-1] / 2).backward()
        if batch_at_once or len(calls) % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
        return torch.stack(losses).mean()

    curve = swept(
        model,
        optimizer,
        step,
        [parts] if batch_at_once else parts,
        evaluate=lambda: model(torch.tensor([1.0, 3.0]))["loss"].item(),
    )
    assert_known(curve, mean_square=5.0)
    assert len(calls) == 20 if batch_at_once else 40


def test_update_that_a_gradient_scaler_skips_keeps_its_rate() -> None:
    model, optimizer = made()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # overflows until it is 2^124
    calls = []

    def step(inputs: torch.Tensor) -> torch.Tensor:
        calls.append(inputs)
        optimizer.zero_grad()
        loss = model(inputs)["loss"]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    assert_known(swept(model, optimizer, step, [torch.tensor([X])], stateful=[scaler]))
    assert len(calls) > SWEEP["total_steps"]
    assert scaler.get_scale() == 2.0**127


def test_autocast_gives_the_known_curve_but_for_rounding() -> None:
    model, optimizer = nn.Linear(1, 1, bias=False), None
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)

    def loss_of(inputs: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = model(inputs)
        assert outputs.dtype == torch.bfloat16
        return 0.5 * outputs.float().square().mean()

    def step(inputs: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(inputs)
        loss.backward()
        optimizer.step()
        return loss

    inputs = torch.tensor([[X]])
    curve = swept(model, optimizer, step, [inputs], evaluate=lambda: loss_of(inputs).item())
    assert_known(curve, rtol=0.05)  # measured: 0.015, bfloat16 has 8 bits


# --- what would bend the axis ---------------------------------------------------------------------


def bent(step: Callable[[Any], torch.Tensor], model: Any, optimizer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        swept(model, optimizer, step, [torch.tensor([X])])


def test_scheduler_that_step_calls_is_refused() -> None:
    model, optimizer = made()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    update = plain(model, optimizer)

    def step(inputs: torch.Tensor) -> torch.Tensor:
        loss = update(inputs)
        scheduler.step()
        return loss

    # Of the first update the rate is 0, which halving leaves alone.
    bent(step, model, optimizer, r"^parameter group 0 must have the rate 0\.0026\d* .*for update 1")


def test_rate_that_step_sets_for_its_update_is_refused() -> None:
    model, optimizer = made()
    update = plain(model, optimizer)

    def step(inputs: torch.Tensor) -> torch.Tensor:
        swept_lr = optimizer.param_groups[0]["lr"]
        optimizer.param_groups[0]["lr"] = 0.1
        loss = update(inputs)
        optimizer.param_groups[0]["lr"] = swept_lr
        return loss

    bent(step, model, optimizer, r"^parameter group 0 must have the sweep's rate 0\.0 .* got 0\.1")


def test_step_of_two_updates_is_refused() -> None:
    model, optimizer = made()
    update = plain(model, optimizer)
    message = r"^step must call optimizer\.step\(\) once, got 2 calls$"
    bent(lambda inputs: (update(inputs), update(inputs))[0], model, optimizer, message)


def test_step_without_an_update_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer = made()
    monkeypatch.setattr(own_step, "MOST_CALLS", 7)
    message = r"^step must call optimizer\.step\(\), got 7 batches without it$"
    bent(lambda inputs: model(inputs)["loss"], model, optimizer, message)


def test_update_of_another_optimizer_is_not_counted() -> None:
    model, optimizer = made()
    other_model, other_optimizer = made()
    step, other = plain(model, optimizer), plain(other_model, other_optimizer)
    batches = [torch.tensor([X])]
    assert_known(swept(model, optimizer, lambda x: (other(x), step(x))[1], batches))


# --- several processes ----------------------------------------------------------------------------


def process(rank: int, folder: str) -> None:
    """Sweep in one of two processes, each with an input of its own; write the curves."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    inputs = torch.tensor([1.0 + 2.0 * rank])  # 1 and 3, of mean square 5
    model, optimizer = made()
    parallel = nn.parallel.DistributedDataParallel(model)
    update = plain(parallel, optimizer)
    calls = []

    def break_the_eighth(batch: torch.Tensor) -> torch.Tensor:
        calls.append(batch)
        loss = update(batch)
        return loss * math.nan if rank == 1 and len(calls) == 8 else loss

    def loss() -> float:
        return float(model(inputs)["loss"].item())

    def accuracy() -> Measurement:
        of_ten, of_thirty = (50.0, 1.0, 10), (90.0, 2.0, 30)
        accuracy_pct, loss, num_images = of_thirty if rank else of_ten
        return Measurement(
            accuracy_pct=accuracy_pct, top5_accuracy_pct=None, loss=loss, num_images=num_images
        )

    curves = {
        name: sweep_rates(
            parallel, optimizer, [inputs], step=step, evaluate=evaluate, points=POINTS, **SWEEP
        ).describe()
        for name, step, evaluate in (
            ("known", update, loss),
            ("parts", update, accuracy),
            ("diverged", break_the_eighth, loss),
        )
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(curves))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def curves_of_two_processes(tmp_path_factory: Any) -> list[dict[str, Any]]:
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    folder = tmp_path_factory.mktemp("processes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.multiprocessing.spawn(process, (str(folder),), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_have_one_curve_the_known_one(curves_of_two_processes: Any) -> None:
    first, second = curves_of_two_processes
    assert first == second
    assert_known(read_curve(first["known"]), mean_square=5.0)


@pytest.mark.slow
def test_parts_of_the_held_out_images_are_weighted(curves_of_two_processes: Any) -> None:
    curve = read_curve(curves_of_two_processes[0]["parts"])
    assert curve.num_images == 40
    assert {point.accuracy_pct for point in curve.points} == {80.0}  # (10 x 50 + 30 x 90) / 40
    assert {point.held_out_loss for point in curve.points} == {1.75}


@pytest.mark.slow
def test_divergence_of_one_process_ends_the_sweep_of_both(curves_of_two_processes: Any) -> None:
    for curves in curves_of_two_processes:
        assert curves["diverged"]["diverged_at"] == 7
        assert [point["update"] for point in curves["diverged"]["points"]] == [0, 2, 4, 6]
