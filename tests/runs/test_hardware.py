"""From ``auto`` to settings: what is here, what was measured, and what is refused."""

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
import torch

from anneal.config.schema import HardwareConfig
from anneal.runs import hardware
from anneal.runs.environment import tf32_flags
from anneal.runs.hardware import Settings, cpu_capability, decide, num_cores

AUTO = {
    "name": "auto",
    "device": "auto",
    "precision": "auto",
    "memory_format": "auto",
    "compile": "auto",
    "threads": 1,
}
TABLE = resources.files("anneal.runs").joinpath("measured_settings.json")
ROWS = json.loads(TABLE.read_text())["rows"]


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend to be another machine: ``this_machine(cuda=True, capability="AMX")``."""

    def be(
        *, cuda: bool = False, mps: bool = False, capability: str = "AVX2", compiler: bool = True
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(hardware, "cpu_capability", lambda: capability)
        obstacle = None if compiler else "compiling needs a C++ compiler, and there is none"
        monkeypatch.setattr(hardware, "compiler_obstacle", lambda: obstacle)

    be()
    return be


def decided(architecture: str = "resnet18", **options: Any) -> Settings:
    return decide(HardwareConfig(**(AUTO | options)), architecture=architecture)


def table(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, *rows: tuple[str, str, str, str]) -> None:
    """Replace the measurements: (device, capability, architecture, compile)."""
    written = [
        {
            "device": device,
            "capability": capability,
            "architecture": architecture,
            "settings": {"precision": "bf16", "memory_format": "channels_last", "compile": how},
        }
        for device, capability, architecture, how in rows
    ]
    (tmp_path / "measured_settings.json").write_text(json.dumps({"rows": written}))
    monkeypatch.setattr(hardware.resources, "files", lambda _: tmp_path)


def measured_for(device: str, capability: str = "any") -> dict[str, str]:
    rows = [r for r in ROWS if r["device"] == device and r["architecture"] == "any"]
    by_capability = {r["capability"]: r["settings"] for r in rows}
    return by_capability.get(capability, by_capability["any"])


@pytest.mark.parametrize(
    ("here", "device"),
    [
        ({}, "cpu"),
        ({"cuda": True}, "cuda"),
        ({"mps": True}, "mps"),
        ({"cuda": True, "mps": True}, "cuda"),
    ],
)
def test_auto_takes_the_fastest_kind_of_device_that_is_here(
    this_machine: Any, here: dict[str, bool], device: str
) -> None:
    this_machine(**here)
    assert decided().device == device


@pytest.mark.parametrize(
    ("device", "capability"),
    [("cpu", "AVX2"), ("cpu", "AMX"), ("cpu", "AVX512_BF16"), ("cuda", "any"), ("mps", "any")],
)
def test_auto_takes_what_was_measured_for_this_kind_of_machine(
    this_machine: Any, device: str, capability: str
) -> None:
    this_machine(cuda=device == "cuda", mps=device == "mps", capability=capability)
    settings, row = decided(), measured_for(device, capability)
    assert settings.precision == row["precision"]
    assert settings.memory_format == row["memory_format"]
    assert settings.compile == (row["compile"] == "on")


def test_without_fast_bf16_a_processor_computes_in_float32(this_machine: Any) -> None:
    assert decided().precision == "float32"
    this_machine(capability="AMX")
    assert decided().precision == "bf16"


def test_measurement_of_this_architecture_comes_before_one_of_any(
    this_machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    table(
        monkeypatch,
        tmp_path,
        ("cpu", "any", "any", "off"),
        ("cpu", "AMX", "any", "off"),
        ("cpu", "AMX", "resnet18", "on"),
    )
    assert not decided("resnet18").compile
    this_machine(capability="AMX")
    assert decided("resnet18").compile
    assert not decided("resnet34").compile


def test_each_kind_of_device_has_a_measurement_that_fits_all() -> None:
    fits_all = {r["device"] for r in ROWS if r["capability"] == r["architecture"] == "any"}
    assert fits_all == {"cpu", "cuda", "mps"}
    cases = [(r["device"], r["capability"], r["architecture"]) for r in ROWS]
    assert len(cases) == len(set(cases))
    for row in ROWS:
        assert row["settings"].keys() == {"precision", "memory_format", "compile"}
        assert row["settings"]["precision"] in hardware.PRECISIONS
        assert row["settings"]["memory_format"] in ("contiguous", "channels_last")
        assert row["settings"]["compile"] in ("on", "off")
        assert "kernels" not in row["settings"]  # never picked by auto


def test_what_is_asked_for_comes_before_what_was_measured(this_machine: Any) -> None:
    this_machine(cuda=True, capability="AMX")
    settings = decided(
        device="cpu", precision="float32", memory_format="contiguous", compile="off", threads=2
    )
    assert settings == Settings(
        device="cpu", precision="float32", memory_format="contiguous", compile=False, threads=2
    )
    assert (settings.dtype, settings.channels_last) == (torch.float32, False)
    other = decided(device="cpu", precision="bf16", memory_format="channels_last")
    assert (other.dtype, other.channels_last) == (torch.bfloat16, True)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_device_that_is_not_here_is_refused_with_those_that_are(device: str) -> None:
    with pytest.raises(ValueError, match="device must be one that is here") as refused:
        decided(name=device, device=device)
    assert str(refused.value) == (
        f"conf/hardware/{device}.yaml: device must be one that is here (cpu), got '{device}'"
    )


def test_compiling_without_a_compiler_is_refused_where_it_was_asked_for(
    this_machine: Any,
) -> None:
    this_machine(compiler=False)
    with pytest.raises(ValueError, match=r'compile: "on": .*needs a C\+\+ compiler') as refused:
        decided(name="mine", compile="on")
    assert str(refused.value).startswith("conf/hardware/mine.yaml: ")
    this_machine(compiler=True)
    assert decided(compile="on").compile


def test_compiling_without_a_compiler_is_left_where_auto_would_have(
    this_machine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    table(monkeypatch, tmp_path, ("cpu", "any", "any", "on"), ("cuda", "any", "any", "on"))
    assert decided().compile
    this_machine(compiler=False)
    assert not decided().compile
    this_machine(cuda=True, compiler=False)  # there Triton compiles
    assert decided().compile


@pytest.mark.parametrize("wanted", ["no-such-compiler", "no-such-compiler -m64"])
def test_missing_compiler_is_named_with_what_was_sought(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CXX", wanted)
    message = f"compiling for the CPU needs a C++ compiler (CXX={wanted}), and there is none"
    assert hardware.compiler_obstacle() == message


@pytest.fixture
def tf32_as_before() -> Iterator[None]:
    """Put torch's two switches back."""
    before = tf32_flags()
    yield
    torch.backends.cuda.matmul.allow_tf32 = before["cublas"]
    torch.backends.cudnn.allow_tf32 = before["cudnn"]


