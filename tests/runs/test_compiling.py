"""What a model is compiled with, and what is said where it cannot be."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from anneal.models.caffe_cifar import CaffeCIFAR
from anneal.models.resnet import ResNetCIFAR
from anneal.runs import compiling
from anneal.runs.compiling import compile_model, load_library, obstacle_on_cpu

NAME = "models/fused_pooling.cpp"
needs_compiler = pytest.mark.skipif(
    obstacle_on_cpu("any", torch.float32) is not None, reason="there is no C++ compiler"
)


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    load_library.cache_clear()
    yield
    load_library.cache_clear()


@pytest.mark.parametrize("model", [nn.Linear(2, 2), CaffeCIFAR().to("meta")])
def test_torchs_compiler_takes_other_networks_and_other_devices(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    compile_model(model, torch.float32)
    assert compiled == [model]
    assert getattr(model, "kernels", None) is None


@needs_compiler
@pytest.mark.parametrize(
    ("precision", "tiles", "ours"),
    [(torch.float32, True, False), (torch.bfloat16, False, False), (torch.bfloat16, True, True)],
)
def test_residual_networks_have_kernels_for_bfloat16_in_tiles(
    precision: torch.dtype, tiles: bool, ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "has_tiles", lambda: tiles)
    taken: list[object] = []
    monkeypatch.setattr(compiling, "load_library", taken.append)
    monkeypatch.setattr(nn.Module, "compile", lambda _self: taken.append("torch"))
    model = ResNetCIFAR(depth=8)
    compile_model(model, precision)
    assert taken == ([compiling.BLOCKS] if ours else ["torch"])
    assert (model.kernels is not None) == ours


@needs_compiler
def test_caffes_networks_are_compiled_on_a_cpu_and_learn_through_it() -> None:
    model = CaffeCIFAR()
    assert model.kernels is None
    compile_model(model, torch.float32)
    assert model.kernels is not None
    pickle.loads(pickle.dumps(model))  # a compiled model can still be saved whole
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert model.conv1.weight.grad is not None
    assert model.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("wanted", ["no-such-compiler", "no-such-compiler -m64"])
def test_without_a_compiler_the_error_names_what_was_sought(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", wanted)
    message = f"needs a C++ compiler (CXX={wanted}), and there is none"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_library(NAME)
    assert message in str(obstacle_on_cpu("caffe_cifar", torch.float32))
    assert message in str(obstacle_on_cpu("resnet18", torch.bfloat16))


@needs_compiler
def test_a_compiler_may_be_given_with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ -DNOTHING")
    assert obstacle_on_cpu("caffe_cifar", torch.float32) is None


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a copy of the source, which is compiled into a cache of its own."""
    copied = tmp_path / NAME
    copied.parent.mkdir()
    copied.write_bytes((compiling.PACKAGE / NAME).read_bytes())
    monkeypatch.setattr(compiling, "PACKAGE", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(copied.parent / "cache"))
    return copied


def compiled(source: Path) -> set[tuple[str, int]]:
    load_library.cache_clear()
    load_library(NAME)
    return {(f.name, f.stat().st_mtime_ns) for f in (source.parent / "cache/anneal").iterdir()}


@needs_compiler
def test_a_source_that_the_compiler_refuses_leaves_nothing_behind(source: Path) -> None:
    source.write_text("no C++ at all\n")
    with pytest.raises(ValueError, match=r"cannot compile fused_pooling\.cpp: .*error"):
        load_library(NAME)
    assert not any((source.parent / "cache/anneal").iterdir())
    assert obstacle_on_cpu("caffe_cifar", torch.float32) is not None
    assert obstacle_on_cpu("resnet18", torch.bfloat16) is None


@needs_compiler
def test_a_cache_that_cannot_be_written_is_said(source: Path) -> None:
    (source.parent / "cache").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"fused_pooling\.cpp cannot be compiled, kept or loaded"):
        load_library(NAME)


@needs_compiler
def test_what_was_compiled_is_taken_again_until_source_or_flags_change(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiled(source)
    assert len(first) == 1
    assert compiled(source) == first
    source.write_text(source.read_text() + "// edited\n")
    second = compiled(source)
    assert len(second) == 2
    monkeypatch.setattr(compiling, "FLAGS", (*compiling.FLAGS, "-DNOTHING"))
    assert len(compiled(source)) == 3
