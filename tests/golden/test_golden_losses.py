"""The first 50 losses of a small run, to the last bit, on processors that have been measured."""

import functools
import json
import math
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

RENEW = Path(__file__).with_name("renew.py")
golden = runpy.run_path(str(RENEW))


def losses_kept(threads, level):
    """Return the golden losses by settings, or skip where these bits cannot be expected."""
    kept, obstacle = golden["losses_kept"](golden["golden_file"](threads, level))
    if obstacle is not None:
        pytest.skip(obstacle)
    return kept


@functools.cache
def losses_now(level):
    return golden["measure"](golden["THREADS"], level)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "settings"),
    [("native", "float32"), ("native", "bf16"), ("AVX2", "float32")],
)
@pytest.mark.parametrize("threads", golden["THREADS"])
def test_first_losses_are_the_golden_ones(threads, level, settings):
    if level == golden["cpu_capability"]():
        pytest.skip(f"{level} is what this processor has: the native losses are these")
    kept = losses_kept(threads, level).get(settings)
    if kept is None:
        pytest.skip(f"no golden losses of {settings} yet: `python tests/golden/renew.py --new`")
    now = losses_now(level)[threads][settings]
    first = next((i for i, (a, b) in enumerate(zip(kept, now, strict=True)) if a != b), None)
    assert first is None, (
        f"update {first + 1} of 50 has the loss {now[first]!r}, golden is {kept[first]!r}. If the "
        "numbers were meant to change: `python tests/golden/renew.py --changes-numbers`"
    )


@pytest.mark.parametrize("path", sorted(RENEW.parent.glob("*.json")), ids=lambda path: path.stem)
def test_golden_losses_are_those_of_a_run_that_learns(path):
    for losses in json.loads(path.read_text())["losses"].values():
        assert len(losses) == 50
        assert losses[0] == pytest.approx(math.log(10), abs=1e-3)  # ten classes, nothing learnt
        assert min(losses) < 1.5


def test_golden_losses_are_renewed_only_when_asked():
    before = {path: path.read_bytes() for path in RENEW.parent.iterdir() if path.is_file()}
    run = subprocess.run(
        [sys.executable, str(RENEW)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 2
    assert "--new --changes-numbers is required" in run.stderr
    assert before == {p: p.read_bytes() for p in RENEW.parent.iterdir() if p.is_file()}
