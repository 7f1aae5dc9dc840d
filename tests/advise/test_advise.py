"""``anneal advise``: output files, resuming, refusals."""

import importlib.util
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anneal.advise import recommend
from anneal.advise.bounds import what_next
from anneal.advise.candidates import CANDIDATES
from anneal.advise.question import ask
from anneal.commands import advise
from anneal.config.compose import compose_run
from anneal.range_test import RangeTestCurve, agreement, curve_from_columns, smith
from anneal.range_test.record import RangeTestRecord
from anneal.runs import setup as loading
from anneal.runs.directory import read_lines
from anneal.runs.setup import ExperimentSetup
from anneal.training.loop import Learner

NAME = "advice/digits_caffe_cifar_sgd"
SMALL = [
    "dataset=digits",
    "dataset.image_size=16",
    "optimizer=sgd",
    "training.batch_size=32",
    "training.evaluations=3",
    "training.length=120 steps",
    "budget_fraction=0.5",
    "range_test.first_lr=0.0003",
    "range_test.last_lr=0.3",
    "range_test.length=240 steps",
    "range_test.points=24",
    "range_test.seeds=[0]",
    "advise.candidates=[one_cycle,constant]",
    "advise.seeds=[0,1,2]",
    "advise.raises=0",
    "hardware=cpu",
    "hardware.threads=1",
]


class Untouchable:
    """Test images that fail whoever asks for one."""

    labels = torch.zeros(1, dtype=torch.int64)

    def to(self, _device: object) -> "Untouchable":
        return self

    def __len__(self) -> int:
        return 1

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a test image was asked for ({name})")