@pytest.mark.usefixtures("tf32_as_before")
@pytest.mark.parametrize(
    ("precision", "said", "allowed"),
    [
        ("float32", "float32 without TF32 contiguous eager", False),
        ("tf32", "tf32 contiguous eager", True),
        ("bf16", "bf16 contiguous eager", False),
    ],
)
def test_tf32_on_cuda_is_off_unless_asked_for_and_is_named(
    this_machine: Any, precision: str, said: str, allowed: bool
) -> None:
    this_machine(cuda=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not allowed
    settings = decided(precision=precision, memory_format="contiguous", compile="off")
    assert settings.numerics == said
    assert tf32_flags() == {"cublas": allowed, "cudnn": allowed}


@pytest.mark.usefixtures("tf32_as_before")
def test_tf32_is_refused_without_cuda_and_float32_has_its_old_name() -> None:
    with pytest.raises(ValueError, match=r"precision: tf32 needs the device cuda, got cpu"):
        decided(precision="tf32")
    before = tf32_flags()
    assert decided(precision="float32", compile="off").numerics == "float32 contiguous eager"
    assert tf32_flags() == before


@pytest.mark.gpu
@pytest.mark.usefixtures("tf32_as_before")
def test_float32_on_cuda_is_exact_and_tf32_is_not(this_machine: Any) -> None:
    this_machine(cuda=True)
    torch.manual_seed(0)
    images, weights = torch.randn(8, 64, 32, 32), torch.randn(64, 64, 3, 3)
    exact = torch.nn.functional.conv2d(images.double(), weights.double())
    errors = {}
    for precision in ("float32", "tf32"):
        decide(HardwareConfig(**(AUTO | {"precision": precision})), architecture="resnet18")
        found = torch.nn.functional.conv2d(images.cuda(), weights.cuda()).cpu()
        errors[precision] = float((found - exact).abs().max())
    assert errors["float32"] < 1e-3 < errors["tf32"]  # not measured: no GPU was at hand


def test_threads_are_set_and_without_a_number_one_for_each_core() -> None:
    assert decided(threads=2).threads == 2
    assert torch.get_num_threads() == 2
    assert decided(threads=None).threads == num_cores() == torch.get_num_threads()
    assert num_cores() >= 1


def test_choice_is_plain_data_for_the_record() -> None:
    described = decided(compile="off").describe()
    assert json.loads(json.dumps(described)) == described
    keys = {"device", "precision", "memory_format", "compile", "threads", "kernels", "timed"}
    assert described.keys() == keys | {"parts", "inputs", "capture"}
    assert described["kernels"] == "none"


@pytest.mark.parametrize(
    ("tiles", "let", "avx512_bf16", "named"),
    [
        (True, True, True, "AMX"),
        (True, False, True, "AVX512_BF16"),  # Linux does not let this process use the tiles
        (True, False, False, "AVX2"),
        (False, True, True, "AVX512_BF16"),
        (False, True, False, "AVX2"),
    ],
)
def test_capability_is_the_best_that_the_processor_and_linux_allow(
    monkeypatch: pytest.MonkeyPatch, tiles: bool, let: bool, avx512_bf16: bool, named: str
) -> None:
    """On any processor: every answer that the name rests on is given here."""
    for function, answer in (
        ("_is_amx_tile_supported", tiles),
        ("_init_amx", let),
        ("_is_avx512_bf16_supported", avx512_bf16),
    ):
        monkeypatch.setattr(torch.cpu, function, lambda answer=answer: answer, raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert cpu_capability() == named


def test_capability_of_this_processor_is_a_known_name() -> None:
    assert cpu_capability() in ("AMX", "AVX512_BF16", "AVX512", "AVX2", "DEFAULT", "NO AVX")


@pytest.mark.parametrize(("takes_it", "asked"), [(1, [-3, -1, -2]), (0, [-3])])
def test_freed_memory_is_kept_only_where_so_high_a_threshold_is_taken(
    monkeypatch: pytest.MonkeyPatch, takes_it: int, asked: list[int]
) -> None:
    seen = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            seen.append(parameter)
            return takes_it

    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda _: Library())
    hardware.keep_freed_memory()
    assert seen == asked


def test_captured_updates_are_eager_code_and_in_the_numerics_of_cuda(this_machine: Any) -> None:
    on_processor = decided(capture="graph")
    assert on_processor.capture == "graph"
    assert on_processor.numerics == decided().numerics  # there nothing is captured
    this_machine(cuda=True)
    assert decided(capture="graph").numerics.endswith("eager capture graph")
    assert "capture" not in decided().numerics
    with pytest.raises(ValueError, match=r"auto.yaml: compile must be off where capture is graph"):
        decided(capture="graph", compile="on")


def test_parts_together_are_contiguous_and_in_the_numerics(this_machine: Any) -> None:
    this_machine(capability="AMX")
    together = decided(parts="together")
    assert together.numerics == "bf16 contiguous eager parts together"
    assert decided(parts="together", memory_format="channels_last").channels_last
    assert "parts" not in decided().numerics


@pytest.mark.parametrize(("key", "value"), [("compile", "on"), ("kernels", "cpu")])
def test_parts_together_refuse_code_that_replaces_layers(key: str, value: str) -> None:
    needed = {"compile": "off", "kernels": "none"}[key]
    with pytest.raises(ValueError, match=key) as refused:
        decided(parts="together", **{key: value})
    assert str(refused.value) == (
        f"conf/hardware/auto.yaml: {key} must be {needed} where parts is together, got {value}"
    )
