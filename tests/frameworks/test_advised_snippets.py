"""Snippets of an advice, in the frameworks that they are for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from anneal import one_cycle
from anneal.advise.framework_snippets import framework_snippets

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]
SCHEDULE = one_cycle(base_lr=0.01, max_lr=0.1, final_lr=0.0001, half_cycle_steps=5, total_steps=12)


def made(framework: str, optimizer: torch.optim.Optimizer) -> Any:
    snippet = framework_snippets(SCHEDULE.describe(), None, total_steps=12)[framework]
    space: dict[str, Any] = {"optimizer": optimizer}
    exec(snippet.code, space)
    return space[snippet.returns]


def test_lightning_trains_at_the_advised_rates(
    net: Any, loader: Any, applied: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightning

    monkeypatch.chdir(tmp_path)

    class Task(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = net()

        def training_step(self, batch: Any, _index: int) -> torch.Tensor:
            inputs, labels = batch
            return torch.nn.functional.cross_entropy(self.model(inputs), labels)

        def configure_optimizers(self) -> Any:
            return made("lightning", torch.optim.SGD(self.parameters(), lr=0.5))

    trainer = lightning.Trainer(
        max_steps=12, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Task(), loader)
    assert [rates[0] for rates in applied] == pytest.approx([SCHEDULE(u) for u in range(12)])
