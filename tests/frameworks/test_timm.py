"""ScheduledLR in the training loop of timm."""

from typing import Any

import pytest
import torch

pytestmark = pytest.mark.frameworks


def train(model: Any, names: Any, loader: Any, *, updates: range, accumulation: int = 2) -> None:
    """Train as timm's ``train.py``, which tells the scheduler how many updates were made."""
    optimizer, lr_scheduler = names["optimizer"], names["lr_scheduler"]
    num_updates = updates.start
    lr_scheduler.step_update(num_updates)  # as on a resume
    batches = list(loader)[: accumulation * (len(loader) // accumulation)]
    while num_updates < updates.stop:
        first = num_updates * accumulation % len(batches)
        optimizer.zero_grad()
        for inputs, labels in batches[first : first + accumulation]:
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            (loss / accumulation).backward()
        optimizer.step()
        num_updates += 1
        lr_scheduler.step_update(num_updates=num_updates, metric=loss.item())
        if num_updates * accumulation % len(batches) == 0:
            lr_scheduler.step(num_updates * accumulation // len(batches), loss.item())


def small_resnet() -> Any:
    import timm

    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=4)


@pytest.fixture
def images() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(16, 3, 32, 32, generator=generator)
    return [(batch, batch.mean((1, 2, 3)).argsort()) for batch in inputs.split(4)]


def test_rate_of_each_group_is_the_schedules_times_its_layer_decay(
    page: Any, images: Any, applied: Any
) -> None:
    model = small_resnet()
    names = page("timm's training loop", model=model)
    scales = [group["lr_scale"] for group in names["optimizer"].param_groups]
    assert len(set(scales)) > 2
    train(model, names, images, updates=range(12))
    for update, rates in enumerate(applied):
        assert rates == pytest.approx([names["schedule"](update) * scale for scale in scales])
    assert len(applied) == 12


def test_resumed_run_is_the_one_without_a_stop(
    page: Any, images: Any, applied: Any, state_of: Any
) -> None:
    straight = small_resnet()
    train(straight, page("timm's training loop", model=straight), images, updates=range(12))
    expected = applied.copy()
    applied.clear()
    stopped = small_resnet()
    names = page("timm's training loop", model=stopped)
    train(stopped, names, images, updates=range(5))
    resumed = small_resnet()
    resumed.load_state_dict(stopped.state_dict())
    again = page("timm's training loop", model=resumed)
    again["optimizer"].load_state_dict(names["optimizer"].state_dict())
    train(resumed, again, images, updates=range(5, 12))
    assert applied == expected
    assert state_of(resumed) == state_of(straight)
