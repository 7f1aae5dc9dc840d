"""Updates as functions of device tensors: those of the usual loop to the last bit, and captured."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from tests.same_bits import assert_same_bits
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from anneal.config.schema import DatasetConfig
from anneal.datasets.batches import TrainingBatches
from anneal.datasets.gathered import GatheredBatches
from anneal.datasets.image_data import Split
from anneal.datasets.normalise import statistics_of
from anneal.models.caffe_layers import CaffeBatchNorm
from anneal.schedules import one_cycle, one_cycle_momentum
from anneal.training import device_updates
from anneal.training.captured import WARM_UPS, _Capture, captured, draws_of_forward_pass
from anneal.training.evaluation import measure
from anneal.training.loop import Learner, Training, evenly_spread
from anneal.training.optimizers import (
    CaffeAdaDelta,
    CaffeAdaGrad,
    CaffeAdam,
    CaffeNesterov,
    CaffeRMSProp,
    CaffeSGD,
)
from anneal.training.scheduled_lr import ScheduledLR
from anneal.training.seeding import random_state, seed_everything

TOTAL = 30
CONFIG = DatasetConfig(
    name="noise", source="digits", dataset_class=None, folder=None, image_size=None,
    test_fraction=None, split_seed=0, memory_gib=1.0, scale=1.0, subtract="channel_mean",
    divide="channel_std", crop_padding=2, crop_fill="zero", mirror=True, order="shuffled",
    drop_last=False,
)  # fmt: skip
RULES = {
    "caffe_sgd": lambda p: CaffeSGD(p, lr=1.0, momentum=0.9, weight_decay=1e-3),
    "caffe_nesterov": lambda p: CaffeNesterov(p, lr=1.0, momentum=0.9, weight_decay=1e-3),
    "caffe_rmsprop": lambda p: CaffeRMSProp(p, lr=1.0),
    "caffe_adagrad": lambda p: CaffeAdaGrad(p, lr=1.0),
    "caffe_adadelta": lambda p: CaffeAdaDelta(p, lr=1.0, momentum=0.95),
    "caffe_adam": lambda p: CaffeAdam(p, lr=1.0, momentum=0.9),
    "sgd": lambda p: torch.optim.SGD(
        p, lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-3, fused=True
    ),
    "slow_sgd": lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1.0, fused=True),
}  # fmt: skip


def split_of(num_images):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num_images, 1, 8, 8), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 3, (num_images,), generator=generator))


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3),
        CaffeBatchNorm(8), nn.Flatten(), nn.Linear(288, 3),
    )  # fmt: skip


def training_of(
    *, rule="caffe_sgd", device="cpu", gathered=True, accumulation=1, together=False,
    precision=torch.float32, momentum=False, build=network, images=70, total=TOTAL, seed=3,
    log_lines=6,
):  # fmt: skip
    """Return a small run and its batches; 70 images make every fifth batch of 16 a smaller one."""
    seed_everything(seed)
    model = build().to(device)
    split = split_of(images)
    normalise = statistics_of(split, CONFIG)
    kind = GatheredBatches if gathered else TrainingBatches
    batches = kind(
        split, config=CONFIG, batch_size=16, seed=seed, device=device, normalise=normalise
    )
    first, *others = model.parameters()
    optimizer = RULES[rule]([{"params": [first], "lr": 2.0}, {"params": others}])
    learner = Learner(
        model=model, optimizer=optimizer, batches=batches, precision=precision,
        accumulation=accumulation, seed=seed, together=together,
        interleaved=batches.interleaved if gathered else None,
    )  # fmt: skip
    lengths = {"half_cycle_steps": 12, "total_steps": total}
    scheduled = ScheduledLR(
        optimizer,
        one_cycle(base_lr=0.001, max_lr=0.02, final_lr=0.0001, **lengths),
        momentum=one_cycle_momentum(max_momentum=0.95, min_momentum=0.85, **lengths)
        if momentum else None,
    )  # fmt: skip
    test = [(normalise(split.images).to(device), split.labels.to(device))]
    training = Training(
        learner=learner, scheduled=scheduled, total_steps=total,
        log_at=evenly_spread(log_lines, total), evaluate_at=evenly_spread(2, total),
        evaluate=lambda: measure(model, test, precision=precision),
    )  # fmt: skip
    return training, batches


def on_device(training, batches, *, without_graph=True, say=pytest.fail):
    """Return the same run with updates as functions of device tensors."""
    training.learner = captured(
        training.learner, training.scheduled, total_steps=training.total_steps,
        drawn=batches if isinstance(batches, GatheredBatches) else None,
        say=say, without_graph=without_graph,
    )  # fmt: skip
    return training


VARIANTS = [
    *({"rule": rule} for rule in RULES if rule not in ("caffe_adam", "slow_sgd")),
    {"momentum": True},
    {"rule": "caffe_nesterov", "momentum": True, "gathered": False},
    {"rule": "sgd", "precision": torch.bfloat16},
    {"accumulation": 2, "gathered": False},
    {"accumulation": 2, "images": 64, "together": True},
    {"accumulation": 2, "images": 64, "together": True, "gathered": False, "rule": "adamw"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_updates_on_the_device_are_the_usual_ones_to_the_last_bit(variant, monkeypatch):
    monkeypatch.setattr(device_updates, "AHEAD", 7)
    usual, _ = training_of(**variant)
    expected, found = [], []
    assert usual.run(record=expected.append).status == "finished"
    other = on_device(*training_of(**variant))
    assert other.run(record=found.append).status == "finished"
    assert found == expected
    assert_same_bits(usual.state_dict() | {"random": 0}, other.state_dict() | {"random": 0})


@pytest.mark.parametrize("resumed_by", ["usual", "device", "same"])
def test_run_on_the_device_stopped_at_any_update_resumes(resumed_by):
    usual, _ = training_of(rule="adamw")
    expected, found = [], []
    usual.run(record=expected.append)
    first = on_device(*training_of(rule="adamw"))
    assert first.run(record=found.append, between=lambda u: u < 13).status == "stopped"
    second = training_of(rule="adamw")
    second = second[0] if resumed_by == "usual" else on_device(*second)
    if resumed_by == "same":  # its tables, and its optimizer's state, are of other updates
        second.run(record=lambda _: None, between=lambda u: u < 4)
        second.learner._capture._graph = object()  # which knows the tensors of before
    second.load_state_dict(first.state_dict())
    if resumed_by == "same":
        assert second.learner._capture._graph is None
    second.run(record=found.append)
    assert found == expected
    assert_same_bits(usual.state_dict() | {"random": 0}, second.state_dict() | {"random": 0})


class NothingRead(TorchDispatchMode):
    """Fail where an operation reads a tensor on the host, or makes one of host values."""

    forbidden = ("_local_scalar_dense", "nonzero", "is_nonzero", "lift_fresh", "equal", "item",
                 "masked_select", "unique")  # fmt: skip

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        name = operation._schema.name.removeprefix("aten::")
        assert name not in self.forbidden, operation
        self.seen.add(name)
        return operation(*arguments, **(keywords or {}))


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"rule": "caffe_nesterov", "momentum": True},
        {"rule": "adamw"},
        {"rule": "caffe_adadelta"},
        {"accumulation": 2},
        {"accumulation": 2, "together": True},
    ],
    ids=str,
)
def test_update_on_the_device_reads_nothing_on_the_host(variant):
    training, batches = training_of(images=64, **variant)
    updates = device_updates.DeviceUpdates(
        training.learner, training.scheduled, total_steps=TOTAL, drawn=batches
    )
    training.learner.model.train()
    for update in range(3):  # what is made once
        assert updates.load(update)
        updates.make()
    assert updates.load(3)
    seed_everything(99)
    state = random_state()
    with NothingRead() as watched:
        updates.make()
    assert_same_bits(state, random_state())  # a generator must not be seeded in a capture
    assert {"convolution_backward", "index_select"} <= watched.seen


def test_same_operations_make_each_update():
    """A graph replays one list of operations: it must not depend on the number of the update."""

    class Listed(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
            numbers = [a for a in arguments if isinstance(a, int | float)]
            listed.append((str(operation), tuple(numbers), tuple((keywords or {}).items())))
            return operation(*arguments, **(keywords or {}))

    training, batches = training_of(images=64, accumulation=2, momentum=True, together=True)
    updates = device_updates.DeviceUpdates(
        training.learner, training.scheduled, total_steps=TOTAL, drawn=batches
    )
    training.learner.model.train()
    lists = []
    for update in range(5):
        updates.load(update)
        listed = []
        with Listed():
            updates.make()
        lists.append(listed)
        training.scheduled.step()
    assert lists[3] == lists[4]


def dropping():
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 3))


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        ({"build": dropping}, "the network draws random numbers on the host"),
        ({"rule": "caffe_adam"}, "CaffeAdam counts updates on the host"),
        ({"rule": "slow_sgd"}, "SGD reads its rate on the host"),
        (
            {"rule": "adamw", "momentum": True},
            "AdamW reads its momentum, which has a schedule, on the host",
        ),
    ],
    ids=["dropout", "caffe_adam", "slow_sgd", "adamw with momentum"],
)
def test_what_cannot_be_captured_runs_eager_and_says_so_once(variant, reason):
    usual, _ = training_of(**variant)
    expected, found, said = [], [], []
    usual.run(record=expected.append)
    other = on_device(*training_of(**variant), say=said.append)
    other.run(record=found.append)
    assert said == [f"hardware.capture: updates are not captured: {reason}"]
    assert found == expected
    assert_same_bits(usual.state_dict(), other.state_dict())
    assert other.learner.replayed == 0


def test_processor_runs_eager_and_says_so():
    said = []
    training = on_device(*training_of(), without_graph=False, say=said.append)
    training.run(record=lambda _: None, between=lambda u: u < 2)
    assert said == ["hardware.capture: updates are not captured: the device is cpu"]


def test_looking_for_draws_leaves_no_trace():
    training, _ = training_of(build=lambda: nn.Sequential(*network(), nn.Dropout(0.1)))
    before = [buffer.clone() for buffer in training.learner.model.buffers()]
    state = random_state()
    assert draws_of_forward_pass(training.learner, 0) == {"torch"}
    assert_same_bits(before, list(training.learner.model.buffers()))
    assert_same_bits(state, random_state())


class ImitatedGraph:
    """A graph without a card: what was captured is computed at each replay, and not before."""

    capturing = None

    def replay(self):
        self.loss.copy_(self.make())


@pytest.fixture
def imitated(monkeypatch):
    """Put imitations in place of CUDA's streams and graphs; the list has the streams set."""
    make, streams = device_updates.DeviceUpdates.make, []
    stream = SimpleNamespace(wait_stream=lambda _other: None)

    def make_or_capture(self):
        if ImitatedGraph.capturing is None:
            return make(self)
        graph = ImitatedGraph.capturing
        graph.make, graph.loss = lambda: make(self), torch.zeros(())
        return graph.loss

    @contextlib.contextmanager
    def graph(one, *, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        ImitatedGraph.capturing = one
        try:
            yield
        finally:
            ImitatedGraph.capturing = None

    monkeypatch.setattr(device_updates.DeviceUpdates, "make", make_or_capture)
    monkeypatch.setattr(_Capture, "_obstacle", lambda *_: None)
    for name, imitation in {
        "CUDAGraph": ImitatedGraph, "graph": graph, "Stream": lambda: stream,
        "current_stream": lambda: stream, "stream": contextlib.nullcontext,
        "set_stream": streams.append,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, imitation)
    return streams


@pytest.mark.usefixtures("imitated")
def test_warm_ups_and_replays_make_each_update_once():
    usual, _ = training_of()
    expected, found = [], []
    usual.run(record=expected.append)
    other = on_device(*training_of(), without_graph=False)
    other.run(record=found.append)
    assert other.learner.replayed == TOTAL - TOTAL // 5 - WARM_UPS  # each fifth batch is smaller
    assert found == expected
    assert_same_bits(usual.state_dict() | {"random": 0}, other.state_dict() | {"random": 0})


@pytest.mark.usefixtures("imitated")
@pytest.mark.parametrize(
    ("variant", "whole"), [({}, 20), ({"gathered": True}, 20), ({"accumulation": 2}, 16)], ids=str
)
def test_run_resumed_at_a_partial_batch_is_captured(variant, whole):
    variant = {"gathered": False} | variant
    stop = 4 // variant.get("accumulation", 1)  # each fifth batch is smaller
    usual, _ = training_of(**variant)
    expected, found = [], []
    usual.run(record=expected.append)
    first, _ = training_of(**variant)
    first.run(record=found.append, between=lambda u: u < stop)
    second = on_device(*training_of(**variant), without_graph=False)
    second.load_state_dict(first.state_dict())
    second.run(record=found.append)
    assert second.learner.replayed == whole - WARM_UPS
    assert found == expected


def test_capture_that_fails_leaves_the_run_as_it_was(imitated, monkeypatch):
    def refused(graph):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    usual, _ = training_of()
    expected, found, said = [], [], []
    usual.run(record=expected.append)
    make = device_updates.DeviceUpdates.make
    monkeypatch.setattr(
        device_updates.DeviceUpdates, "make",
        lambda self: make(self) if ImitatedGraph.capturing is None else refused(self),
    )  # fmt: skip
    other = on_device(*training_of(), without_graph=False, say=said.append)
    other.run(record=found.append)
    assert said == [
        "hardware.capture: updates are not captured: "
        "operation not permitted when stream is capturing"
    ]
    assert len(imitated) == 1  # the stream of before is set again
    assert other.learner.replayed == 0
    assert found == expected


# --- on a card ------------------------------------------------------------------------------------


def on_cuda(graph=None, **variant):
    """Return a run on CUDA, its records and weights; graph None: the usual updates."""
    torch.backends.cudnn.deterministic = True
    training, batches = training_of(device="cuda", images=70, **variant)
    if graph is not None:
        on_device(training, batches, without_graph=not graph)
    records = []
    assert training.run(record=records.append).status == "finished"
    return training, records


@pytest.mark.gpu
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_graph_computes_what_its_operations_do_to_the_last_bit(variant):
    variant = {key: value for key, value in variant.items() if key != "images"}
    if variant.get("together"):
        variant["accumulation"] = 1  # 70 images leave a partial batch
    expected, expected_records = on_cuda(graph=False, **variant)
    found, records = on_cuda(graph=True, **variant)
    assert found.learner.replayed > TOTAL // 2
    assert records == expected_records
    assert_same_bits(expected.state_dict() | {"random": 0}, found.state_dict() | {"random": 0})


@pytest.mark.gpu
@pytest.mark.parametrize(
    "variant",
    [
        {}, {"momentum": True}, {"rule": "caffe_nesterov", "momentum": True},
        {"rule": "caffe_adadelta"}, {"gathered": False}, {"precision": torch.bfloat16},
        {"accumulation": 2},
    ],
    ids=str,
)  # fmt: skip
def test_captured_updates_are_the_usual_ones_on_cuda_to_the_last_bit(variant):
    usual, expected = on_cuda(**variant)
    found, records = on_cuda(graph=True, **variant)
    assert records == expected
    assert_same_bits(usual.state_dict() | {"random": 0}, found.state_dict() | {"random": 0})


@pytest.mark.gpu
@pytest.mark.parametrize("rule", ["sgd", "adamw", "caffe_rmsprop", "caffe_adagrad"])
def test_rules_that_round_a_rate_otherwise_on_cuda_differ_in_last_digits(rule):
    (usual, _), (found, _) = on_cuda(rule=rule), on_cuda(graph=True, rule=rule)
    for one, other in zip(
        usual.learner.model.parameters(), found.learner.model.parameters(), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_replays_wait_for_nothing_and_take_no_more_memory():
    training, batches = training_of(device="cuda", images=64, total=300, log_lines=1)
    on_device(training, batches, without_graph=False)
    memory = []

    def between(update):
        if update == 10:
            torch.cuda.set_sync_debug_mode("error")  # whatever waits for the device raises
        if update in (20, 120):
            memory.append(torch.cuda.memory_allocated())
        if update == 120:
            torch.cuda.set_sync_debug_mode("default")
        return update < 120

    try:
        training.run(record=lambda _: None, between=between)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert training.learner.replayed == 117
    assert memory[0] == memory[1]


@pytest.mark.gpu
def test_run_on_cuda_resumed_from_a_checkpoint_is_captured_again():
    _, expected = on_cuda(graph=True)
    found = []
    first = on_device(*training_of(device="cuda"), without_graph=False)
    first.run(record=found.append, between=lambda u: u < 13)
    first.load_state_dict(first.state_dict())  # its graph knows the tensors of before
    first.run(record=found.append, between=lambda u: u < 21)
    second = on_device(*training_of(device="cuda"), without_graph=False)
    second.load_state_dict(first.state_dict())
    second.run(record=found.append)
    assert second.learner.replayed > 0
    assert found == expected


@pytest.mark.gpu
def test_network_that_reads_its_outputs_runs_eager_on_cuda():
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            outputs = self.net(x)
            return outputs if outputs.sum().item() > -1e9 else -outputs

    _, expected = on_cuda(build=Reading)
    said, found = [], []
    training = on_device(
        *training_of(device="cuda", build=Reading), without_graph=False, say=said.append
    )
    training.run(record=found.append)
    assert len(said) == 1
    assert said[0].startswith("hardware.capture: updates are not captured: ")
    assert found == expected
