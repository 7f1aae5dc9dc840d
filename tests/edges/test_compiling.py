"""What a model is compiled with, and what is said where it cannot be."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from anneal import compiling
from anneal.compiling import compile_model, load_library, obstacle_on_cpu
from anneal.models.caffe_cifar import CaffeCIFAR

needs_compiler = pytest.mark.skipif(
    obstacle_on_cpu("any") is not None, reason="there is no C++ compiler"
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
    compile_model(model)
    assert compiled == [model]
    assert getattr(model, "kernels", None) is None


@needs_compiler
def test_caffes_networks_are_compiled_on_a_cpu_and_learn_through_it() -> None:
    model = CaffeCIFAR()
    assert model.kernels is None
    compile_model(model)
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
        load_library()
    assert message in str(obstacle_on_cpu("caffe_cifar"))
    assert message in str(obstacle_on_cpu("resnet18"))


@needs_compiler
def test_a_compiler_may_be_given_with_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ -DNOTHING")
    assert obstacle_on_cpu("caffe_cifar") is None


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a copy of the source, which is compiled into a cache of its own."""
    copied = tmp_path / "fused_pooling.cpp"
    copied.write_bytes(compiling.SOURCE.read_bytes())
    monkeypatch.setattr(compiling, "SOURCE", copied)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copied


def compiled(source: Path) -> set[tuple[str, int]]:
    load_library.cache_clear()
    load_library()
    return {(f.name, f.stat().st_mtime_ns) for f in (source.parent / "cache/anneal").iterdir()}


@needs_compiler
def test_a_source_that_the_compiler_refuses_leaves_nothing_behind(source: Path) -> None:
    source.write_text("no C++ at all\n")
    with pytest.raises(ValueError, match=r"cannot compile fused_pooling\.cpp: .*error"):
        load_library()
    assert not any((source.parent / "cache/anneal").iterdir())
    assert obstacle_on_cpu("caffe_cifar") is not None
    assert obstacle_on_cpu("resnet18") is None


@needs_compiler
def test_a_cache_that_cannot_be_written_is_said(source: Path) -> None:
    (source.parent / "cache").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"fused_pooling\.cpp cannot be compiled, kept or loaded"):
        load_library()


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
