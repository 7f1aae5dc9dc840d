"""The sweep of an LR range test: train through a ramp of rates, then restore everything.

Smith, "Cyclical Learning Rates for Training Neural Networks" (1506.01186v6, section 3.3): let the
rate grow while the net trains, watch the accuracy, and read the bounds off the curve
(``anneal.range_test``). Objects come in and a curve goes out: no files, no configuration.

In your own project, :func:`sweep_rates` takes what a training script has anyway.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from anneal.range_test import RangeTestCurve, RangeTestPoint, SweepKind
from anneal.range_test.own_step import (
    Batch,
    LossFunction,
    OwnStepLearner,
    generators_of,
    plain_step,
    to_device_of,
)
from anneal.range_test.processes import Measured, mean_loss, mean_measurement
from anneal.range_test.restore import remember, training_modes
from anneal.schedules import exponential_ramp, linear_ramp
from anneal.training.evaluation import Measurement, measure
from anneal.training.loop import evenly_spread
from anneal.training.scheduled_lr import ScheduledLR

Evaluate = Callable[[], Measured]  # a plain number is a held-out loss, without accuracy


class Stateful(Protocol):
    """Other state that a step changes: a gradient scaler, a scheduler, an average of weights."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Go back to a state."""


class Updates(Protocol):
    """Interface of a learner in a range test; ``anneal.training.loop.Learner`` is one."""

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer whose rates are swept."""

    def update(self, update: int) -> torch.Tensor:
        """Make one update, after ``update`` of them, and return its loss, a detached scalar."""


def run_range_test(
    learner: Updates,
    *,
    schedule: Callable[[int], float],
    total_steps: int,
    points: int,
    evaluate: Evaluate,
    on_point: Callable[[RangeTestPoint], None] = lambda _point: None,
) -> RangeTestCurve:
    """Train once through a ramp of rates and return the measured curve.

    The ramp counts updates: with accumulation, all batches of an update see one rate. Before the
    first update and after each of ``points`` evenly spread ones, ``evaluate`` is called; the
    training loss is read from the device only there.

    A sweep ends early for one reason: a loss that is no finite number, of an update or of a
    measurement. It is no failure, and the curve says where. A loss that merely grows does not end
    it (loss finders stop at four times the best loss), because CLR reads the fall of the accuracy
    after the top, up to the end of the sweep (section 3.3 and figure 3).

    Where ``torch.distributed`` is initialised, all processes must run the test together: losses and
    measurements are means over them, so that all get one curve and end at one update. Each may
    measure its own part of the held-out data.

    Afterwards all is as it was given, bit for bit, also after an exception or Ctrl-C: parameters,
    their gradients, buffers, the optimizer's state, rates and other options, the training mode of
    each module, and the global random streams of Python, NumPy and torch.

    Args:
        learner: makes the updates; ``learner.batches`` decides on which images.
        schedule: updates already made -> rate of the next one, rising: ``linear_ramp`` (CLR's) or
            ``exponential_ramp``.
        total_steps: updates of the sweep, >= ``points``.
        points: measurements after update 0, >= 5.
        evaluate: measures ``learner.model`` on training data that ``learner`` does not see: a
            ``Measurement``, or for a task without an accuracy the loss alone.
        on_point: receives each point as it is measured (for a progress display).

    Returns:
        The curve: a point for the untouched model, at rate 0, and one for each measurement, with
        the rate of the update just made. A model that has no finite loss before its first update,
        as Caffe's batch normalisation without statistics has, is without the point at rate 0.

    Raises:
        ValueError: there are fewer than 5 points or more than updates, or the rates do not rise.
    """
    if points < 5:
        raise ValueError(f"points must be at least 5, got {points}")
    if total_steps < points:
        raise ValueError(f"total_steps must be at least points = {points}, got {total_steps}")
    # An update at rate 0 (the first of CLR's ramp) changes nothing: that point is the one before.
    at = [u for u in evenly_spread(points, total_steps) if schedule(u - 1) != 0]
    rates = [schedule(update - 1) for update in at]
    if not rates or not all(a < b for a, b in itertools.pairwise([0.0, *rates])):
        ends = f"{schedule(0)} to {schedule(total_steps - 1)}"
        raise ValueError(f"schedule must rise over the {total_steps} updates, got {ends}")
    generators = getattr(learner, "generators", ())
    put_back = remember(learner.model, learner.optimizer, generators)

    def evaluate_all() -> Measured:
        return mean_measurement(evaluate(), model=learner.model)

    try:
        measured, num_images, diverged_at = _sweep(learner, schedule, at, evaluate_all, on_point)
    finally:
        put_back()
    return RangeTestCurve(
        points=tuple(measured),
        sweep=_kind_of_sweep(schedule, total_steps),
        diverged_at=diverged_at,
        diverged_lr=None if diverged_at is None else schedule(max(0, diverged_at - 1)),
        num_images=num_images,
    )


def _sweep(
    learner: Updates,
    schedule: Callable[[int], float],
    at: Sequence[int],
    evaluate: Evaluate,
    on_point: Callable[[RangeTestPoint], None],
) -> tuple[list[RangeTestPoint], int | None, int | None]:
    """Make the updates; return the points, the held-out images and the update that diverged."""
    scheduled = ScheduledLR(learner.optimizer, schedule)
    set_modes = training_modes(learner.model)
    start, measured, update = evaluate(), [], 0
    num_images = start.num_images if isinstance(start, Measurement) else None
    if math.isfinite(_loss_of(start)):
        measured.append(_point(0, 0.0, start, None))
        on_point(measured[0])
    for until in at:
        set_modes()  # again after each measurement: a caller's may leave eval mode behind
        losses = []
        while update < until:
            losses.append(learner.update(update))
            scheduled.step()
            update += 1
        numbers = mean_loss(torch.stack(losses)).tolist() if losses else []
        wrong = [i for i, number in enumerate(numbers) if not math.isfinite(number)]
        if wrong:
            return measured, num_images, update - len(numbers) + wrong[0]
        measurement = evaluate()
        if not math.isfinite(_loss_of(measurement)):  # the last update broke the weights
            return measured, num_images, update
        train_loss = math.fsum(numbers) / len(numbers)
        measured.append(_point(update, schedule(update - 1), measurement, train_loss))
        on_point(measured[-1])
    return measured, num_images, None


def _loss_of(measured: Measured) -> float:
    return measured.loss if isinstance(measured, Measurement) else float(measured)


def _point(update: int, lr: float, measured: Measured, train_loss: float | None) -> RangeTestPoint:
    return RangeTestPoint(
        update=update,
        lr=lr,
        accuracy_pct=measured.accuracy_pct if isinstance(measured, Measurement) else None,
        held_out_loss=_loss_of(measured),
        train_loss=train_loss,
    )


def _kind_of_sweep(schedule: Callable[[int], float], total_steps: int) -> SweepKind:
    """Tell whether the rate half-way is nearer to the linear or to the exponential middle."""
    first, middle, last = (schedule(t) for t in (0, (total_steps - 1) // 2, total_steps - 1))
    to_linear = abs(middle - (first + last) / 2)
    return "linear" if to_linear <= abs(middle - math.sqrt(first * last)) else "exponential"


def sweep_rates(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Any],
    held_out: Iterable[Batch] | None = None,
    *,
    first_lr: float,
    last_lr: float,
    total_steps: int,
    points: int = 20,
    sweep: SweepKind = "linear",
    loss_function: LossFunction = functional.cross_entropy,
    step: Callable[[Any], torch.Tensor] | None = None,
    evaluate: Evaluate | None = None,
    stateful: Sequence[Stateful] = (),
) -> RangeTestCurve:
    """Run a range test on a model, an optimizer and two loaders.

    The model, the optimizer and the generators of the loaders come back as they were; see
    :func:`run_range_test`. A layer frozen with ``.eval()`` stays frozen.

    >>> import torch
    >>> from anneal.range_test import smith
    >>> from anneal.range_test.sweep import sweep_rates
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(400, 8)
    >>> y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()
    >>> model = torch.nn.Linear(8, 4)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batches = list(zip(x[:300].split(20), y[:300].split(20)))
    >>> held_out = [(x[300:], y[300:])]
    >>> curve = sweep_rates(model, optimizer, batches, held_out, first_lr=0.0, last_lr=0.4,
    ...                     total_steps=100)
    >>> len(curve.points), curve.points[10].update, round(curve.points[10].lr, 3)
    (21, 50, 0.198)
    >>> curve.points[-1].accuracy_pct > 70 > curve.points[0].accuracy_pct
    True
    >>> optimizer.param_groups[0]["lr"]  # as it was
    0.1
    >>> suggestion = smith(curve)  # base_lr, max_lr or neither, and the reason in words

    A task that is no classification, batches that are no pairs, mixed precision, accumulation or
    an optimizer with a closure: give ``step`` and ``evaluate``.

    >>> def step(batch):
    ...     optimizer.zero_grad()
    ...     loss = (model(batch["x"]) ** 2).mean()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> def evaluate():
    ...     return (model(x[300:]) ** 2).mean().item()
    >>> curve = sweep_rates(model, optimizer, [{"x": x[:300]}], first_lr=0.0, last_lr=0.4,
    ...                     total_steps=50, step=step, evaluate=evaluate)
    >>> curve.points[-1].held_out_loss < curve.points[0].held_out_loss
    True

    Args:
        model: inputs (B, ...) -> logits (B, classes); with ``step`` and ``evaluate``, any.
        optimizer: holds the model's parameters.
        batches: inputs (B, ...) and labels (B,) to train on, or whatever ``step`` takes; started
            again when it ends.
        held_out: inputs and labels of training data that ``batches`` does not have. Never test
            data: what is chosen on it is no longer tested by it. None with ``evaluate``.
        first_lr: rate of the first update; >= 0 for a linear sweep, > 0 for an exponential one.
        last_lr: rate of the last update, > ``first_lr``.
        total_steps: updates of the sweep; CLR used 8 epochs on CIFAR-10.
        points: measurements, evenly spread over the updates.
        sweep: "linear" as CLR (Smith's rule reads it best), or "exponential".
        loss_function: of logits and labels, to train with; the held-out loss is cross entropy.
        step: batch -> loss, a scalar: forward and backward pass and ``optimizer.step()``. A call
            may leave that out, to accumulate gradients or because a gradient scaler skips the
            update: the rate then stays for the next batch. None: a plain step with
            ``loss_function``.
        evaluate: () -> held-out loss as a float, or a ``Measurement`` with an accuracy. None:
            accuracy and cross entropy on ``held_out``. Without an accuracy Smith's rule abstains,
            and the rules of the loss read the curve.
        stateful: other objects that ``step`` changes, such as a ``GradScaler``; restored too.

    Raises:
        ValueError: an argument is out of range, the task has no accuracy and there is no
            ``evaluate``, ``batches`` gives none when it is started again (an iterator that is
            used up, where a list or a loader is needed), or ``step`` makes two updates, never makes
            one or changes a rate.
    """
    if sweep not in ("linear", "exponential"):
        raise ValueError(f"sweep must be linear or exponential, got {sweep!r}")
    if (held_out is None) == (evaluate is None):
        given = "neither" if held_out is None else "both"
        raise ValueError(f"one of held_out and evaluate must be given, got {given}")
    ramp = linear_ramp if sweep == "linear" else exponential_ramp
    schedule = ramp(first_lr=first_lr, last_lr=last_lr, total_steps=total_steps)
    data = () if held_out is None else held_out

    def measure_held_out() -> Measurement:
        return measure(model, (to_device_of(model, batch) for batch in data))

    states = [(one, copy.deepcopy(one.state_dict())) for one in stateful]
    try:
        return run_range_test(
            OwnStepLearner(
                model,
                optimizer,
                batches,
                step=step or plain_step(model, optimizer, loss_function),
                generators=[*generators_of(batches), *generators_of(data)],
            ),
            schedule=schedule,
            total_steps=total_steps,
            points=points,
            evaluate=evaluate or measure_held_out,
        )
    finally:
        for one, state in states:
            one.load_state_dict(state)
