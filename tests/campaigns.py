"""A made-up campaign as the stages before `collect` would leave it."""

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

PAPER = Path(__file__).parents[1] / "paper"


@dataclass
class World:
    """A project folder with evaluated runs in it, made up from a seed."""

    root: Path
    campaign: str = "quick"
    budget_fraction: float = 1.0

    def describe_campaign(self, experiments: Sequence[str], seeds: Sequence[int]) -> None:
        folder = self.root / "experiments" / self.campaign
        folder.mkdir(parents=True, exist_ok=True)
        entry = {"dataset": "digits", "range_test": "given"}
        content = {
            "name": self.campaign,
            "title": f"The {self.campaign} campaign",
            "rerun_committed": True,
            "datasets": ["digits"],
            "range_tests": {},
            "experiments": dict.fromkeys(experiments, entry),
            "seeds": list(seeds),
            "budget_fraction": self.budget_fraction,
        }
        (folder / "campaign.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def evaluate(
        self,
        experiment: str,
        finals: Mapping[int, float | None],
        *,
        configuration_hash: str = "0123456789ab",
        updates: int = 700,
        title: str | None = None,
        rate: Callable[[int], float] = lambda _: 0.001,
        momentum: Callable[[int], float] = lambda _: 0.9,
        schedule: Mapping[str, Any] | None = None,
        rise: float = 0.15,
        range_test: Mapping[str, Any] | None = None,
        kernels: Mapping[int, str] | None = None,
    ) -> None:
        """Write one record; a seed whose final accuracy is None diverged on the way.

        A seed without an entry in ``kernels`` is as old as a record that does not say.
        """
        folder = self.root / "evaluations" / self.campaign / experiment
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(experiment))
        rows, runs = [], []
        for seed, final in finals.items():
            ends = updates if final is not None else updates // 3
            goal = 60.0 if final is None else final
            values = {}
            for update in range(1, ends + 1):
                evaluated = update % max(1, updates // 35) == 0 or update == ends
                row = [seed, update, rate(update - 1), momentum(update - 1)]
                row.append(2.3 * math.exp(-update / updates * 4) + 0.1 * rng.random())
                accuracy: float | str = ""
                if evaluated:
                    noise = 0.0 if update == ends else rng.normal(0, 0.4)
                    accuracy = goal - (goal - 10) * math.exp(-update / (rise * updates)) + noise
                    if update == ends:
                        accuracy = goal
                    values[update] = float(accuracy)
                rows.append([*row, accuracy, 0.5 if evaluated else ""])
            metrics: dict[str, float | None] = {}
            if final is not None:
                metrics = {
                    "test_accuracy_pct@final": final,
                    "test_accuracy_pct@best": max(values.values()),
                    "best_update": max(values, key=lambda u: values[u]),
                    "test_loss@final": 0.5,
                }
            runs.append(
                {
                    "seed": seed,
                    "status": "diverged" if final is None else "finished",
                    "updates": ends,
                    "metrics": metrics,
                    "environment": {
                        "device": "cpu",
                        "precision": "float32",
                        "threads": 2,
                        "commit": "abcdef0123456789",
                        "torch": "2.11.0",
                        "started": "2026-03-04T05:06:07+00:00",
                        "seconds": 12.3456,
                    }
                    | ({"kernels": kernels[seed]} if kernels and seed in kernels else {}),
                }
            )
        record = {
            "campaign": self.campaign,
            "experiment": experiment,
            "title": title or experiment.split("/")[-1],
            "paper": None,
            "configuration_hash": configuration_hash,
            "configuration": {
                "dataset": {"name": "digits"},
                "model": {"name": "caffe_cifar"},
                "optimizer": {"name": "caffe_sgd"},
                "scheduler": {"name": "constant", "lr": 0.001},
                "training": {"batch_size": 100, "length": "70000 steps"},
            },
            "schedule": schedule or {"name": "constant", "arguments": {"lr": 0.001}},
            "budget_fraction": self.budget_fraction,
            "total_steps": updates,
            "full_total_steps": round(updates / self.budget_fraction),
            "range_test": range_test,
            "runs": runs,
        }
        (folder / "record.json").write_text(json.dumps(record))
        with (folder / "curves.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            columns = "seed,update,lr,momentum,train_loss,test_accuracy_pct,test_loss"
            writer.writerow(columns.split(","))
            writer.writerows(rows)

    def test_range(self, name: str, *, max_lr: float | None = 0.006) -> None:
        folder = self.root / "range_tests" / self.campaign / name
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(7)
        rates = np.linspace(0.0002, 0.02, 40)
        rows = []
        for seed in (0, 1, 2):
            for update, rate in enumerate(rates):
                rising = 45 * (1 - math.exp(-rate / 0.003)) - 8 * max(0, rate - 0.012) / 0.008
                accuracy = 10 + rising + rng.normal(0, 1 + 150 * rate)
                loss = 2.3 - rising / 40 + (rate / 0.016) ** 8
                rows.append([seed, update * 10, rate, accuracy, loss, loss if update else ""])
        why = "it does not rise" if max_lr is None else "rises, then falls"
        smith = {"base_lr": None if max_lr is None else 0.001, "max_lr": max_lr, "reason": why}
        valley = {"base_lr": 0.0008, "max_lr": 0.004, "reason": "longest slope"}
        over = {"num_seeds": 3, "num_found": 3, "base_spread": 1.0, "max_spread": 1.0}
        suggestion = smith | {
            "name": name,
            "rule": "smith",
            "agreement": {
                rule: over | said | {"rule": rule}
                for rule, said in {"smith": smith, "valley": valley}.items()
            },
            "dataset": "digits",
            "model": "caffe_cifar",
            "sweep": "linear",
            "held_out_images": 288,
            "diverged_at": {"0": None, "1": None, "2": 400},
            "diverged_lr": {"0": None, "1": None, "2": 0.02},
        }
        (folder / "suggestion.json").write_text(json.dumps(suggestion))
        with (folder / "curve.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            columns = "seed,update,lr,accuracy_pct,held_out_loss,train_loss"
            writer.writerow(columns.split(","))
            writer.writerows(rows)
        given = self.root / "range_tests" / self.campaign / "given"
        given.mkdir(parents=True, exist_ok=True)
        (given / "suggestion.json").write_text('{"rule": null}')

    def files(self, *folders: str) -> dict[str, bytes]:
        """Return every file below some folders, with its bytes."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for folder in folders
            for path in sorted((self.root / folder).rglob("*"))
            if path.is_file()
        }


def _make_world(root: Path) -> World:
    folder = root / "paper"
    (folder / "claims").mkdir(parents=True, exist_ok=True)
    sources = [path for path in PAPER.iterdir() if path.name.startswith("report.")]
    kept = [path.name for path in sources if path.name not in ("report.md", "report.html")]
    for name in (*kept, "references.bib", "deviations.yaml", "claims/clr.yaml"):
        (folder / name).write_bytes((PAPER / name).read_bytes())
    (root / "pyproject.toml").write_bytes((PAPER.parent / "pyproject.toml").read_bytes())
    return World(root=root)


@pytest.fixture(scope="session")
def make_world() -> Callable[[Path], World]:
    """Return what makes a project folder with the repository's claims and template in it."""
    return _make_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A project folder of this test alone, which the stages run in."""
    monkeypatch.chdir(tmp_path)
    return _make_world(tmp_path)
