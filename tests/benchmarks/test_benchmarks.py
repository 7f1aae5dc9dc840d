"""What benchmarks/training.py counts, computes and writes; how fast anything is, is no test's."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch


@pytest.fixture
def benchmarks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the benchmarks, importable."""
    folder = repository / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(repository)
    return folder


@pytest.fixture
def gated(benchmarks: Path) -> ModuleType:
    import gated

    return gated


@pytest.fixture
def contenders(benchmarks: Path) -> ModuleType:
    import contenders

    return contenders


@pytest.fixture
def training(benchmarks: Path) -> ModuleType:
    import training

    return training


# --- the gate ------------------------------------------------------------------------------------


def test_round_counts_whole_updates_after_those_that_are_not_timed(
    gated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1_000))
    monkeypatch.setattr(gated.time, "perf_counter", lambda: float(next(clock)))
    answers = io.StringIO()
    gate = gated.Gate(io.StringIO("0.5\n1e9\n"), answers, unit=100.0, untimed=6, cuda=False)
    gate()  # ready; the first round is asked for
    for _ in range(6):
        gate()  # the last of them starts the clock, at second 0
    assert answers.getvalue() == '"ready"\n'
    gate()  # one update made
    gate()  # two
    gate()  # three: enough, and longer than half a second
    said = [json.loads(line) for line in answers.getvalue().splitlines()]
    # the clock is read when the round begins, when three updates are made, and at the end
    assert said == ["ready", 3 * 100.0 / 2.0]
    for _ in range(6 + 50):
        gate()
    assert len(answers.getvalue().splitlines()) == 2, "a long round goes on"


def test_contender_that_nobody_asks_any_more_ends(gated: ModuleType) -> None:
    gate = gated.Gate(io.StringIO(""), io.StringIO(), unit=1.0, untimed=6, cuda=False)
    with pytest.raises(SystemExit):
        gate()


def test_round_leaves_parts_out_and_the_next_has_all(
    gated: ModuleType,
) -> None:
    requests = io.StringIO("0 5 schedule tracking\n0\n")
    gate = gated.Gate(requests, io.StringIO(), unit=1.0, untimed=1, cuda=False)
    gate()
    for _ in range(1 + 5):  # the first starts the clock, five are asked for
        assert gate.left_out == {"schedule", "tracking"}
        gate()
    assert gate.left_out == set()


def test_each_part_can_be_left_out_and_put_back(gated: ModuleType) -> None:
    said: list[object] = []

    class Bar:
        def start(self, _training: object) -> None:
            said.append("a bar")

        def between(self, update: int, **_stopping: bool) -> None:
            said.append(update)

        def close(self, **_failed: bool) -> None:
            said.append("no bar")

    gate = SimpleNamespace(left_out=set(gated.PARTS))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduled = gated.GatedSchedule(gate, optimizer, lambda update: 0.5 / (1 + update))
    training = gated.GatedTraining(
        gate, learner=SimpleNamespace(optimizer=optimizer), scheduled=scheduled, total_steps=9,
        log_at=[], evaluate_at=[], evaluate=None,
    )  # fmt: skip
    tracking = gated.GatedTracking(gate, SimpleNamespace(record=lambda _: said.append("tracked")))
    bar = gated.GatedBar(gate, Bar())
    bar.start(training)

    def all_of_them() -> list[object]:
        training._loss_sum, training._losses = torch.ones(()), 1
        scheduled.step()
        assert training._log(said.append)
        tracking.record({})
        bar.between(scheduled.update, stopping=False)
        done = said.copy()
        said.clear()
        return done

    assert all_of_them() == []
    assert (scheduled.update, optimizer.param_groups[0]["lr"]) == (1, 0.5)
    gate.left_out = set()
    record, *shown = all_of_them()
    assert (record["update"], shown) == (2, ["tracked", "a bar", 2])
    assert (scheduled.update, optimizer.param_groups[0]["lr"]) == (2, 0.5 / 3)
    gate.left_out = {"progress"}
    assert all_of_them()[1:] == ["tracked", "no bar"]


def test_only_tracker_and_bar_are_put_behind_the_gate(gated: ModuleType) -> None:
    from anneal.runs.observers import Observer, ProgressBar, Tracking

    other = Observer()
    found = gated.gated_observers(
        gated.Gate, [other, Tracking(lambda **_: None), ProgressBar("a run")]
    )
    assert [type(one) for one in found] == [Observer, gated.GatedTracking, gated.GatedBar]
    assert found[0] is other


