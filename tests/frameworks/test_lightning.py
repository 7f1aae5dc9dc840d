"""ScheduledLR in Lightning."""

import csv
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.frameworks,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice on loaders, loggers and folders
]


@pytest.fixture
def lightning_task(
    page: Any, net: Any, loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Return the names of the page's lines, after they have trained."""
    monkeypatch.chdir(tmp_path)
    return page("Lightning", model=net(), loader=loader)


def trainer(**more: Any) -> Any:
    import lightning

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(
        accelerator="cpu", devices=1, enable_checkpointing=False, **quiet | more
    )


def test_rate_of_each_update_is_the_schedules(lightning_task: Any, applied: Any) -> None:
    schedule = lightning_task["schedule"]
    # The page's lines ran before this fixture began to listen: run them once more.
    task = lightning_task["Task"](lightning_task["model"])
    trainer(max_steps=12, accumulate_grad_batches=2).fit(task, lightning_task["loader"])
    assert applied == [[schedule(update)] for update in range(12)]


def test_monitor_of_the_learning_rate_logs_the_schedules_rates(lightning_task: Any) -> None:
    schedule = lightning_task["schedule"]
    logged = Path(lightning_task["trainer"].logger.log_dir) / "metrics.csv"
    rows = [row for row in csv.DictReader(logged.open()) if row["lr-SGD"]]
    assert {int(row["step"]) for row in rows} == set(range(12))
    for row in rows:
        assert float(row["lr-SGD"]) == pytest.approx(schedule(int(row["step"])), rel=1e-6)


def test_resumed_run_is_the_one_without_a_stop(
    lightning_task: Any, net: Any, applied: Any, state_of: Any, tmp_path: Path
) -> None:
    make, loader = lightning_task["Task"], lightning_task["loader"]
    straight = make(net())
    trainer(max_epochs=2, accumulate_grad_batches=2).fit(straight, loader)
    expected = applied.copy()
    applied.clear()
    stopped = trainer(max_epochs=1, accumulate_grad_batches=2)
    stopped.fit(make(net()), loader)
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    resumed = make(net())
    trainer(max_epochs=2, accumulate_grad_batches=2).fit(
        resumed, loader, ckpt_path=tmp_path / "stopped.ckpt"
    )
    assert (len(expected), applied) == (12, expected)
    assert state_of(resumed) == state_of(straight)


def finetuned(task: Any) -> Any:
    """Return a class like the page's, of an optimizer that holds trainable parameters alone."""
    import torch

    class Finetuned(task["Task"]):
        def configure_optimizers(self) -> Any:
            trainable = filter(lambda parameter: parameter.requires_grad, self.parameters())
            optimizer = torch.optim.SGD(trainable, lr=0.1)
            scheduler = task["ScheduledLR"](optimizer, task["schedule"])
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    return Finetuned


def test_backbone_added_later_has_its_part_of_the_rate(
    lightning_task: Any, net: Any, loader: Any, applied: Any
) -> None:
    schedule = lightning_task["schedule"]
    task = finetuned(lightning_task)(net())
    callbacks = [lightning_task["Unfreeze"]()]
    trainer(max_epochs=2, callbacks=callbacks, accumulate_grad_batches=2).fit(task, loader)
    assert applied[:6] == [[schedule(update)] for update in range(6)]
    # The group is added after the rates of update 6 were set, so its first rate is its own.
    assert applied[6] == [schedule(6), pytest.approx(0.01)]
    expected = [[schedule(update), 0.1 * schedule(update)] for update in range(7, 12)]
    assert applied[7:] == [pytest.approx(rates) for rates in expected]


def test_run_with_an_added_backbone_resumes(
    lightning_task: Any, net: Any, loader: Any, applied: Any, state_of: Any, tmp_path: Path
) -> None:
    def run(max_epochs: int, **more: Any) -> tuple[Any, Any]:
        task = finetuned(lightning_task)(net())
        by = trainer(
            max_epochs=max_epochs,
            callbacks=[lightning_task["Unfreeze"]()],
            accumulate_grad_batches=4,
        )
        by.fit(task, loader, **more)
        return task, by

    straight, _ = run(4)
    expected = applied.copy()
    applied.clear()
    _, stopped = run(2)
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    resumed, _ = run(4, ckpt_path=tmp_path / "stopped.ckpt")
    assert (len(expected), applied) == (12, expected)
    assert state_of(resumed) == state_of(straight)


def test_callback_that_sets_rates_itself_is_refused(
    lightning_task: Any, net: Any, loader: Any
) -> None:
    from lightning.pytorch.callbacks import BackboneFinetuning

    task = finetuned(lightning_task)(net())
    task.backbone = task.model.backbone  # where the callback looks for it
    callback = BackboneFinetuning(unfreeze_backbone_at_epoch=1)
    with pytest.raises(ValueError, match=r"^parameter group 1 must have the rate .* ScheduledLR"):
        trainer(max_epochs=4, callbacks=[callback]).fit(task, loader)


def test_rates_are_the_schedules_until_weight_averaging_begins(
    lightning_task: Any, net: Any, loader: Any, applied: Any
) -> None:
    from lightning.pytorch.callbacks import StochasticWeightAveraging

    schedule = lightning_task["schedule"]
    averaging = StochasticWeightAveraging(
        swa_lrs=0.05, swa_epoch_start=2, annealing_epochs=1, annealing_strategy="linear"
    )
    task = lightning_task["Task"](net())
    trainer(max_epochs=4, accumulate_grad_batches=3, callbacks=[averaging]).fit(task, loader)
    # It begins with the second epoch, from the rate that it finds, and anneals by epochs.
    assert applied[:5] == [[schedule(update)] for update in range(5)]
    assert applied[8:] == [[pytest.approx(0.05)]] * 8
