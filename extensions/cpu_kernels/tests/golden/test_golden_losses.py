"""The first 50 losses of a small run with kernels, to the last bit, on measured processors."""

import functools
import json
import math
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent
core = runpy.run_path(str(FOLDER / "renew.py"))["core"]


@functools.cache
def losses_now():
    return core["measure"](core["THREADS"], "native", FOLDER)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize("threads", core["THREADS"])
def test_first_losses_with_kernels_are_the_golden_ones(threads):
    kept, obstacle = core["losses_kept"](core["golden_file"](threads, folder=FOLDER))
    if obstacle is not None:
        pytest.skip(obstacle)
    now = losses_now()[threads]
    assert now == kept, "if the numbers were meant to change: `renew.py --changes-numbers`"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_golden_losses_are_those_of_a_run_that_learns(path):
    for losses in json.loads(path.read_text())["losses"].values():
        assert len(losses) == 50
        assert losses[0] == pytest.approx(math.log(10), abs=1e-3)  # ten classes, nothing learnt
        assert min(losses) < 1.5
