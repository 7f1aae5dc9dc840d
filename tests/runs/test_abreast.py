"""Seeds that take turns in one process: each as if alone, whatever becomes of the others."""

import signal
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from anneal.config.schema import ExperimentConfig
from anneal.config.strict import parse
from anneal.io.files import read_yaml
from anneal.runs import abreast as module
from anneal.runs.abreast import Lane, Width, train_abreast
from anneal.runs.directory import CHECKPOINT, HISTORY, RunDirectory
from anneal.runs.observers import Checkpoints, History, Observer
from anneal.runs.plan import Plan, plan_run
from anneal.runs.run import Interrupted, SeedRun, train_run
from anneal.runs.setup import ExperimentSetup, build_training, load_setup
from anneal.training.captured import captured
from anneal.training.loop import Training

SMALL = Path(__file__).parents[1] / "golden" / "small_run.yaml"
UPDATES = 8
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    plain: dict[str, Any] = read_yaml(SMALL)
    plain["training"] |= {
        "batch_size": 20, "length": f"{UPDATES} steps", "log_lines": 4, "evaluations": 1,
    }  # fmt: skip
    plain["hardware"]["inputs"] = "gathered"
    return plain


@pytest.fixture(scope="module")
def planned(small: dict[str, Any]) -> Callable[..., tuple[Plan, ExperimentSetup]]:
    def plan(**hardware: Any) -> tuple[Plan, ExperimentSetup]:
        plain = small | {"hardware": small["hardware"] | hardware}
        experiment = parse(ExperimentConfig, plain, where="small")
        setup = load_setup(experiment)
        return plan_run(experiment, setup.data.identity, bounds=None, where="small"), setup

    return plan


def observers(run: SeedRun) -> list[Observer]:
    return [History(run.directory), Checkpoints(run.directory)]


def runs_in(
    folder: Path, planned: tuple[Plan, ExperimentSetup], *, build: Any = build_training
) -> list[SeedRun]:
    plan, setup = planned
    return [
        SeedRun(
            plan=plan, setup=setup, seed=seed, replaced=folder / "replaced", build=build,
            directory=RunDirectory(
                folder / f"seed-{seed}", configuration_hash=plan.configuration_hash, code="c"
            ),
        )
        for seed in SEEDS
    ]  # fmt: skip


def histories(runs: Sequence[SeedRun]) -> list[bytes]:
    return [(run.directory.path / HISTORY).read_bytes() for run in runs]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, planned: Any) -> list[SeedRun]:
    """Return the seeds, each trained by itself."""
    runs = runs_in(tmp_path_factory.mktemp("alone"), planned())
    for run in runs:
        train_run(run, observers(run))
    return runs


def on_device(plan: Plan, setup: ExperimentSetup, *, seed: int) -> Training:
    """Build a run whose updates are functions of device tensors, as those of a graph are."""
    training, said = build_training(plan, setup, seed=seed), list[str]()
    training.learner = captured(
        training.learner, training.scheduled, total_steps=training.total_steps,
        drawn=training.learner.batches, say=said.append, without_graph=True,
    )  # fmt: skip
    return training


@pytest.mark.parametrize("build", [build_training, on_device])
@pytest.mark.parametrize("width", [2, 3])
def test_history_of_each_seed_is_that_of_a_run_alone(
    tmp_path: Path, planned: Any, alone: list[SeedRun], build: Any, width: int
) -> None:
    runs = runs_in(tmp_path, planned(abreast=width), build=build)
    order: list[int] = []

    class Listener(Observer):
        def __init__(self, seed: int) -> None:
            self._seed = seed

        def between(self, update: int, *, stopping: bool) -> None:
            order.append(self._seed)

    results = train_abreast(runs, lambda run: [*observers(run), Listener(run.seed)])
    assert histories(runs) == histories(alone)
    assert [result and result["status"] for result in results] == ["finished"] * 3
    assert len({*order[width : 2 * width]}) == width  # they took turns
    started = [run.directory.environment()[-1]["abreast"] for run in (*runs, *alone)]
    assert started == [width] * 3 + [1] * 3
    weights = [[run.directory.read_checkpoint() or {} for run in each] for each in (runs, alone)]
    for one, other in zip(*weights, strict=True):
        models = one["state"]["model"], other["state"]["model"]
        assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_seconds_of_seeds_abreast_add_up_to_those_of_the_process(
    tmp_path: Path, planned: Any
) -> None:
    class Slow(Observer):
        def between(self, update: int, *, stopping: bool) -> None:
            time.sleep(0.02)

    runs, began = runs_in(tmp_path, planned(abreast=3)), time.monotonic()
    train_abreast(runs, lambda run: [*observers(run), Slow()])
    took = time.monotonic() - began
    seconds = [run.directory.environment()[-1]["seconds"] for run in runs]
    assert min(seconds) >= 0.02 * UPDATES
    assert sum(seconds) <= took


