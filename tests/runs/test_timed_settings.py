"""``hardware=auto`` for a network that nobody measured: what is timed, chosen, said and kept."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anneal.config.compose import compose_run
from anneal.config.schema import HardwareConfig
from anneal.runs import timed_settings
from anneal.runs.hardware import Settings
from anneal.runs.setup import ExperimentSetup, load_setup
from anneal.runs.timed_settings import axes, choose, describe_case, time_setup

AUTO = HardwareConfig(
    name="auto", device="auto", precision="auto", memory_format="auto", compile="auto", threads=None
)
BASE = Settings(
    device="cpu", precision="float32", memory_format="contiguous", compile=False, threads=4
)


class Machine:
    """A machine whose updates take what is told, on a clock that only they move."""

    def __init__(self, seconds: Callable[[Settings], float]) -> None:
        self.seconds, self.now, self.built = seconds, 0.0, list[Settings]()

    def clock(self) -> float:
        return self.now

    def build(self, settings: Settings) -> Callable[[int], None]:
        self.built.append(settings)

        def update(_: int) -> None:
            self.now += self.seconds(settings)

        return update

    def choose(self, config: HardwareConfig = AUTO, base: Settings = BASE) -> dict[str, Any]:
        return choose(config, base, build=self.build, clock=self.clock)


@pytest.fixture
def capability(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Pretend to have another processor."""

    def be(name: str) -> None:
        monkeypatch.setattr(timed_settings, "cpu_capability", lambda: name)

    be("AVX2")
    return be


@pytest.mark.usefixtures("capability")
def test_fastest_of_layout_and_threads_is_chosen_with_its_ratio() -> None:
    def seconds(s: Settings) -> float:
        return (0.02 if s.memory_format == "contiguous" else 0.01) * (1 if s.threads == 1 else 4)

    found = Machine(seconds).choose()
    assert found["settings"] == {
        "precision": "float32", "memory_format": "channels_last", "threads": 1,
    }  # fmt: skip
    assert found["ratio"] == 8.0
    assert found["words"] == (
        "float32 channels_last 1 thread, 8.00 times as fast as float32 contiguous 4 threads"
    )


@pytest.mark.usefixtures("capability")
def test_choice_that_wins_by_less_than_the_margin_is_left() -> None:
    found = Machine(lambda s: 0.01 / (1.04 if s.memory_format == "channels_last" else 1)).choose()
    assert found["settings"]["memory_format"] == "contiguous"
    assert found["words"] == "float32 contiguous 4 threads, nothing timed is 5% faster"


def test_bf16_is_tried_only_where_the_processor_computes_in_it(
    capability: Callable[[str], None],
) -> None:
    def fast_bf16(s: Settings) -> float:
        return 0.01 if s.precision == "bf16" else 0.02

    for name, chosen in (
        ("AVX2", "float32"), ("AVX512", "float32"), ("AVX512_BF16", "bf16"), ("AMX", "bf16"),
    ):  # fmt: skip
        capability(name)
        machine = Machine(fast_bf16)
        assert machine.choose()["settings"]["precision"] == chosen
        tried = {settings.precision for settings in machine.built}
        assert tried == {"float32", chosen}


def test_bf16_of_the_table_is_given_up_where_it_is_slower(
    capability: Callable[[str], None],
) -> None:
    capability("AVX512_BF16")
    base = dataclasses.replace(BASE, precision="bf16")
    slow = Machine(lambda s: 0.03 if s.precision == "bf16" else 0.01)
    assert slow.choose(base=base)["settings"]["precision"] == "float32"


def test_what_was_asked_for_is_not_tried_otherwise(capability: Callable[[str], None]) -> None:
    capability("AMX")
    asked = dataclasses.replace(AUTO, precision="float32", threads=4)
    machine = Machine(lambda _: 0.01)
    machine.choose(asked)
    assert {(s.precision, s.threads) for s in machine.built} == {("float32", 4)}
    assert axes(dataclasses.replace(asked, memory_format="contiguous"), BASE) == []


@pytest.mark.usefixtures("capability")
def test_timing_ends_after_some_seconds() -> None:
    found = Machine(lambda _: 0.001).choose()
    assert timed_settings.SECONDS / 2 < found["seconds"] < 2 * timed_settings.SECONDS


@pytest.mark.usefixtures("capability")
def test_where_updates_are_slow_fewer_threads_alone_are_timed() -> None:
    slow = Machine(lambda s: 5.0 if s.threads > 2 else 2.0)
    found = slow.choose()
    assert [(s.threads, s.memory_format) for s in slow.built] == [
        (4, "contiguous"), (2, "contiguous"),
    ]  # fmt: skip
    assert found["settings"]["threads"] == 2
    assert found["words"] == (
        "float32 contiguous 2 threads, 2.50 times as fast as float32 contiguous 4 threads, "
        "the others not timed since updates are slow"
    )


