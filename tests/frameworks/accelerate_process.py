"""One of several processes that train with Accelerate, in each of the page's set-ups."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tests.frameworks.conftest import Net, listen, points, run_page, weights_of

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


def batches(size: int = 4) -> torch.utils.data.DataLoader:
    return torch.utils.data.DataLoader(points(), batch_size=size)


def train_prepared(accelerator: Any, loader: Any, *, num_epochs: int) -> None:
    """Train as Accelerate's own examples do: a step of the scheduler after each batch."""
    names = run_page(PAGE, "Accelerate", model=Net(), loader=batches(), until="accelerator = ")
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = names["ScheduledLR"](optimizer, names["schedule"])
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    for _ in range(num_epochs):
        for inputs, labels in loader:
            with accelerator.accumulate(model):
                accelerator.backward(torch.nn.functional.cross_entropy(model(inputs), labels))
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()


def main(folder: Path) -> dict[str, Any]:
    """Return the rates applied in each set-up, and whether the resumed run is the other one."""
    from accelerate import Accelerator, DataLoaderConfiguration  # not there for pytest's doctests

    rates: list[list[float]] = []
    listen(rates)
    found: dict[str, Any] = {}

    def take(name: str) -> None:
        found[name] = [rate for (rate,) in rates]
        rates.clear()

    straight = run_page(PAGE, "Accelerate", model=Net(), loader=batches())
    epochs = 2 * straight["accelerator"].num_processes  # of 6 updates by one process, 3 by two
    straight["train"](epochs // 2)
    straight["accelerator"].save_state(folder)
    straight["train"](epochs // 2)
    take("page")
    resumed = run_page(PAGE, "Accelerate", model=Net(), loader=batches())
    resumed["accelerator"].load_state(folder)
    resumed["train"](epochs // 2)
    take("resumed")
    found["same weights"] = weights_of(resumed["model"]) == weights_of(straight["model"])
    split = DataLoaderConfiguration(split_batches=True)
    accelerator = Accelerator(gradient_accumulation_steps=2, dataloader_config=split)
    train_prepared(accelerator, batches(8), num_epochs=4)
    take("split batches")
    train_prepared(Accelerator(gradient_accumulation_steps=2), batches(), num_epochs=epochs)
    take("defaults")
    return found


if __name__ == "__main__":
    said = main(Path(sys.argv[1]) / "state")
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    Path(sys.argv[1], f"{rank}.json").write_text(json.dumps(said))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
