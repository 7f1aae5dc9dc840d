"""Seeds that results/ holds already: which are trained, and what is said of their kernels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from anneal.commands.stages import train
from anneal.io.files import write_yaml
from anneal.runs.committed import committed_seeds
from anneal.training.parts import ALONE

NAME = "digits/fixed"


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commit seeds of one experiment, each with its kernels; None: a table without the column."""

    def commit(kernels: dict[int, str | None]) -> None:
        monkeypatch.chdir(tmp_path)
        write_yaml(Path("experiments/quick/campaign.yaml"), {"rerun_committed": False})
        recorded = None not in kernels.values()
        lines = ["experiment,seed,configuration_hash" + ",kernels" * recorded]
        lines += [f"{NAME},{s},abc" + f",{k}" * recorded for s, k in kernels.items()]
        Path("results/quick").mkdir(parents=True)
        Path("results/quick/runs.csv").write_text("\n".join(lines) + "\n")

    return commit


@pytest.mark.parametrize(
    ("written", "read"), [("none", "none"), ("cpu", "cpu"), (None, "unrecorded")]
)
def test_committed_seed_has_the_kernels_of_its_row(
    committed: Any, written: str | None, read: str
) -> None:
    committed({0: written, 2: written})
    assert committed_seeds("quick", NAME, "abc") == {0: read, 2: read}
    assert committed_seeds("quick", NAME, "of another hash") == {}


@pytest.mark.parametrize(
    ("kernels", "seeds", "said"),
    [
        (None, (0, 1, 2), True),
        ("unrecorded", (0, 1, 2), True),
        ("none", (0, 1, 2), False),
        (None, (0, 1), False),  # nothing is trained
    ],
)
def test_further_seed_beside_unrecorded_ones_is_said_in_one_line(
    committed: Any,
    kernels: str | None,
    seeds: tuple[int, ...],
    said: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    committed({0: kernels, 1: kernels})
    trained = []
    plan = SimpleNamespace(configuration_hash="abc")
    setup = SimpleNamespace(settings=SimpleNamespace(numerics="float32"), parts=ALONE)
    loaded = SimpleNamespace(seeds=seeds, experiment=MagicMock())
    loaded.of_each_subject = lambda: [loaded]
    loaded.experiment.hardware.processes = 1
    loaded.experiment.name = NAME
    monkeypatch.setattr(train, "load_experiment", lambda *_: loaded)
    monkeypatch.setattr(train, "load_bounds", lambda _: None)
    monkeypatch.setattr(train, "plan_experiment", lambda *_, **__: (plan, setup))
    monkeypatch.setattr(train, "usual_observers", lambda *_, **__: [])
    monkeypatch.setattr(train, "train_run", lambda run, _observers: trained.append(run.seed))
    train.main(["quick", NAME, "given"])
    assert trained == list(seeds[2:])
    lines = [line for line in capsys.readouterr().out.splitlines() if "CPU kernels" in line]
    assert len(lines) == said
    assert not said or "whether seeds 0, 1 used CPU kernels" in lines[0]
