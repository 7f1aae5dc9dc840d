"""One run on 1, 2 and 4 processes: the same losses, statistics and evaluation.

Each number of processes is started once and trains all networks, one thread each, gloo.
"""

import multiprocessing
import tempfile
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
from torch import distributed, nn

from anneal.models.caffe_cifar import CaffeCIFAR
from anneal.models.caffe_resnet import CaffeResNet
from anneal.models.resnet import ResNetCIFAR, StochasticDepthResNet
from anneal.schedules import triangular
from anneal.training.evaluation import measure
from anneal.training.loop import Learner, Training
from anneal.training.optimizers.caffe import CaffeSGD
from anneal.training.parts import Parts
from anneal.training.running_statistics import RunningStatistics
from anneal.training.scheduled_lr import ScheduledLR
from anneal.training.seeding import seed_everything, seed_part

UPDATES, STOP = 50, 25
PARTS, BATCH, TEST_BATCHES = 4, 6, 3  # fewer test batches than the four processes


def alexnet_like():
    """Build convolutions, pooling and two layers with dropout, as AlexNet has."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Dropout(0.5), nn.Linear(256, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 10),
    )  # fmt: skip


NETWORKS = {
    "caffe_net": lambda: CaffeCIFAR(img_size=16),
    "alexnet_like": alexnet_like,
    "resnet8": lambda: ResNetCIFAR(depth=8),
    "stochastic_depth8": lambda: StochasticDepthResNet(depth=8),
    "caffe_bn": lambda: CaffeResNet(depth=8, bias_decay_mult=1, batches_per_update=PARTS),
}
TOGETHER = {"caffe_bn_together": "caffe_bn"}
NETWORKS |= {name: NETWORKS[network] for name, network in TOGETHER.items()}
TOLERANCE = 1e-5  # measured 2.4e-7 in float64, whose loss is float32; float32 multiplies rounding


PEAK_LR = {"caffe_net": 0.001, "alexnet_like": 0.05} | dict.fromkeys(
    ("resnet8", "stochastic_depth8", "caffe_bn", *TOGETHER), 0.002
)


def batch(number, name):
    """Return images whose brightness tells their class, of a size that suits the network."""
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(0, 10, (BATCH,), generator=generator)
    images = torch.randn(BATCH, 3, 8, 8, generator=generator) + labels[:, None, None, None] / 2
    if name == "caffe_net":  # raw pixels, 16 x 16
        images = nn.functional.interpolate(images, 16) * 30
    return images.double(), labels


def build(name, parts):
    seed_everything(1)
    model = NETWORKS[name]().double()
    rule = CaffeSGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=1e-3)
    learner = Learner(
        model=model, optimizer=rule, batches=lambda number: batch(number, name),
        accumulation=PARTS, seed=1, parts=parts, together=name in TOGETHER,
        closed_blocks_coast=getattr(model, "closed_blocks_coast", False),
    )  # fmt: skip
    mine = [batch(10_000 + n, name) for n in range(TEST_BATCHES)][parts.rank :: parts.size]
    return Training(
        learner=learner,
        scheduled=ScheduledLR(
            rule,
            triangular(base_lr=PEAK_LR[name] / 4, max_lr=PEAK_LR[name], half_cycle_steps=25),
        ),
        total_steps=UPDATES,
        log_at=range(1, UPDATES + 1),
        evaluate_at=[STOP, UPDATES],
        evaluate=lambda: measure(model, mine, parts=parts),
    )


def train(name, parts, *, checkpoint=None):
    """Return the records, the state after half of the updates, and the last state."""
    training, records, half = build(name, parts), [], {}
    if checkpoint is not None:
        training.load_state_dict(checkpoint)

    def between(update):
        if update == STOP:
            half.update(torch.load(saved(training), weights_only=True))
        return True

    training.run(record=records.append, between=between)
    return {
        "records": records,
        "half": half,
        "model": training.learner.model.state_dict(),
        "measured": measure_again(training, parts),
    }


def saved(training):
    """Save a state, as a checkpoint does: the tensors of a state go on changing."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    torch.save(training.state_dict(), file)
    file.seek(0)
    return file


def measure_again(training, parts):
    """Measure weights that are the same on any number of processes: those of the start."""
    fresh = build("caffe_net", parts)
    return vars(fresh._evaluate())


def resumed(parts, file):
    """Resume all networks at the middle of the run that a file is of."""
    if file is None:
        return None
    states = torch.load(file, weights_only=True)
    return {name: train(name, parts, checkpoint=states[name]["half"]) for name in NETWORKS}


def rank(folder, rank, size, checkpoints):
    """Train all networks as one rank, and go on from checkpoints of other numbers."""
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / f"store-{size}"), size)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=600)
    )
    parts = Parts(rank=rank, size=size, store=store)
    found = {name: train(name, parts) for name in NETWORKS}
    found["resumed"] = resumed(parts, checkpoints)
    if parts.leads:
        torch.save(found, folder / f"{size}.pt")
    distributed.destroy_process_group()


