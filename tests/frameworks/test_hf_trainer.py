"""ScheduledLR in the Trainer of Hugging Face."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]


class Classifier(nn.Module):
    """A network whose forward pass returns its loss, as the Trainer wants it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.net(inputs)
        return {"loss": nn.functional.cross_entropy(outputs, labels), "logits": outputs}


@pytest.fixture
def as_dicts(dataset: Any) -> list[dict[str, Any]]:
    return [{"inputs": inputs, "labels": label} for inputs, label in dataset]


def test_rate_of_each_update_is_the_schedules_and_so_is_the_log(
    page: Any, net: Any, as_dicts: Any, applied: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    names = page("Hugging Face Trainer", model=Classifier(net()), dataset=as_dicts)
    schedule = names["schedule"]
    assert applied == [[schedule(update)] for update in range(12)]
    assert names["scheduler"].last_epoch == 12
    logged = [entry["learning_rate"] for entry in names["trainer"].state.log_history[:-1]]
    assert logged == [schedule(update) for update in range(12)]


def test_resumed_run_is_the_one_without_a_stop(
    page: Any,
    net: Any,
    as_dicts: Any,
    applied: Any,
    state_of: Any,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    straight = page("Hugging Face Trainer", model=Classifier(net()), dataset=as_dicts)
    expected = applied.copy()
    applied.clear()
    model = Classifier(net())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = straight["ScheduledLR"](optimizer, straight["schedule"])
    trainer = straight["Trainer"](
        model, straight["arguments"], train_dataset=as_dicts, optimizers=(optimizer, scheduler)
    )
    trainer.train(resume_from_checkpoint="output/checkpoint-5")
    assert applied == expected[5:]
    assert state_of(model) == state_of(straight["model"])