# --- the numbers ----------------------------------------------------------------------------------

RATES = {
    "ours": [1000.0, 500.0, 900.0],
    "plain, 0 workers": [100.0, 100.0, 100.0],
    "plain, 2 workers": [250.0, 125.0, 300.0],
    "timm's loader": [200.0, 250.0, 300.0],
    "matmul bf16": [4e11, 2e11, 3e11],
}
APART = {
    "ours": [1000.0, 500.0, 900.0] * 3,
    "ours without all four": [1020.0, 505.0, 909.0] * 3,
    "ours without schedule": [1000.0, 505.0, 900.0] * 3,
}


def test_ratio_is_the_median_of_the_ratios_within_each_round(training: ModuleType) -> None:
    """The machine was half as fast in the second round; that changes no ratio."""
    found = training.summarise("caffe", RATES, 1e8, APART)
    assert found["rates"]["ours"] == 900.0
    assert found["fastest_plain"] == "plain, 2 workers"
    assert found["ratio_to_plain"] == 4.0
    assert found["ratio_to_timm"] == 3.0
    assert found["share_of_matmul_bf16"] == 0.25
    assert "share_of_matmul_float32" not in found


def test_convolutions_alone_give_an_upper_bound(training: ModuleType) -> None:
    rates = RATES | {"convolutions alone": [2250.0, 1125.0, 2250.0]}
    found = training.summarise("caffe", rates, 1e8, {})
    assert found["convolutions_to_plain"] == 9.0
    said = training.sentences(found)
    assert said[1] == "9.00 times that loop: the convolutions alone, an upper bound"


def test_every_convolution_goes_forward_and_back_as_often_as_the_network(
    contenders: ModuleType,
) -> None:
    """Counted by torch: two passes for the first layer, which passes nothing back, else three."""
    from torch.utils.flop_counter import FlopCounterMode

    rounds = 0

    def gate() -> None:
        nonlocal rounds
        if rounds == 2:
            raise SystemExit
        if rounds == 1:
            counter.__enter__()
        rounds += 1

    counter = FlopCounterMode(display=False)
    with pytest.raises(SystemExit):
        contenders.convolutions("caffe", gate, 1)
    counter.__exit__(None, None, None)
    layers = [32 * 32 * 75 * 32, 16 * 16 * 800 * 32, 8 * 8 * 800 * 64]
    assert counter.get_total_flops() == 100 * 2 * (3 * sum(layers) - layers[0])


def test_what_a_part_takes_has_the_interval_of_its_median_over_rounds(training: ModuleType) -> None:
    found = training.summarise("caffe", RATES, 1e8, APART)
    assert found["rounds_apart"] == 9
    # nine rounds: the second smallest and the second largest
    shares = sorted(
        1 - a / b for a, b in zip(APART["ours"], APART["ours without all four"], strict=True)
    )
    assert found["left_out"]["ours without all four"] == pytest.approx(
        [1 - 900 / 909, shares[1], shares[-2]], abs=1e-4
    )
    assert found["left_out"]["ours without schedule"][0] == 0.0
    few = {name: rounds[:5] for name, rounds in APART.items()}
    found = training.summarise("caffe", RATES, 1e8, few)
    assert found["left_out"]["ours without all four"][1:] == [None, None]


def test_sentences_give_ratios_shares_and_intervals(training: ModuleType) -> None:
    said = training.sentences(training.summarise("caffe", RATES, 1e8, APART))
    assert said[0] == "4.00 times the plain, 2 workers loop"
    assert said[2] == "25.0% of the bf16 matrix-product rate"
    assert said[3] == ("1.0% (1.0% to 2.0%) of an update is what ours without all four leaves out")
    few = {name: rounds[:5] for name, rounds in APART.items()}
    said = training.sentences(training.summarise("caffe", RATES, 1e8, few))
    assert said[3] == "1.0% of an update is what ours without all four leaves out"


