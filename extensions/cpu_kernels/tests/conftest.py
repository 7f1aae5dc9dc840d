"""Fixtures of the extension's tests: a C++ compiler, and a processor's tiles or their emulation."""

import hashlib
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from anneal.runs.hardware import compiler_obstacle, cpu_capability, find_compiler, has_tiles
from anneal_cpu_kernels import compiler, networks

WRONG_PROCESSOR = "wrong processor: "  # tests/conftest.py lists what is skipped for such a reason
EMULATED = Path(__file__).with_name("emulated_tiles.h")


@pytest.fixture(autouse=True)
def _torch_as_found() -> Iterator[None]:
    """Leave torch's threads as they were for the tests that follow."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def needs_compiler() -> None:
    """Skip where there is no C++ compiler."""
    if (obstacle := compiler_obstacle()) is not None:
        pytest.skip(obstacle)


@pytest.fixture(scope="module")
def tiles() -> Iterator[None]:
    """Have the residual blocks compute in tiles: the processor's, or emulated ones."""
    if (obstacle := compiler_obstacle()) is not None:
        pytest.skip(obstacle)
    if has_tiles():
        yield
        return
    if cpu_capability() != "AVX512_BF16":
        pytest.skip(
            f"{WRONG_PROCESSOR}residual blocks need AMX, or AVX512_BF16 to emulate its tiles"
        )
    version = hashlib.sha256(EMULATED.read_bytes()).hexdigest()[:8]
    command = [*find_compiler(), "-include", str(EMULATED), f"-DEMULATED=0x{version}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", shlex.join(command))
        patch.setattr(compiler, "FLAGS", tuple("-O1" if f == "-O3" else f for f in compiler.FLAGS))
        patch.setattr(networks, "has_tiles", lambda: True)
        compiler.load_library.cache_clear()
        yield
    compiler.load_library.cache_clear()
