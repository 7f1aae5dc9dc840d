"""One sweep of the rate: what it measures, and that nothing of it stays behind."""

import copy
import dataclasses
import random
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from anneal.range_test import smith, suggest
from anneal.range_test.sweep import run_range_test, sweep_rates
from anneal.schedules import constant, exponential_ramp, linear_ramp
from anneal.training.evaluation import Measurement, measure
from anneal.training.loop import Learner
from anneal.training.scheduled_lr import ScheduledLR
from anneal.training.seeding import seed_everything

CLASSES, FEATURES = 4, 8


def small_net():
    seed_everything(0)
    return nn.Sequential(
        nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, CLASSES)
    )


def images(seed, count=20):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return inputs, (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()


def batches_with_noise(number):
    """Give a batch whose augmentation draws from every global generator, as a user's may."""
    inputs, labels = images(number)
    shift = random.random() + np.random.rand()  # noqa: NPY002 - that is the point
    return inputs + 0.01 * shift * torch.randn_like(inputs), labels


OPTIMIZERS = {
    "sgd with momentum": lambda net: torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9),
    "adam": lambda net: torch.optim.Adam(net.parameters(), lr=0.002),
    "adam with a rate on the device": lambda net: torch.optim.Adam(
        net.parameters(), lr=torch.tensor(0.002), capturable=False, foreach=False
    ),
    "two groups": lambda net: torch.optim.SGD(
        [{"params": net[0].parameters()}, {"params": net[3].parameters(), "lr": 0.02}],
        lr=0.01,
        momentum=0.9,
    ),
}


def learner_in_the_middle_of_training(optimizer="sgd with momentum", **more):
    net = small_net()
    learner = Learner(
        model=net, optimizer=OPTIMIZERS[optimizer](net), batches=batches_with_noise, **more
    )
    net.train()
    for update in range(5):
        learner.update(update)
    net[1].eval()  # a frozen layer among trained ones
    return learner


def everything(learner):
    """Return all that a range test must leave alone, to be compared bit for bit."""
    model, optimizer = learner.model, learner.optimizer
    return copy.deepcopy(
        {
            "model": {k: v.numpy().tobytes() for k, v in model.state_dict().items()},
            "gradients": [None if p.grad is None else p.grad.numpy() for p in model.parameters()],
            "modes": [module.training for module in model.modules()],
            "optimizer": optimizer.state_dict(),
            "torch": torch.get_rng_state().numpy().tobytes(),
            "numpy": str(np.random.get_state()),  # noqa: NPY002 - the global one is the question
            "python": random.getstate(),
        }
    )


def assert_same(before, after):
    assert repr(before) == repr(after)
    for key in before["optimizer"]["state"]:
        for name, value in before["optimizer"]["state"][key].items():
            assert torch.equal(torch.as_tensor(value), after["optimizer"]["state"][key][name])


def held_out(learner, precision=torch.float32):
    batch = images(10_000, 200)
    return lambda: measure(learner.model, [batch], precision=precision)


def swept(learner, *, total_steps=40, points=10, last_lr=0.4, evaluate=None, **more):
    return run_range_test(
        learner,
        schedule=linear_ramp(first_lr=0.0, last_lr=last_lr, total_steps=total_steps),
        total_steps=total_steps,
        points=points,
        evaluate=evaluate or held_out(learner),
        **more,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_everything_is_as_it_was(optimizer):
    learner = learner_in_the_middle_of_training(optimizer)
    before = everything(learner)
    curve = swept(learner)
    assert len(curve.points) == 11
    assert_same(before, everything(learner))


def test_training_after_range_test_equals_training_without():
    plain = learner_in_the_middle_of_training()
    expected = [plain.update(update).item() for update in range(5, 12)]
    tested = learner_in_the_middle_of_training()
    swept(tested)
    assert [tested.update(update).item() for update in range(5, 12)] == expected


def test_optimizer_that_was_never_used_is_left_empty():
    net = small_net()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.002)
    learner = Learner(model=net, optimizer=optimizer, batches=batches_with_noise)
    swept(learner)
    assert len(optimizer.state) == 0
    assert optimizer.param_groups[0]["lr"] == 0.002
    assert all(p.grad is None for p in net.parameters())


def test_schedule_can_be_put_on_the_optimizer_before_and_after():
    learner = learner_in_the_middle_of_training("two groups")
    rates = ScheduledLR(learner.optimizer, constant(lr=0.3))
    swept(learner)
    assert rates.last_lr == [0.3, 0.6]
    rates.step()
    assert rates.last_lr == [0.3, 0.6]


