"""The loop: its clock, its record, and going on bit for bit after any stop."""

import copy
import io
import itertools
import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.same_bits import assert_same_bits
from torch import nn

from anneal.config.schema import DatasetConfig
from anneal.datasets.batches import TrainingBatches
from anneal.datasets.image_data import Split
from anneal.datasets.normalise import statistics_of
from anneal.schedules import one_cycle, one_cycle_momentum, triangular2
from anneal.training.evaluation import Measurement, measure
from anneal.training.loop import Learner, Training, evenly_spread
from anneal.training.optimizers.caffe import CaffeSGD
from anneal.training.scheduled_lr import ScheduledLR
from anneal.training.seeding import random_state, restore_random_state, seed_everything

TOTAL = 40
AUGMENTED = DatasetConfig(
    name="noise",
    source="digits",
    dataset_class=None,
    folder=None,
    image_size=None,
    test_fraction=None,
    split_seed=0,
    memory_gib=1.0,
    scale=1.0,
    subtract="channel_mean",
    divide="channel_std",
    crop_padding=2,
    crop_fill="zero",
    mirror=True,
    order="shuffled",
    drop_last=False,
)


def make_split(num_images=70, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (num_images, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (num_images,), generator=generator)
    return Split(images, labels)


def make_training(
    *,
    seed=3,
    precision=torch.float32,
    evaluations=4,
    log_lines=10,
    accumulation=1,
    batch_size=16,
    optimizer="caffe",
    momentum=False,
    compiled=False,
    total=TOTAL,
    measured="test",
):
    """Build a small run with dropout, batch norm and augmentation: everything that has a state."""
    seed_everything(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(512, 3),
    )
    if compiled:
        model.compile()
    split = make_split()
    normalise = statistics_of(split, AUGMENTED)
    batches = TrainingBatches(
        split,
        config=AUGMENTED,
        batch_size=batch_size,
        seed=seed,
        device="cpu",
        normalise=normalise,
    )
    parameters = model.parameters()
    if optimizer == "caffe":
        rule = CaffeSGD(parameters, lr=1.0, momentum=0.9, weight_decay=1e-3)
    else:
        rule = torch.optim.AdamW(parameters, lr=1.0, fused=True)
    learner = Learner(
        model=model,
        optimizer=rule,
        batches=batches,
        precision=precision,
        accumulation=accumulation,
        label_smoothing=0.1,
    )
    schedule = triangular2(base_lr=0.001, max_lr=0.05, half_cycle_steps=7)
    scheduled = ScheduledLR(rule, schedule)
    if momentum:
        scheduled = ScheduledLR(
            rule,
            one_cycle(
                base_lr=0.001, max_lr=0.05, final_lr=0.0001, half_cycle_steps=15, total_steps=total
            ),
            momentum=one_cycle_momentum(
                max_momentum=0.95, min_momentum=0.85, half_cycle_steps=15, total_steps=total
            ),
        )
    images, labels = normalise(split.images), split.labels
    return Training(
        learner=learner,
        scheduled=scheduled,
        total_steps=total,
        log_at=evenly_spread(log_lines, total),
        evaluate_at=evenly_spread(evaluations, total),
        evaluate=lambda: measure(model, [(images, labels)], precision=precision),
        split=measured,
    )


def run_to_the_end(**variant):
    """Build and run at once: dropout draws from the global streams that building has seeded."""
    training, records = make_training(**variant), []
    assert training.run(record=records.append).status == "finished"
    return training, records


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def through_a_file(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


VARIANTS = [
    {},
    {"precision": torch.bfloat16},
    {"accumulation": 2, "batch_size": 8},
    {"optimizer": "adamw"},
    {"momentum": True},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_run_stopped_at_any_update_and_resumed_ends_with_the_same_bits(variant):
    whole, expected = run_to_the_end(**variant)
    for stop in random.Random(0).sample(range(1, TOTAL), 5):
        first, records = make_training(**variant), []
        outcome = first.run(record=records.append, between=lambda u, s=stop: u < s)
        assert (outcome.status, outcome.updates) == ("stopped", stop)
        state = through_a_file(first.state_dict())
        seed_everything(99)  # another process starts with other streams
        second = make_training(**(variant | {"seed": 3}))
        torch.rand(17)  # and has drawn from them
        second.load_state_dict(state)
        assert second.run(record=records.append).status == "finished"
        assert lines(records) == lines(expected)
        assert_same_bits(second.state_dict(), whole.state_dict())


@pytest.mark.slow
def test_compiled_run_resumes_with_the_same_bits():
    whole, expected = run_to_the_end(compiled=True)
    first, records = make_training(compiled=True), []
    first.run(record=records.append, between=lambda u: u < 13)
    state = through_a_file(first.state_dict())
    second = make_training(compiled=True)
    second.load_state_dict(state)
    second.run(record=records.append)
    assert lines(records) == lines(expected)
    assert_same_bits(second.state_dict(), whole.state_dict())


def test_two_runs_of_one_seed_are_the_same_and_of_two_seeds_are_not():
    records = []
    for seed in (3, 3, 4):
        records.append([])
        make_training(seed=seed).run(record=records[-1].append)
    assert lines(records[0]) == lines(records[1])
    assert lines(records[0]) != lines(records[2])


@pytest.mark.parametrize(
    "change", [{"evaluations": 1}, {"log_lines": 40}, {"evaluations": 20, "log_lines": 1}], ids=str
)
def test_logging_and_evaluation_shift_neither_schedule_nor_weights(change):
    plain, plain_records = run_to_the_end()
    other, other_records = run_to_the_end(**change)
    assert_same_bits(plain.learner.model.state_dict(), other.learner.model.state_dict())
    rates = {r["update"]: r["lr"] for r in plain_records}
    for record in other_records:
        assert rates.get(record["update"], record["lr"]) == record["lr"]


def test_accumulation_counts_updates_and_gives_the_mean_gradient():
    one = make_training(accumulation=1, batch_size=14)
    two = make_training(accumulation=2, batch_size=7)
    for training in (one, two):  # without chance, the two are the same mathematics
        for module in training.learner.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    fixed = one.learner.batches

    def halves(index):
        images, labels = fixed(index // 2)
        half = slice(0, 7) if index % 2 == 0 else slice(7, 14)
        return images[half], labels[half]

    two.learner = replace(two.learner, batches=halves)
    for training in (one, two):
        training.learner.model.train = lambda _mode=True: None  # keeps batch norm as it is
    a, b = [], []
    one.run(record=a.append)
    two.run(record=b.append)
    assert [r["lr"] for r in a] == [r["lr"] for r in b]
    for p, q in zip(one.learner.model.parameters(), two.learner.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=2e-3, atol=1e-5)  # measured 4e-4: float32 sums


def test_record_says_the_rate_and_momentum_that_made_the_update():
    training, records = make_training(momentum=True, log_lines=TOTAL), []
    training.run(record=records.append)
    assert [r["update"] for r in records] == list(range(1, TOTAL + 1))
    for record in records:
        made = record["update"] - 1
        assert record["lr"] == training.scheduled.schedule(made)
        assert record["momentum"] == training.scheduled.momentum(made)


def test_split_names_the_measurements_in_the_record():
    _, of_test = run_to_the_end(total=4, evaluations=1)
    _, held_out = run_to_the_end(total=4, evaluations=1, measured="held_out")
    assert {"test_accuracy_pct", "test_loss"} <= of_test[-1].keys()
    renamed = [{k.replace("test_", "held_out_"): v for k, v in line.items()} for line in of_test]
    assert [list(line.items()) for line in held_out] == [list(line.items()) for line in renamed]


def test_loss_of_a_record_is_the_mean_since_the_one_before():
    _, singles = run_to_the_end(log_lines=TOTAL)
    _, means = run_to_the_end(log_lines=10, evaluations=1)
    for record in means:
        last = record["update"]
        expected = np.mean([r["loss"] for r in singles[last - 4 : last]])
        assert record["loss"] == pytest.approx(expected, rel=1e-6)  # float32 sum of four


def test_loss_is_read_from_the_device_only_when_it_is_logged(monkeypatch):
    training = make_training(log_lines=5, evaluations=1)
    reads = []
    real = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(1) or real(self))
    training._evaluate = lambda: Measurement(
        accuracy_pct=50.0, top5_accuracy_pct=None, loss=1.0, num_images=2
    )
    training.run(record=lambda _line: None)
    assert len(reads) == 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_no_number_ends_the_run_as_diverged(bad):
    training, records = make_training(log_lines=TOTAL), []
    real = training.learner.update

    def update(index):
        loss = real(index)
        return loss * bad if index == 20 else loss

    training.learner = copy.copy(training.learner)
    object.__setattr__(training.learner, "update", update)
    outcome = training.run(record=records.append)
    assert (outcome.status, outcome.updates) == ("diverged", 21)
    assert records[-1] == {"update": 21, "lr": training.scheduled.schedule(20), "momentum": 0.9}
    json.dumps(records, allow_nan=False)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_the_last_update_broke_make_the_run_diverged(bad):
    training, records = make_training(), []
    broken = Measurement(accuracy_pct=10.0, top5_accuracy_pct=None, loss=bad, num_images=2)
    real = training._evaluate
    training._evaluate = lambda: broken if training.update == TOTAL else real()
    outcome = training.run(record=records.append)
    assert (outcome.status, outcome.updates) == ("diverged", TOTAL)
    assert "test_loss" not in records[-1]
    json.dumps(records, allow_nan=False)


def test_another_schedule_refuses_the_checkpoint():
    first = make_training()
    first.run(record=lambda _line: None, between=lambda u: u < 5)
    with pytest.raises(ValueError, match="schedule"):
        make_training(momentum=True).load_state_dict(first.state_dict())


def test_random_streams_are_put_back_exactly():
    seed_everything(5)
    torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002
    state = through_a_file(random_state())
    after = torch.rand(5), np.random.rand(5), random.random()  # noqa: NPY002
    seed_everything(6)
    restore_random_state(state)
    again = torch.rand(5), np.random.rand(5), random.random()  # noqa: NPY002
    assert torch.equal(after[0], again[0])
    assert np.array_equal(after[1], again[1])
    assert after[2] == again[2]


@pytest.mark.parametrize(("count", "total"), [(1, 1), (3, 10), (10, 3), (25, 250), (7, 7)])
def test_evenly_spread_updates_rise_and_end_with_the_run(count, total):
    spread = evenly_spread(count, total)
    assert spread[-1] == total
    assert len(spread) == min(count, total)
    assert all(a < b for a, b in itertools.pairwise(spread))
