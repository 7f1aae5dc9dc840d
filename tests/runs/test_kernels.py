"""The hook for the extension with CPU kernels: asked for, refused in one line, recorded."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from anneal.config.schema import HardwareConfig
from anneal.runs import hardware, kernels
from anneal.runs.hardware import Settings, decide

ASKED = {
    "name": "mine",
    "device": "cpu",
    "precision": "float32",
    "memory_format": "contiguous",
    "compile": "off",
    "threads": 1,
    "kernels": "cpu",
}


def decided(architecture: str = "caffe_cifar", **options: Any) -> Settings:
    return decide(HardwareConfig(**(ASKED | options)), architecture=architecture)


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Install an extension that serves one network; return its folder."""
    module = ModuleType(kernels.EXTENSION)
    (tmp_path / "__init__.py").write_text("SERVES = 1\n")
    (tmp_path / "kernel.cpp").write_text("int one = 1;\n")
    module.__file__ = str(tmp_path / "__init__.py")

    def check(architecture: str, precision: torch.dtype) -> None:
        if architecture != "caffe_cifar":
            raise ValueError(f"cpu serves caffe_cifar; got {architecture} in {precision}")

    module.check = check  # type: ignore[attr-defined]
    module.apply = lambda model, precision: setattr(model, "applied", precision)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, kernels.EXTENSION, module)
    return tmp_path


@pytest.fixture
def no_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, kernels.EXTENSION, None)


@pytest.mark.usefixtures("no_extension")
def test_missing_extension_is_one_line_that_says_how_to_install_it() -> None:
    with pytest.raises(ValueError, match=r"^conf/hardware/mine\.yaml: kernels: ") as refused:
        decided()
    assert str(refused.value) == (
        "conf/hardware/mine.yaml: kernels: cpu needs the extension anneal_cpu_kernels, which is "
        "not installed: `pip install ./extensions/cpu_kernels` in a clone of the repository"
    )


@pytest.mark.usefixtures("no_extension")
def test_extension_is_not_looked_for_unless_asked() -> None:
    assert decided(kernels="none").numerics == "float32 contiguous eager"


@pytest.mark.usefixtures("extension")
def test_network_without_kernels_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="cpu serves caffe_cifar; got resnet18") as refused:
        decided("resnet18")
    assert str(refused.value).startswith("conf/hardware/mine.yaml: kernels: ")


@pytest.mark.usefixtures("extension")
def test_device_without_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match=r"mine\.yaml: kernels: cpu needs the device cpu, got"):
        decided(device="auto")


def test_settings_with_kernels_carry_the_digest_of_their_sources(extension: Path) -> None:
    settings = decided()
    assert settings.kernels == settings.describe()["kernels"] == "cpu"
    before = settings.numerics
    assert before.startswith("float32 contiguous eager cpu ")
    (extension / "kernel.cpp").write_text("int one = 2;\n")
    assert settings.numerics != before


def test_kernels_are_applied_to_the_model(extension: Path) -> None:
    model = torch.nn.Linear(2, 2)
    kernels.apply_kernels(model, torch.bfloat16)
    assert model.applied == torch.bfloat16


@pytest.mark.parametrize("capability", ["AMX", "AVX512_BF16", "AVX2"])
@pytest.mark.parametrize("architecture", ["caffe_cifar", "cifar_resnet20"])
def test_auto_never_takes_the_kernels(
    architecture: str, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cpu_capability", lambda: capability)
    auto = dict.fromkeys(("precision", "memory_format", "compile"), "auto")
    config = HardwareConfig(name="auto", device="cpu", threads=1, **auto)
    settings = decide(config, architecture=architecture)
    assert (settings.kernels, settings.compile) == ("none", False)