def test_tensors_stay_the_same_objects():
    learner = learner_in_the_middle_of_training()
    held = [state["momentum_buffer"] for state in learner.optimizer.state.values()]
    gradients = [p.grad for p in learner.model.parameters()]
    swept(learner)
    after = [state["momentum_buffer"] for state in learner.optimizer.state.values()]
    assert all(a is b for a, b in zip(held, after, strict=True))
    assert all(a is p.grad for a, p in zip(gradients, learner.model.parameters(), strict=True))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["batches", "evaluate", "on_point"])
def test_everything_is_as_it_was_after_an_exception_too(error, where):
    learner = learner_in_the_middle_of_training()
    calls = iter(range(100))

    def fail_at_the_fourth(*_arguments):
        if next(calls) == 3:
            raise error
        return batches_with_noise(0) if where == "batches" else held_out(learner)()

    arguments = {"learner": learner}
    if where == "batches":
        arguments["learner"] = dataclasses.replace(learner, batches=fail_at_the_fourth)
    else:
        arguments[where] = fail_at_the_fourth
    before = everything(learner)
    with pytest.raises(error):
        swept(**arguments)
    assert_same(before, everything(learner))


# What is measured


@dataclass
class Recorder:
    """A learner that makes no update but writes down the rate of each."""

    losses: dict = field(default_factory=dict)

    def __post_init__(self):
        self.model = nn.Linear(2, 2)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.rates, self.modes = [], []

    def update(self, update):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        self.modes.append(self.model.training)
        return torch.tensor(self.losses.get(update, float(update)))


def nothing_learned(loss=1.0):
    return Measurement(accuracy_pct=50.0, top5_accuracy_pct=None, loss=loss, num_images=80)


def test_first_update_has_the_first_rate_and_the_last_one_the_last():
    learner = Recorder()
    curve = swept(learner, total_steps=21, points=7, last_lr=0.2, evaluate=nothing_learned)
    assert learner.rates == pytest.approx([0.01 * i for i in range(21)])
    assert [p.update for p in curve.points] == [0, 3, 6, 9, 12, 15, 18, 21]
    assert [p.lr for p in curve.points[1:]] == [
        learner.rates[p.update - 1] for p in curve.points[1:]
    ]
    assert curve.points[0].lr == 0.0


def test_training_loss_is_the_mean_since_the_point_before():
    curve = swept(Recorder(), total_steps=21, points=7, evaluate=nothing_learned)
    assert [p.train_loss for p in curve.points] == [None, 1.0, 4.0, 7.0, 10.0, 13.0, 16.0, 19.0]


def test_point_after_an_update_at_rate_zero_is_left_out():
    curve = swept(Recorder(), total_steps=10, points=10, evaluate=nothing_learned)
    assert [p.update for p in curve.points] == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert curve.points[1].train_loss == 0.5  # of updates 0 and 1


def test_evaluation_that_leaves_eval_mode_does_not_change_training():
    learner = Recorder()

    def careless():
        learner.model.eval()
        return nothing_learned()

    learner.model.eval()
    swept(learner, evaluate=careless)
    assert all(learner.modes)
    assert not learner.model.training  # as it was given


def test_points_are_reported_as_they_are_measured():
    seen = []
    curve = swept(Recorder(), evaluate=nothing_learned, on_point=seen.append)
    assert tuple(seen) == curve.points


@pytest.mark.parametrize("steps", [10, 11, 200])
def test_kind_of_sweep_is_told_from_the_rates(steps):
    def kind(schedule):
        return run_range_test(
            Recorder(), schedule=schedule, total_steps=steps, points=5, evaluate=nothing_learned
        ).sweep

    assert kind(linear_ramp(first_lr=0.0, last_lr=1.0, total_steps=steps)) == "linear"
    assert kind(linear_ramp(first_lr=0.001, last_lr=0.065, total_steps=steps)) == "linear"
    assert kind(exponential_ramp(first_lr=1e-5, last_lr=1.0, total_steps=steps)) == "exponential"
    assert kind(exponential_ramp(first_lr=0.01, last_lr=0.1, total_steps=steps)) == "exponential"


def test_ramp_counts_updates_and_not_batches():
    """A named bug of others: the rate moved with every micro-batch."""
    seen = []

    def batches(number):
        seen.append(number)
        return images(number // 2)  # both halves of an update are the same images

    def curve(accumulation):
        net = small_net()
        learner = Learner(
            model=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            batches=batches if accumulation == 2 else images,
            accumulation=accumulation,
        )
        net[1].momentum, net[2].p = 0.0, 0.0  # statistics and dropout would see each batch
        return swept(learner, total_steps=20, points=5)

    once, twice = curve(1), curve(2)
    assert seen == list(range(40))
    assert [p.lr for p in once.points] == [p.lr for p in twice.points]
    for a, b in zip(once.points[1:], twice.points[1:], strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-5)  # measured: 2e-7


def test_bf16_autocast_sweeps_too():
    net = small_net()
    learner = Learner(
        model=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9),
        batches=images,
        precision=torch.bfloat16,
    )
    curve = swept(learner, total_steps=100, evaluate=held_out(learner, torch.bfloat16))
    assert curve.points[-1].accuracy_pct > curve.points[0].accuracy_pct + 20
    assert net[0].weight.dtype == torch.float32


