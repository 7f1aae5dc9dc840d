"""benchmarks/gpu.py: its arithmetic, and a case of ours and of the plain loop on the CPU."""

import contextlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from anneal.io.files import read_json, write_json


@pytest.fixture
def gpu(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import gpu

    return gpu


def test_idle_share_counts_time_that_no_kernel_covers(gpu: ModuleType) -> None:
    assert gpu.idle_share([]) is None
    assert gpu.idle_share([(3.0, 3.0)]) is None
    assert gpu.idle_share([(0.0, 5.0), (1.0, 2.0)]) == 0.0  # one within the other
    assert gpu.idle_share(iter([(6.0, 8.0), (0.0, 2.0)])) == 0.5  # in any order


def test_rounds_are_timed_from_the_first_update_on(gpu: ModuleType) -> None:
    assert gpu.rates_of([1.0, 3.0, 4.0], 6) == [3.0, 6.0]
    assert gpu.rates_of([1.0], 6) == []


def measured(**changes: Any) -> dict[str, Any]:
    eager = {
        "rates": [10.0, 30.0, 20.0], "first_seconds": 4.0, "idle": 0.25, "flop": 5e10,
        "numerics": "bf16 eager", "status": "finished", "losses": [2.0, 1.5], "gib": 1.25,
    }  # fmt: skip
    return {
        "device": "a card", "updates": 7, "rounds": 3,
        "environment": {
            "gpu": "a card", "started": "2026-01-02T00:00:00Z", "commit": "abc",
            "versions": {"torch": "2"},
        },
        "rows": {
            "caffe": {
                "eager": eager,
                "compiled": {"failed": "no compiler"},
                "captured": eager | {"rates": [60.0]},
                "abreast 2": eager | {"rates": [90.0], "losses": [2.0, 1.25]},
                "plain": {"rates": [5.0], "first_seconds": 2.0},
            }
        },
    } | changes  # fmt: skip


def test_page_says_what_was_measured_and_what_was_not(gpu: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- gpu:begin -->\nold\n<!-- gpu:end -->\n")
    write_json(tmp_path / "a-processor.json", measured(device="a processor"))
    gpu.save_page(tmp_path, page)
    assert "Not run on a GPU yet." in page.read_text()
    write_json(tmp_path / "a-card.json", measured())
    gpu.save_page(tmp_path, page)
    lines = page.read_text().splitlines()
    assert (
        "a card, torch 2, 2026-01-02, commit abc; medians of 3 rounds of 7 updates; bf16 eager."
        in lines
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if "caffe" in line
    ]
    assert rows == [
        ["caffe", "eager", "20.0", "1.00", "yes", "1", "25%", "1.2", "4.0"],
        ["caffe", "compiled", "not run: no compiler", "", "", "", "", "", ""],
        ["caffe", "captured", "60.0", "3.00", "yes", "3", "25%", "1.2", "4.0"],
        ["caffe", "abreast 2", "90.0", "4.50", "no", "4.5", "25%", "1.2", "4.0"],
        ["caffe", "plain", "5.0", "0.25", "", "", "", "", "2.0"],
    ]


def test_page_of_the_documentation_has_the_block(gpu: ModuleType, repository: Path) -> None:
    text = (repository / gpu.PAGE).read_text()
    assert text.count(f"<!-- {gpu.BLOCK}:begin -->") == text.count(f"<!-- {gpu.BLOCK}:end -->") == 1


@pytest.fixture
def cases(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, with one thread."""

    class Pool(contextlib.nullcontext[Any]):
        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(SimpleNamespace(submit=self._submit))

        def _submit(self, measure: Any, case: Any) -> Any:
            measured = measure(case)
            return SimpleNamespace(result=lambda: measured)

    monkeypatch.setattr(gpu, "ProcessPoolExecutor", Pool)
    monkeypatch.setitem(gpu.MODES, "eager", {"compile": "off", "threads": 1})
    monkeypatch.setitem(gpu.MODES, "captured", gpu.CAPTURED | {"threads": 1})


@pytest.mark.usefixtures("cases")
def test_row_and_plain_loop_are_measured_on_the_cpu(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    asked = ["--device", "cpu", "--updates", "3", "--rounds", "1", "--rows", "caffe"]
    asked += ["--modes", "eager", "abreast 2", "plain", "--images", "200", "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *asked, "--write", "--folder", str(tmp_path)])
    transforms, augmentation = gpu.usual_transforms, []

    def noted(*, augmented: bool) -> Any:
        augmentation.append(augmented)
        return transforms(augmented=augmented)

    monkeypatch.setattr(gpu, "usual_transforms", noted)
    gpu.main()
    assert augmentation == [False]  # as Caffe's row
    (file,) = tmp_path.glob("*.json")
    modes = read_json(file)["rows"]["caffe"]
    assert list(modes) == ["eager", "abreast 2", "plain"]
    assert modes["abreast 2"]["losses"] == modes["eager"]["losses"]  # the first seed's
    assert len(modes["eager"]["losses"]) == 3
    for one in modes.values():
        assert len(one["rates"]) == 1
        assert one["rates"][0] > 0
        assert one["first_seconds"] > 0
    assert modes["eager"]["status"] == "finished"
    assert modes["eager"]["idle"] is None  # no GPU
    assert modes["eager"]["flop"] == pytest.approx(100 * 68.9e6, rel=0.01)  # as benchmarks.md has
    assert "| caffe | eager |" in " ".join(capsys.readouterr().out.split())


def test_compiler_has_its_ratio_and_its_seconds(repository: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import settings

    on, off = ("bf16", "channels_last", "on"), ("bf16", "channels_last", "off")
    rates, first = {on: 30.0, off: 20.0}, {on: 9.0, off: 0.5}
    expected = {"ratio_of_compiled": 1.5, "seconds_to_compile": 8.5}
    assert settings.of_compiler(rates, first, on) == expected
    assert settings.of_compiler(rates, first, (*off[:2], "kernels")) == expected


def test_row_of_one_part_is_not_measured_together(gpu: ModuleType) -> None:
    case = gpu.Case(row="caffe", mode="together", device="cpu", updates=1, rounds=1, workers=0,
                    images=200, began=0.0)  # fmt: skip
    with pytest.raises(ValueError, match="an update has one part"):
        gpu.measure(case)


def test_program_without_a_gpu_says_how_to_try_it(gpu: ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--rows", "caffe"])
    with pytest.raises(SystemExit, match="--device cpu tries the program without one"):
        gpu.main()


@pytest.mark.usefixtures("cases")
def test_case_that_fails_leaves_the_others(gpu: ModuleType, monkeypatch: Any) -> None:
    def measure(case: Any) -> dict[str, Any]:
        if case.mode == "eager":
            raise RuntimeError("long story\nCUDA out of memory")
        return {"rates": [1.0]}

    monkeypatch.setattr(gpu, "measure", measure)
    asked = SimpleNamespace(
        rows=["caffe"], modes=["eager", "plain"], device="cuda", updates=1, rounds=1, workers=0,
        images=None,
    )  # fmt: skip
    found = gpu.measure_rows(asked)["caffe"]
    assert found == {"eager": {"failed": "CUDA out of memory"}, "plain": {"rates": [1.0]}}


@pytest.mark.gpu
def test_idle_share_is_measured_on_cuda(repository: Path, tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable, str(repository / "benchmarks" / "gpu.py"), "--updates", "20",
            "--rounds", "1", "--rows", "caffe", "--modes", "eager", "--write",
            "--folder", str(tmp_path),
        ],
        cwd=repository, check=True, timeout=240,
    )  # fmt: skip
    (file,) = tmp_path.glob("*.json")
    assert 0 <= read_json(file)["rows"]["caffe"]["eager"]["idle"] < 1