def said_by(run: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what a command printed, and its one line of error, empty when it ended well."""
    capsys.readouterr()
    try:
        run()
    except SystemExit:
        out, error = capsys.readouterr()
        (line,) = error.splitlines()
        return out, line.removeprefix("error: ")
    return capsys.readouterr().out, ""


# --- one small advice, and what it leaves ---------------------------------------------------------


@pytest.fixture(scope="module")
def images() -> dict[str, list[Any]]:
    """Return which images each learner was given, and which each measurement."""
    return {"learner": [], "evaluate": []}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, images: dict[str, list[Any]]) -> Path:
    """Ask once, with test images that nobody may look at."""
    folder = tmp_path_factory.mktemp("asked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        load = loading.load_dataset

        def without_test(*given: Any) -> Any:
            found = load(*given)
            return type(found)(
                found.name, found.train, Untouchable(), found.class_names, found.identity
            )

        def remembering(name: str) -> Callable[..., Any]:
            method = getattr(ExperimentSetup, name)

            def remember(
                self: ExperimentSetup, *given: Any, indices: Any = None, **more: Any
            ) -> Any:
                images[name].append(None if indices is None else indices.tolist())
                return method(self, *given, indices=indices, **more)

            return remember

        patch.setattr(loading, "load_dataset", without_test)
        for name in images:
            patch.setattr(ExperimentSetup, name, remembering(name))
        advise.main(SMALL)
    return folder


@pytest.fixture
def there(asked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(asked)
    return asked / NAME


@pytest.mark.slow
def test_advice_folder_has_page_data_snippet_and_figures(there: Path) -> None:
    assert sorted(path.name for path in there.iterdir()) == [
        "advice.json",
        "advice.md",
        "advice.svg",
        "range_test.svg",
        "snippet.py",
    ]
    answer = json.loads((there / "advice.json").read_text())
    page = (there / "advice.md").read_text()
    bounds = answer["bounds"]
    assert 0.0003 < bounds["base_lr"] < bounds["max_lr"] < 0.3
    assert bounds["max_lr"] == float(f"{bounds['max_lr']:.3g}")
    assert f"From {bounds['base_lr']:g} to {bounds['max_lr']:g}" in page
    assert set(answer["readings"]) == {"smith", "minimum", "steepest", "valley"}
    assert answer["images"] == {"trained_on": 1149, "held_out": 288}
    assert answer["updates"] == {"range_test": 240, "trial": 60, "full": 120}
    assert "600 updates" in page  # 240 + 6 trials of 60
    results = answer["choice"]["results"]
    assert [s["name"] for s in results] == ["constant", "one_cycle"]
    for result in results:
        values = list(result["accuracies_pct"].values())
        assert result["accuracy"]["mean"] == pytest.approx(sum(values) / 3)
        assert f"{result['accuracy']['mean']:.2f} %" in page
    assert answer["recommended"] in ("constant", "one_cycle")
    assert f"Recommended: {answer['recommended']}".replace("_", "\\_") in page
    for picture in ("advice.svg", "range_test.svg"):
        assert (there / picture).read_text().rstrip().endswith("</svg>")
        assert picture in page


@pytest.mark.slow
def test_trial_trains_on_training_images_and_uses_held_out_ones(
    there: Path, images: dict[str, list[Any]]
) -> None:
    answer = json.loads((there / "advice.json").read_text())
    for name, candidate in answer["candidates"].items():
        found = next(s for s in answer["choice"]["results"] if s["name"] == name)
        for seed in ("0", "1", "2"):
            folder = Path("multirun") / candidate["configuration_hash"] / f"seed-{seed}"
            lines = read_lines(folder / "history.jsonl")
            assert lines[-1]["update"] == 60
            assert lines[-1]["held_out_accuracy_pct"] == found["accuracies_pct"][seed]
            of_288 = lines[-1]["held_out_accuracy_pct"] * 2.88
            assert of_288 == pytest.approx(round(of_288))
            assert not any(key.startswith("test_") for line in lines for key in line)
            result = json.loads((folder / "result.json").read_text())
            assert not any(key.startswith("test_") for key in result)
    question = ask(SMALL)
    training, held_out = question.sweep.training.tolist(), question.sweep.held_out.tolist()
    assert sorted(training + held_out) == list(range(1437))
    # to know the pace, the range test's seed, three seeds of two candidates
    assert images == {"learner": [training] * 8, "evaluate": [held_out] * 8}


@pytest.mark.slow
def test_snippet_is_tried_schedule_at_full_length(there: Path) -> None:
    answer = json.loads((there / "advice.json").read_text())
    spec = importlib.util.spec_from_file_location("snippet", there / "snippet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = 0
    for name, paste in answer["to_paste"].items():
        tried = answer["candidates"][name]["schedule"]
        assert paste["schedule"]["name"] == tried["name"]
        for key, value in paste["schedule"]["arguments"].items():
            half = tried["arguments"][key]
            assert value == (2 * half if key.endswith("_steps") else half), key
        for library in ("anneal", "torch"):
            weight = torch.nn.Parameter(torch.zeros(1))
            optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
            getattr(module, f"{name}_with_{library}")(optimizer)
            first = paste["schedule"]["arguments"].get("lr") or answer["bounds"]["base_lr"]
            assert optimizer.param_groups[0]["lr"] == pytest.approx(first, rel=1e-12)
            assert paste[library] in (there / "advice.md").read_text()
            made += 1
    assert made == 2 * len(answer["to_paste"]) >= 2


# --- asked again ----------------------------------------------------------------------------------


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each update that is made."""
    made: list[int] = []
    update = Learner.update

    def counted(self: Learner, number: int) -> torch.Tensor:
        made.append(number)
        return update(self, number)

    monkeypatch.setattr(Learner, "update", counted)
    return made


@pytest.mark.slow
def test_same_question_again_trains_nothing_and_answers_the_same(
    there: Path, updates: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()}
    said, error = said_by(lambda: advise.main(SMALL), capsys)
    assert error == ""
    assert updates == []
    assert "cost: nothing, the 6 trials are finished" in said
    after = {path.name: path.read_bytes() for path in there.iterdir() if path.is_file()}
    assert after == before


@pytest.mark.slow
def test_additional_seed_trains_only_that_seed(
    there: Path, updates: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    more = [*SMALL, "advise.seeds=[0,1,2,5]", "advise.name=more"]
    said, error = said_by(lambda: advise.main(more), capsys)
    assert error == ""
    assert "cost: at most 120 updates (2 of 8 trials are left)" in said
    assert "measured over 20 updates" in said
    assert len(updates) == 2 + 20 + 2 * 60  # to know the pace, then one trial of each candidate
    answer = json.loads(Path("advice/more/advice.json").read_text())
    assert list(answer["choice"]["results"][0]["accuracies_pct"]) == ["0", "1", "2", "5"]


@pytest.mark.slow
def test_bounds_far_too_low_are_raised_and_the_page_says_so(
    there: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recommend, "take_bounds", lambda *_, **__: (0.0005, 0.005))
    raised = [*SMALL, "advise.raises=3", "advise.name=raised"]
    said, error = said_by(lambda: advise.main(raised), capsys)
    assert error == ""
    assert "bounds: 0.0015 to 0.015 (one_cycle reached " in said
    answer = json.loads(Path("advice/raised/advice.json").read_text())
    bounds = answer["bounds"]
    assert (bounds["base_lr"], bounds["max_lr"]) == (0.0015, 0.015)
    higher = bounds["higher"]
    assert (higher["candidate"], higher["factor"]) == ("one_cycle", 3)
    means = [sum(by_seed.values()) / 3 for by_seed in higher["accuracies_pct"].values()]
    assert means[0] < means[1] > means[2]  # at 9 times nothing is learnt
    own = next(s for s in answer["choice"]["results"] if s["name"] == "one_cycle")
    assert own["accuracies_pct"] == higher["accuracies_pct"]["3"]  # not trained twice
    page = Path("advice/raised/advice.md").read_text()
    assert "From 0.0015 to 0.015, 3 times those of the range test (rule" in page
    assert f"{means[0]:.2f} % at the range test's bounds" in page
    assert "12 trials of 60" in page  # two candidates and two more pairs of bounds
    schedules = [c["schedule"]["arguments"] for c in answer["candidates"].values()]
    assert {a.get("lr", a.get("base_lr")) for a in schedules} == {0.0015}


@pytest.mark.slow
def test_answer_to_another_question_is_not_overwritten(
    there: Path, updates: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (there / "advice.json").read_bytes()
    other = [*SMALL, "training.length=140 steps"]
    _, error = said_by(lambda: advise.main(other), capsys)
    assert error == (
        f"{NAME} has the answer to another question; set advise.name=<another name> or move the "
        "folder away"
    )
    assert updates == []
    assert (there / "advice.json").read_bytes() == before


# --- no bounds ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_missing_bounds_give_reason_and_next_step_without_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny = ["range_test.last_lr=0.0004", "range_test.length=30 steps", "range_test.points=10"]
    _, error = said_by(lambda: advise.main([*SMALL, *tiny]), capsys)
    assert error.startswith("the range test gives no bounds, smith abstains: ")
    assert "Next: a longer sweep, range_test.length='60 steps', or other rates than" in error
    picture = Path(error.rpartition("Figure: ")[2])
    assert picture.is_file()
    assert not Path("advice").exists()
    assert [path.name for path in Path("multirun").iterdir()] == ["range_tests"]


def next_after(curve: RangeTestCurve, config: Any, num_seeds: int = 1) -> str:
    """Return what is advised after a range test with the same curve for each seed."""
    said = agreement([smith(curve)] * num_seeds)
    assert not said.found
    record = RangeTestRecord(
        rule="smith",
        readings={"smith": said},
        curves=dict.fromkeys(range(num_seeds), curve),
        dataset="digits",
        model="caffe_cifar",
    )
    return what_next(record, config, total_steps=300)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch, repository: Path) -> Any:
    monkeypatch.chdir(repository)
    return compose_run(["range_test=wide"]).range_test


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_rising_curve_suggests_higher_rates(wide: Any, num_seeds: int) -> None:
    rates = [10.0**power for power in range(-12, 0)]
    curve = curve_from_columns(
        lrs=rates,
        accuracies_pct=[10, 10, 10, 10, 10, 10, 20, 30, 40, 50, 60, 70],
        sweep="exponential",
    )
    assert next_after(curve, wide, num_seeds) == "range_test.last_lr=10"


def test_early_divergence_suggests_lower_rates(wide: Any) -> None:
    few = curve_from_columns(lrs=[1e-5, 1e-4], accuracies_pct=[10, 11], sweep="exponential")
    curve = RangeTestCurve(
        points=few.points, sweep="exponential", diverged_at=40, diverged_lr=0.0005
    )
    expected = "range_test.first_lr=5e-07 range_test.last_lr=0.0005"
    assert next_after(curve, wide) == expected


def test_too_few_points_are_answered_with_more_of_them(wide: Any) -> None:
    curve = curve_from_columns(
        lrs=[10.0**power for power in range(-6, 0)], accuracies_pct=[10, 10, 20, 40, 60, 70],
        sweep="exponential",
    )  # fmt: skip
    assert "range_test.points=60 " in next_after(curve, wide)


def test_rise_between_two_points_suggests_more_points(wide: Any) -> None:
    curve = curve_from_columns(
        lrs=[0.001 * i for i in range(21)], accuracies_pct=[10] + [90] * 14 + [50] * 6
    )
    expected = "range_test.points=60 range_test.length='600 steps'"
    assert next_after(curve, wide) == expected


def test_flat_curve_suggests_longer_sweep(wide: Any) -> None:
    curve = curve_from_columns(
        lrs=[10.0**power for power in range(-10, 0)], accuracies_pct=[10, 11] * 5,
        sweep="exponential",
    )  # fmt: skip
    assert next_after(curve, wide).startswith(
        "a longer sweep, range_test.length='600 steps', or other rates than 1e-05 to 1"
    )


# --- what cannot be asked -------------------------------------------------------------------------


def a_folder(path: Path, *, classes: int) -> Path:
    rng = np.random.default_rng(0)
    for label in range(classes):
        (path / f"class{label}").mkdir(parents=True)
        for number in range(6):
            pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / f"class{label}" / f"{number}.png")
    return path


@pytest.fixture
def complaint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return a function that asks and returns the one line of error; nothing is left behind."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def ask_wrongly(*arguments: str) -> str:
        _, error = said_by(lambda: advise.main(list(arguments)), capsys)
        assert error
        assert list(Path().iterdir()) == []
        return error

    return ask_wrongly


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["dataset=imagefolder", "dataset.folder=nowhere"],
            "dataset.folder: there is no folder nowhere",
        ),
        (["dataset=imagefolder"], "dataset.folder is not set"),
        (["optimzer=sgd"], "unknown key 'optimzer'; did you mean 'optimizer'?"),
        (["advise.seed=[0,1,2]"], "unknown key 'advise.seed'; did you mean 'seeds'?"),
        (["advise.seeds=[0,1]"], "conf/advise.yaml: advise.seeds must be 3 or more different"),
        (
            ["advise.candidates=[cosin]"],
            "conf/advise.yaml: advise.candidates: there is no 'cosin'; did you mean 'cosine'",
        ),
        (["advise.candidates=[]"], "conf/advise.yaml: advise.candidates must be one or more"),
        (["advise.name=../x"], "conf/advise.yaml: advise.name must be the plain name of a folder"),
        (
            ["scheduler=cosine"],
            "scheduler=cosine is not an option of anneal advise: the schedule is recommended",
        ),
        (["scheduler.lr=1"], "scheduler.lr=1 is not an option of anneal advise"),
        (
            ["seed=3"],
            "seed=3 is not an option of anneal advise: set range_test.seeds and advise.seeds",
        ),
        (
            ["bounds=given"],
            "bounds=given is not an option of anneal advise: they always come from a range test",
        ),
        (
            ["range_test.length=10 steps"],
            "conf/range_test/wide.yaml: range_test.points must be at most the 10 updates of the "
            "sweep, got 30",
        ),
        (
            ["training.length=3 steps"],
            "conf/scheduler/warmup_stable_decay.yaml: scheduler: decay_steps must be at least 2, "
            "got 1; "
            "increase training.length or budget_fraction, or remove it from advise.candidates",
        ),
    ],
)
def test_invalid_question_is_one_line_and_leaves_no_files(
    complaint: Callable[..., str], arguments: list[str], said: str
) -> None:
    assert complaint(*arguments).startswith(said)


