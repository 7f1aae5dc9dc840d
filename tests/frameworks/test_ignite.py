"""ScheduledLR in Ignite."""

from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.frameworks


def test_rate_of_each_update_is_the_schedules(
    page: Any, net: Any, loader: Any, applied: Any
) -> None:
    names = page("Ignite", model=net(), loader=loader)
    assert applied == [[names["schedule"](update)] for update in range(36)]


def test_resumed_run_is_the_one_without_a_stop(
    page: Any, net: Any, loader: Any, applied: Any, state_of: Any, tmp_path: Path
) -> None:
    from ignite.engine import Events
    from ignite.handlers import Checkpoint, DiskSaver

    def saved(names: Any) -> Any:
        return {key: names[key] for key in ("trainer", "model", "optimizer", "scheduler")}

    straight = page("Ignite", model=net(), loader=loader)
    expected = applied.copy()
    applied.clear()
    stopped = page("Ignite", model=net(), until="trainer.run")
    saver = Checkpoint(saved(stopped), DiskSaver(tmp_path), filename_pattern="stopped.pt")
    stopped["trainer"].add_event_handler(Events.EPOCH_COMPLETED(once=2), saver)
    stopped["trainer"].add_event_handler(
        Events.EPOCH_COMPLETED(once=2), stopped["trainer"].terminate
    )
    stopped["trainer"].run(loader, max_epochs=3)
    resumed = page("Ignite", model=net(), until="trainer.run")
    Checkpoint.load_objects(saved(resumed), torch.load(tmp_path / "stopped.pt", weights_only=True))
    resumed["trainer"].run(loader)
    assert applied == expected
    assert state_of(resumed["model"]) == state_of(straight["model"])


def wrapped(page: Any, net: Any, loader: Any, **more: Any) -> Any:
    """Train one pass with Ignite's wrapper in the place of the page's handler."""
    from ignite.engine import Engine, Events
    from ignite.handlers import LRScheduler

    names = page("Ignite", model=net(), until="optimizer = ")
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = names["ScheduledLR"](optimizer, names["schedule"], **more)
    engine = Engine(lambda *_: optimizer.step())
    engine.add_event_handler(Events.ITERATION_STARTED, LRScheduler(scheduler))
    engine.run(loader, max_epochs=1)
    return names["schedule"]


def test_ignites_wrapper_gives_the_same_rates(
    page: Any, net: Any, loader: Any, applied: Any
) -> None:
    schedule = wrapped(page, net, loader)
    assert applied == [[schedule(update)] for update in range(12)]


def test_ignites_wrapper_is_refused_where_it_would_leave_momentum_alone(
    page: Any, net: Any, loader: Any, applied: Any
) -> None:
    with pytest.raises(ValueError, match=r"^get_lr\(\) gives rates alone .*call step\(\)"):
        wrapped(page, net, loader, momentum=lambda update: 0.9 - 0.01 * update)
    assert applied == []