# Divergence


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_the_sweep_and_says_at_which_update(loss):
    learner = Recorder(losses={13: loss})
    curve = swept(learner, total_steps=20, points=5, evaluate=nothing_learned)
    assert [p.update for p in curve.points] == [0, 4, 8, 12]
    assert curve.diverged_at == 13
    assert curve.diverged_lr == learner.rates[12]  # of the update that broke the weights


def test_measurement_that_is_no_number_ends_it_too():
    losses = iter([1.0, 1.0, float("nan")])
    curve = swept(
        Recorder(),
        total_steps=20,
        points=5,
        evaluate=lambda: nothing_learned(next(losses)),
    )
    assert [p.update for p in curve.points] == [0, 4]
    assert curve.diverged_at == 8


def test_sweep_skips_first_point_of_model_that_needs_an_update():
    """Caffe's batch normalisation divides by no statistics until the first training batch."""
    losses = iter([float("inf"), *[1.0] * 5])
    curve = swept(
        Recorder(), total_steps=20, points=5, evaluate=lambda: nothing_learned(next(losses))
    )
    assert [p.update for p in curve.points] == [4, 8, 12, 16, 20]
    assert curve.diverged_at is None


def test_model_that_is_broken_from_the_start_ends_it_at_its_first_update():
    learner = Recorder(losses=dict.fromkeys(range(20), float("nan")))
    curve = swept(learner, total_steps=20, points=5, evaluate=lambda: nothing_learned(float("nan")))
    assert (curve.points, curve.diverged_at) == ((), 0)


def test_loss_that_only_grows_does_not_end_it():
    learner = Recorder(losses=dict.fromkeys(range(5, 20), 1e30))
    curve = swept(learner, total_steps=20, points=5, evaluate=nothing_learned)
    assert curve.diverged_at is None
    assert len(curve.points) == 6


def test_everything_is_as_it_was_after_a_real_divergence():
    learner = learner_in_the_middle_of_training()
    before = everything(learner)
    curve = swept(learner, last_lr=1e30)
    assert curve.diverged_at is not None
    assert not smith(curve).found
    assert_same(before, everything(learner))


# Bad input


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"points": 4}, "points must be at least 5, got 4"),
        ({"total_steps": 9}, "total_steps must be at least points = 10, got 9"),
        ({"last_lr": 0.0}, "schedule must rise"),
    ],
)
def test_what_is_no_sweep_is_refused(more, message):
    with pytest.raises(ValueError, match=message):
        swept(Recorder(), evaluate=nothing_learned, **more)


def test_used_up_iterator_is_refused():
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    batches = (images(i) for i in range(7))
    with pytest.raises(ValueError, match="none after 7 updates"):
        sweep_rates(
            net, optimizer, batches, [images(99)], first_lr=0.0, last_lr=0.1, total_steps=20
        )


# The real thing


def test_smith_reads_a_range_test_on_handwritten_digits():
    pixels, labels = load_digits(return_X_y=True)
    images_B = torch.tensor(pixels / 16, dtype=torch.float32)
    labels_B = torch.tensor(labels)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    order = torch.randperm(1500)
    curve = sweep_rates(
        net,
        optimizer,
        list(zip(images_B[order].split(50), labels_B[order].split(50), strict=True)),
        [(images_B[1500:], labels_B[1500:])],
        first_lr=0.0,
        last_lr=3.0,
        total_steps=300,
        points=30,
    )
    accuracies = [p.accuracy_pct for p in curve.points]
    assert curve.num_images == 297
    assert accuracies[0] < 25
    assert max(accuracies) > 80
    assert accuracies[-1] < max(accuracies) - 20  # it breaks down within the sweep
    found = smith(curve)
    assert found.found, found.reason
    assert 0 < found.base_lr < found.max_lr < 1.5


# Any task


def numbers(seed=0, count=200):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return inputs, inputs[:, :1] * 2 + 1


SWEEP = {"first_lr": 0.0, "last_lr": 0.4, "total_steps": 20, "points": 10}


@pytest.mark.parametrize(
    ("net", "labels"),
    [
        (nn.Conv2d(1, 4, 1), lambda x: (x[:, 0] > 0).long()),  # segmentation: (B, C, H, W)
        (nn.Flatten(), lambda x: torch.rand(len(x), 36)),  # soft labels
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 1)), lambda x: x[:, 0, 0, 0]),  # regression
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 1)), lambda x: (x[:, 0, 0, 0] > 0).long()),
    ],
)
def test_task_without_an_accuracy_is_refused_unless_it_is_evaluated(net, labels):
    net.extra = nn.Parameter(torch.zeros(1))  # nn.Flatten alone has no parameters
    inputs = torch.randn(8, 1, 6, 6)
    batch = (inputs, labels(inputs))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^accuracy needs logits \(B, classes\) .*`evaluate`"):
        sweep_rates(net, optimizer, [batch], [batch], **SWEEP)