def start_all(method, target, arguments):
    """Start a process for each tuple of arguments and wait for their end."""
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=target, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(800)
        assert process.exitcode == 0


def four_then_two(folder):
    """Train on four processes and on two, forked from this one: torch is imported once."""
    for size, checkpoints in ((4, None), (2, folder / "4.pt")):
        start_all("fork", rank, [(folder, r, size, checkpoints) for r in range(size)])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what 1, 2 and 4 processes found; the first two resume the checkpoints of four."""
    folder, threads = tmp_path_factory.mktemp("parts"), torch.get_num_threads()
    start_all("spawn", four_then_two, [(folder,)])
    four, two = (torch.load(folder / f"{size}.pt", weights_only=True) for size in (4, 2))
    torch.set_num_threads(1)
    try:
        one = {name: train(name, Parts()) for name in NETWORKS}
        one["resumed"] = resumed(Parts(), folder / "4.pt")
    finally:
        torch.set_num_threads(threads)
    return {1: one, 2: two, 4: four}


def losses(run):
    return [record["loss"] for record in run["records"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [2, 4])
def test_losses_do_not_depend_on_the_number_of_processes(found, name, size):
    one, several = losses(found[1][name]), losses(found[size][name])
    assert len(one) == UPDATES
    assert min(one) < 0.97 * one[0]  # it learns
    difference = max(abs(a - b) for a, b in zip(one, several, strict=True))
    assert difference <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [2, 4])
def test_running_statistics_do_not_depend_on_the_number_of_processes(found, name, size):
    one, several = found[1][name]["half"]["model"], found[size][name]["half"]["model"]
    for key, value in one.items():
        if "running" in key or "sum" in key:
            assert torch.allclose(value, several[key], rtol=1e-5, atol=1e-6), key
        elif "num_batches" in key or "scale" in key:  # counts, also of blocks that were closed
            assert torch.equal(value, several[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_evaluation_sums_are_equal_on_any_number_of_processes(found, size):
    one, several = found[1]["caffe_net"]["measured"], found[size]["caffe_net"]["measured"]
    assert several == one | {"loss": pytest.approx(one["loss"], rel=1e-12)}
    assert one["num_images"] == TEST_BATCHES * BATCH


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [1, 2])
def test_checkpoint_of_four_processes_is_resumed_by_fewer(found, name, size):
    four, resumed = losses(found[4][name])[STOP:], losses(found[size]["resumed"][name])
    assert len(resumed) == UPDATES - STOP
    assert max(abs(a - b) for a, b in zip(four, resumed, strict=True)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_losses_do_not_depend_on_how_parts_are_computed(found, name, size):
    apart, together = losses(found[1][TOGETHER[name]]), losses(found[size][name])
    assert max(abs(a - b) for a, b in zip(apart, together, strict=True)) <= TOLERANCE


# --- by hand, in this process ---------------------------------------------------------------------


def test_parts_that_processes_cannot_share_equally_are_refused():
    with pytest.raises(ValueError, match="must divide the 6 parts of an update, got 4"):
        Parts(size=4).share(6)


def test_draws_of_a_part_depend_on_seed_and_part_alone():
    def drawn(seed, parts):
        learner = replace(build("alexnet_like", Parts()).learner, seed=seed)
        torch.rand(7)  # whatever was drawn before
        seen = []
        learner.model[9].register_forward_hook(lambda *_: seen.append(torch.rand(3)))
        for update in parts:
            learner.update(update)
        return torch.stack(seen)

    assert torch.equal(drawn(1, [0, 1])[PARTS:], drawn(1, [1]))
    assert not torch.equal(drawn(1, [0]), drawn(2, [0]))
    first, second, *_ = drawn(1, [0])
    assert not torch.equal(first, second)


def test_one_part_an_update_draws_from_the_global_generators():
    def drawn(seed):
        training = build("alexnet_like", Parts())
        learner = replace(training.learner, accumulation=1, seed=seed)
        return [learner.update(update).item() for update in range(2)]

    assert drawn(1) == drawn(2)


@pytest.mark.parametrize("name", ["resnet8", "stochastic_depth8", "caffe_bn"])
def test_statistics_added_part_by_part_are_those_of_one_model(name):
    usual, split = (build(name, Parts()).learner for _ in range(2))
    split.model.train()
    usual.update(0)
    statistics = RunningStatistics(split.model)
    with statistics.of_update(Parts()):
        for part in range(PARTS):
            seed_part(1, part)
            with statistics.of_part():
                split.model(batch(part, name)[0])
    for (key, expected), found in zip(
        usual.model.named_buffers(), dict(split.model.named_buffers()).values(), strict=True
    ):
        assert torch.allclose(expected, found, rtol=1e-5, atol=1e-7), key


def test_buffer_that_is_no_statistic_and_changes_is_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += len(x)
            return x

    model = nn.Sequential(Counting())
    statistics = RunningStatistics(model)
    with (
        pytest.raises(ValueError, match=r"the buffer 0\.seen of the network changes"),
        statistics.of_update(Parts()),
        statistics.of_part(),
    ):
        model(torch.ones(2, 1))