def test_operations_of_the_network_are_those_counted_by_hand(training: ModuleType) -> None:
    """Two for each product and sum, three passes; the first layer passes nothing back."""
    layers = [32 * 32 * 75 * 32, 16 * 16 * 800 * 32, 8 * 8 * 800 * 64, 1024 * 10]
    expected = 2 * (3 * sum(layers) - layers[0])
    assert training.flops_per_image("caffe") == pytest.approx(expected, rel=1e-3)


def test_readme_block_gets_every_machine_and_the_rest_stays(
    training: ModuleType, repository: Path
) -> None:
    environment = {
        "gpu": None,
        "cpu": "A (R) Processor @ 2",
        "cpu_capability": "AVX2",
        "versions": {"torch": "2.11.0"},
        "started": "2026-03-04T05:06:07Z",
        "commit": "abcdef012345",
    }
    found = training.summarise("caffe", RATES, 1e8, APART)
    result = {"environment": environment, "threads": 2, "rounds": 3, "seconds": 2.0,
              "networks": {"caffe": found}}  # fmt: skip
    assert training.device_name(environment) == "a-r-processor-2"
    text = (repository / "docs/benchmarks.md").read_text()
    renewed = training.renew_page(text, [result])
    assert "A (R) Processor @ 2, AVX2, 2 threads, torch 2.11.0, 2026-03-04" in renewed
    assert "| ours | 900 | 90 | 1.00 |" in renewed
    assert renewed.split(training.BEGIN)[0] == text.split(training.BEGIN)[0]
    assert renewed.split(training.END)[1] == text.split(training.END)[1]
    assert training.renew_page(renewed, [result]) == renewed
    with pytest.raises(ValueError, match="must have <!-- benchmarks:begin -->"):
        training.renew_page("no marks", [])


def test_block_of_the_page_is_that_of_committed_results(
    training: ModuleType, repository: Path
) -> None:
    machines = sorted((repository / training.FOLDER).glob("*.json"))
    text = (repository / "docs/benchmarks.md").read_text()
    assert training.renew_page(text, [json.loads(path.read_text()) for path in machines]) == text


# --- the in-memory loop ---------------------------------------------------------------------------


def test_in_memory_loop_crops_padded_images_and_mirrors_half(
    benchmarks: Path,
) -> None:
    import memory_loop

    torch.manual_seed(0)
    image = torch.arange(3 * 32 * 32, dtype=torch.float32).view(1, 3, 32, 32) + 1
    padded = torch.nn.functional.pad(image.expand(400, -1, -1, -1), (4, 4, 4, 4))
    found = memory_loop.crop_and_mirror(padded)
    assert found.shape == (400, 3, 32, 32)
    windows = [padded[0, :, top : top + 32, left : left + 32]
               for top in range(9) for left in range(9)]  # fmt: skip
    known = {w.numpy().tobytes(): False for w in windows}
    known |= {w.flip(-1).contiguous().numpy().tobytes(): True for w in windows}
    mirrored = [known[one.contiguous().numpy().tobytes()] for one in found]
    assert 150 < sum(mirrored) < 250
    assert len({one.contiguous().numpy().tobytes() for one in found}) > 100


# --- the command ----------------------------------------------------------------------------------


def run(benchmarks: Path, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "training.py", "--networks", "caffe", "--only", *names]
    return subprocess.run(
        [command[0], str(benchmarks / command[1]), *command[2:],
         "--rounds", "1", "--seconds", "0.05", "--threads", "1"],
        env=os.environ | environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.archives
def test_command_measures_named_contenders(benchmarks: Path) -> None:
    done = run(benchmarks, "ours", "plain, 0 workers")
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| contender", "| :---", "| ours", "| plain, 0 workers"
    ]  # fmt: skip
    assert "times the plain, 0 workers loop" in done.stdout


@pytest.mark.slow
@pytest.mark.archives
def test_parts_are_left_out_of_rounds_of_one_process(
    training: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "EVERY", 5)  # updates of a round
    rates = training.take_apart("caffe", rounds=1, threads=1)
    assert list(rates) == list(training.APART)
    assert all(len(found) == 1 and found[0] > 0 for found in rates.values())


@pytest.mark.slow
def test_contender_that_cannot_start_is_one_line(benchmarks: Path, tmp_path: Path) -> None:
    done = run(benchmarks, "plain, 0 workers", ANNEAL_ARCHIVES=str(tmp_path))
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("plain, 0 workers ended: ValueError: cifar-10-batches-py is neither in")