def test_regression_is_swept_with_its_own_loss_and_read_from_it():
    inputs, targets = numbers()
    seed_everything(0)
    net = nn.Linear(FEATURES, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    curve = sweep_rates(
        net,
        optimizer,
        list(zip(inputs[:160].split(20), targets[:160].split(20), strict=True)),
        loss_function=nn.functional.mse_loss,
        evaluate=lambda: nn.functional.mse_loss(net(inputs[160:]), targets[160:]).item(),
        **SWEEP,
    )
    assert {point.accuracy_pct for point in curve.points} == {None}
    assert curve.points[-1].held_out_loss < curve.points[0].held_out_loss
    assert "no accuracy" in smith(curve).reason
    assert suggest(curve).keys() == {"smith", "minimum", "steepest", "valley"}


def test_step_of_ones_own_may_take_any_batch_and_any_optimizer():
    inputs, targets = numbers()
    net = nn.Linear(FEATURES, 1)
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1, max_iter=2)
    applied = []

    def step(batch):
        def closure():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(batch["inputs"]), batch["targets"])
            loss.backward()
            return loss

        applied.append(optimizer.param_groups[0]["lr"])
        return optimizer.step(closure)

    curve = sweep_rates(
        net,
        optimizer,
        [{"inputs": inputs, "targets": targets}],
        step=step,
        evaluate=lambda: nn.functional.mse_loss(net(inputs), targets).item(),
        **SWEEP,
    )
    assert [point.lr for point in curve.points[1:]] == [
        applied[point.update - 1] for point in curve.points[1:]
    ]


@pytest.mark.parametrize("given", [{}, {"held_out": [numbers()], "evaluate": lambda: 1.0}])
def test_one_of_held_out_and_evaluate_must_be_given(given):
    net = nn.Linear(FEATURES, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^one of held_out and evaluate must be given, got "):
        sweep_rates(net, optimizer, [numbers()], **given, **SWEEP)


def test_batch_that_is_no_pair_is_refused_with_the_way_out():
    net = nn.Linear(FEATURES, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"pair of inputs and labels, got dict; .*`step`"):
        sweep_rates(net, optimizer, [{"x": 1}], evaluate=lambda: 1.0, **SWEEP)


@pytest.mark.parametrize("returned", [None, 3.0, torch.zeros(2)])
def test_step_that_returns_no_loss_is_refused(returned):
    net = nn.Linear(FEATURES, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"^step must return its loss as a tensor of one number"):
        sweep_rates(net, optimizer, [0], step=lambda _: returned, evaluate=lambda: 1.0, **SWEEP)


def test_frozen_batch_norm_stays_frozen():
    net = small_net()
    net.train()
    net[1].eval()
    seen = set()
    net[1].register_forward_hook(lambda module, *_: seen.add((net.training, module.training)))
    statistics = net[1].running_mean.clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    sweep_rates(net, optimizer, [images(0)], [images(1)], **SWEEP)
    assert seen == {(True, False), (False, False)}
    assert (net.training, net[1].training) == (True, False)
    assert torch.equal(net[1].running_mean, statistics)


@pytest.mark.parametrize("scheduler", [
    lambda o: torch.optim.lr_scheduler.LinearLR(o, start_factor=1 / 3),
    lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=100),
])  # fmt: skip
def test_attached_scheduler_does_not_bend_the_axis(scheduler):
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler(optimizer)
    applied = []
    optimizer.register_step_pre_hook(lambda o, *_: applied.append(o.param_groups[0]["lr"]))
    curve = sweep_rates(net, optimizer, [images(0)], [images(1)], **SWEEP)
    assert [point.lr for point in curve.points[1:]] == [
        applied[point.update - 1] for point in curve.points[1:]
    ]


def test_random_streams_of_the_loaders_are_put_back():
    data = torch.utils.data.TensorDataset(*images(0, 60))
    streams = [torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)]
    loader = torch.utils.data.DataLoader(data, batch_size=20, shuffle=True, generator=streams[0])
    sampler = torch.utils.data.RandomSampler(data, generator=streams[1])
    held_out_loader = torch.utils.data.DataLoader(data, batch_size=20, sampler=sampler)
    before = [stream.get_state() for stream in streams]
    net = small_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    sweep_rates(net, optimizer, loader, held_out_loader, **SWEEP)
    assert all(
        torch.equal(stream.get_state(), state)
        for stream, state in zip(streams, before, strict=True)
    )