def test_seeds_that_were_stopped_resume_and_end_as_alone(
    tmp_path: Path, planned: Any, alone: list[SeedRun]
) -> None:
    class Stopping(Observer):
        def between(self, update: int, *, stopping: bool) -> None:
            if update == 3 and not stopping:
                signal.raise_signal(signal.SIGTERM)

    runs = runs_in(tmp_path, planned(abreast=2))
    with pytest.raises(Interrupted):
        train_abreast(runs, lambda run: [*observers(run), Stopping()])
    assert [(run.directory.path / CHECKPOINT).exists() for run in runs] == [True, True, False]
    train_abreast(runs, observers)
    assert histories(runs) == histories(alone)


def test_seed_that_diverges_or_fails_does_not_stop_the_others(
    tmp_path: Path, planned: Any, alone: list[SeedRun], capsys: pytest.CaptureFixture[str]
) -> None:
    def build(plan: Plan, setup: ExperimentSetup, *, seed: int) -> Training:
        training = build_training(plan, setup, seed=seed)
        if seed == 0:
            with torch.no_grad():
                next(training.learner.model.parameters()).fill_(float("nan"))
        return training

    networks: list[weakref.ref[Any]] = []

    class Failing(Observer):
        def start(self, training: Training) -> None:
            networks.append(weakref.ref(training.learner.model))

        def between(self, update: int, *, stopping: bool) -> None:
            if update == 2:
                raise OSError("no space left")

    class Freed(Observer):
        def between(self, update: int, *, stopping: bool) -> None:
            assert update < 4 or networks[0]() is None

    runs = runs_in(tmp_path, planned(abreast=3), build=build)
    with pytest.raises(OSError, match="no space left") as raised:
        train_abreast(runs, lambda run: [*observers(run), Failing() if run.seed == 1 else Freed()])
    assert "in between" in raised.value.__notes__[0]
    found = [run.directory.result() for run in runs]
    assert [one and one["status"] for one in found] == ["diverged", None, "finished"]
    assert histories(runs)[2] == histories(alone)[2]
    assert "seed-1: no space left" in capsys.readouterr().err


def test_network_that_draws_is_trained_one_seed_at_a_time(
    small: dict[str, Any], tmp_path: Path, planned: Any, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def build(plan: Plan, setup: ExperimentSetup, *, seed: int) -> Training:
        training = build_training(plan, setup, seed=seed)
        training.learner.model.register_forward_hook(
            lambda _model, _inputs, output: output * (1 + 0.01 * torch.rand(()))
        )
        return training

    alone = runs_in(tmp_path / "alone", planned(), build=build)
    for run in alone:
        train_run(run, observers(run))
    runs = runs_in(tmp_path, planned(abreast=3), build=build)
    train_abreast(runs, observers)
    assert histories(runs) == histories(alone)
    assert capsys.readouterr().out.count("one run at a time, since the network draws") == 1
    assert [run.directory.environment()[-1]["abreast"] for run in runs] == [1] * 3


@pytest.mark.parametrize(
    ("rates", "free", "expected", "said"),
    [
        ({1: 10, 2: 19, 4: 20}, 1000, 4, ""),  # four do little more than two
        ({1: 10, 2: 10}, 1000, 2, ""),
        ({1: 10, 2: 20, 4: 18}, 1000, 2, ""),  # four are slower than two
        ({1: 10, 2: 20, 4: 40, 8: 80}, 60, 4, "4 runs at a time, the memory holds no more"),
    ],
)
def test_auto_doubles_the_runs_while_that_pays_off_and_fits(
    rates: dict[int, int], free: int, expected: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each run takes 10 bytes of memory."""
    now, lanes = 0.0, [Lane(steps=None, stream=None)]  # type: ignore[arg-type]
    width = Width(
        runs=1, fixed=False, clock=lambda: now, wait=lambda: None,
        memory=lambda: (free - 10 * len(lanes), free),
    )  # fmt: skip
    for _ in range(5000):
        while len(lanes) < width.runs:
            lanes.append(Lane(steps=None, stream=None))  # type: ignore[arg-type]
        for lane in lanes:
            lane.updates += 1
        now += len(lanes) / rates[len(lanes)]
        width.look(lanes)
    assert width.runs == expected
    assert said in capsys.readouterr().out


def test_auto_is_one_run_at_a_time_on_a_processor(tmp_path: Path, planned: Any) -> None:
    width = module.width_of(runs_in(tmp_path, planned(abreast=None)))
    assert (width.runs, width.fixed) == (1, True)


@pytest.mark.gpu
def test_seeds_captured_abreast_on_cuda_are_those_alone(tmp_path: Path, planned: Any) -> None:
    captured_ones = {"device": "cuda", "capture": "graph"}
    alone = runs_in(tmp_path / "alone", planned(**captured_ones))
    for run in alone:
        train_run(run, observers(run))
    runs = runs_in(tmp_path, planned(**captured_ones, abreast=3))
    train_abreast(runs, observers)
    assert histories(runs) == histories(alone)
    assert all(run.directory.environment()[-1]["replayed"] == UPDATES - 3 for run in runs)
