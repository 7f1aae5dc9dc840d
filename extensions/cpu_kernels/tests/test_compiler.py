"""The compiler of the C++ sources: which one, its cache, and its errors."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from anneal_cpu_kernels import compiler
from anneal_cpu_kernels.compiler import POOLS, load_library


@pytest.fixture(autouse=True)
def _nothing_loaded() -> Iterator[None]:
    load_library.cache_clear()
    yield
    load_library.cache_clear()


@pytest.mark.parametrize("wanted", ["no-such-compiler", "no-such-compiler -m64"])
def test_missing_compiler_is_named_in_the_error(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", wanted)
    message = f"needs a C++ compiler (CXX={wanted}), and there is none"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_library(POOLS)


@pytest.mark.usefixtures("needs_compiler")
def test_compiler_may_have_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ -DNOTHING")
    load_library(POOLS)


@pytest.fixture
def source(needs_compiler: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a copy of a source, which is compiled into a cache of its own."""
    copied = tmp_path / POOLS
    copied.write_bytes((compiler.PACKAGE / POOLS).read_bytes())
    monkeypatch.setattr(compiler, "PACKAGE", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copied


def compiled(source: Path) -> set[tuple[str, int]]:
    load_library.cache_clear()
    load_library(POOLS)
    return {(f.name, f.stat().st_mtime_ns) for f in (source.parent / "cache/anneal").iterdir()}


def test_source_with_an_error_leaves_no_file(source: Path) -> None:
    source.write_text("no C++ at all\n")
    with pytest.raises(ValueError, match=r"cannot compile fused_pooling\.cpp: .*error"):
        load_library(POOLS)
    assert not any((source.parent / "cache/anneal").iterdir())


def test_cache_that_cannot_be_written_is_an_error(source: Path) -> None:
    (source.parent / "cache").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"fused_pooling\.cpp cannot be compiled, stored or load"):
        load_library(POOLS)


def test_library_is_compiled_again_after_a_change_of_source_or_flags(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiled(source)
    assert len(first) == 1
    assert compiled(source) == first
    source.write_text(source.read_text() + "// edited\n")
    second = compiled(source)
    assert len(second) == 2
    monkeypatch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-DNOTHING"))
    assert len(compiled(source)) == 3