@pytest.mark.usefixtures("capability")
def test_memory_that_does_not_hold_two_networks_leaves_the_rest() -> None:
    def full(s: Settings) -> float:
        if s.memory_format != BASE.memory_format:
            raise torch.cuda.OutOfMemoryError
        return 0.01 * s.threads

    found = Machine(full).choose()
    assert found["settings"]["memory_format"] == "contiguous"
    assert found["settings"]["threads"] == 1
    assert found["words"].endswith("since the memory does not hold two networks")


def test_burst_of_other_work_does_not_decide(capability: Callable[[str], None]) -> None:
    calls = SimpleNamespace(made=0)

    def busy(s: Settings) -> float:
        calls.made += 1
        return 0.9 if calls.made % 97 == 0 else 0.1 if s.memory_format == "contiguous" else 0.05

    assert Machine(busy).choose()["settings"]["memory_format"] == "channels_last"


@pytest.fixture
def own(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., ExperimentSetup]:
    """A run of one's own on the digits, on a machine of four threads with a fake clock."""
    monkeypatch.chdir(repository)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(timed_settings, "cpu_capability", lambda: "AVX2")
    monkeypatch.setattr(timed_settings, "cache_folder", lambda: tmp_path / "cache")

    def load(*overrides: str) -> ExperimentSetup:
        setup = load_setup(compose_run(["training.batch_size=20", *overrides]))
        return dataclasses.replace(setup, settings=BASE)

    return load


def timed_by(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_settings, "_updates", lambda _, settings: machine.build(settings))
    original = choose
    monkeypatch.setattr(
        timed_settings, "choose", lambda *a, build: original(*a, build=build, clock=machine.clock)
    )


def channels_last(s: Settings) -> float:
    return 0.01 if s.memory_format == "channels_last" else 0.02


def contiguous(s: Settings) -> float:
    return 0.02 if s.memory_format == "channels_last" else 0.01


def test_choice_is_said_recorded_and_kept_for_the_next_time(
    own: Callable[..., ExperimentSetup],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    timed_by(Machine(channels_last), monkeypatch)
    first = time_setup(own())
    said = capsys.readouterr().out
    assert "2.00 times as fast as float32 contiguous 4 threads" in said
    assert said.count("\n") == 1
    assert first.settings.numerics == "float32 channels_last eager 4 threads"
    assert first.settings.describe()["timed"]
    (file,) = (tmp_path / "cache").iterdir()
    assert json.loads(file.read_text())["ratio"] == 2.0
    other = Machine(contiguous)  # another day the other would win: nothing is timed
    timed_by(other, monkeypatch)
    assert time_setup(own()).settings == first.settings
    assert other.built == []


@pytest.mark.parametrize(
    "change", ["training.batch_size=21", "model=cifar_resnet20", "hardware.precision=float32"]
)
def test_another_network_batch_or_question_is_timed_anew(
    own: Callable[..., ExperimentSetup], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    assert describe_case(own()) == describe_case(own("seed=3"))
    timed_by(Machine(channels_last), monkeypatch)
    time_setup(own())
    other = Machine(contiguous)
    timed_by(other, monkeypatch)
    assert time_setup(own(change)).settings.memory_format == "contiguous"
    assert other.built


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"case": 1}'])
def test_kept_choice_that_cannot_be_read_is_timed_anew(
    own: Callable[..., ExperimentSetup],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: str,
) -> None:
    timed_by(Machine(channels_last), monkeypatch)
    first = time_setup(own())
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text(content)
    assert time_setup(own()).settings == first.settings
    assert json.loads(file.read_text())["ratio"] == 2.0


def test_cache_that_cannot_be_written_is_said(
    own: Callable[..., ExperimentSetup],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "cache").write_text("a file")
    timed_by(Machine(channels_last), monkeypatch)
    assert time_setup(own()).settings.memory_format == "channels_last"
    assert "cannot be written" in capsys.readouterr().out


def test_named_hardware_is_not_timed(
    own: Callable[..., ExperimentSetup], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(channels_last)
    timed_by(machine, monkeypatch)
    setup = own("hardware=cpu")
    assert time_setup(setup) is setup
    assert machine.built == []


def test_real_network_is_timed_and_trains_as_chosen(
    own: Callable[..., ExperimentSetup], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_settings, "SECONDS", 0.2)
    setup = time_setup(own("hardware.threads=1"))
    assert setup.settings.timed
    assert torch.get_num_threads() == setup.settings.threads
    assert setup.learner(0).update(0).isfinite()


def test_memory_format_of_signals_is_not_tried(
    own: Callable[..., ExperimentSetup], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(channels_last)
    timed_by(machine, monkeypatch)
    setup = own()
    experiment = dataclasses.replace(
        setup.experiment,
        dataset=dataclasses.replace(
            setup.experiment.dataset, signal=SimpleNamespace(crop_samples=8)
        ),
    )
    found = time_setup(dataclasses.replace(setup, experiment=experiment))
    assert {settings.memory_format for settings in machine.built} == {"contiguous"}
    assert found.settings.memory_format == "contiguous"