def test_folder_with_one_class_is_refused(complaint: Callable[..., str], tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "photos", classes=1)
    said = complaint("dataset=imagefolder", f"dataset.folder={folder}", "dataset.image_size=8")
    assert said.startswith(f"{folder} has one class, class0: ")
    assert "two or more are needed" in said


@pytest.mark.slow  # timm's own names are asked for
def test_unknown_model_names_nearest(
    complaint: Callable[..., str],
) -> None:
    said = complaint("dataset=digits", "model=timm", "model.architecture=resnet81")
    assert said.startswith("timm has no architecture 'resnet81'; the nearest are resnet")
    assert "resnet18" in said


# --- README ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_readme_command_runs_with_smaller_budget(
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commands = re.findall(
        r"^anneal advise (.*dataset=digits.*)$",
        (repository / "README.md").read_text(),
        re.MULTILINE,
    )
    assert commands, "README.md shows no advice on digits"
    monkeypatch.chdir(tmp_path)
    smaller = [
        "dataset.image_size=16",
        "training.batch_size=32",
        "training.length=24 steps",
        "training.evaluations=2",
        "range_test.length=240 steps",
        "range_test.points=24",
        "range_test.seeds=[0]",
        "range_test.first_lr=0.0003",
        "range_test.last_lr=0.3",
        "advise.seeds=[0,1,2]",
        "hardware.threads=1",
    ]
    said, error = said_by(
        lambda: advise.main([*shlex.split(commands[0], comments=True), *smaller]), capsys
    )
    assert error == ""
    cost = (
        "range test: 1 seed x 240; 10 candidates x 3 seeds x 24; at least 3 x 24 at higher bounds"
    )
    assert f"cost: 1,032 updates ({cost})" in said
    answer = json.loads((tmp_path / NAME / "advice.json").read_text())
    names = [s["name"] for s in answer["choice"]["results"]]
    assert names == sorted(names, key=list(CANDIDATES).index)
    assert len(names) == 10
