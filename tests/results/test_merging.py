"""Results of ten campaigns from two clones, merged."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.campaigns import World

from anneal.commands.stages import collect
from anneal.results.campaign import merge
from anneal.results.store import load_all_results, save_results

NAMES = ("digits/fixed", "digits/decay")


def collect_clone(
    world: World, seeds_of: Callable[[], list[int]]
) -> dict[str, set[tuple[str, int]]]:
    """Collect ten campaigns in a clone; return the runs of each."""
    kept = {}
    with contextlib.chdir(world.root):
        for number in range(10):
            world.campaign = f"campaign_{number}"
            world.describe_campaign(NAMES, list(range(6)))
            seeds = {name: seeds_of() for name in NAMES}
            for name, of in seeds.items():
                world.evaluate(name, {seed: 90.0 + seed for seed in of}, updates=10)
            collect.main([world.campaign])
            kept[world.campaign] = {(name, seed) for name, of in seeds.items() for seed in of}
    return kept


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_ten_campaigns_of_two_clones_merge_without_a_lost_row(
    tmp_path: Path, make_world: Callable[[Path], World], order: tuple[int, int]
) -> None:
    draw = random.Random(0)
    roots = [tmp_path / "one", tmp_path / "other"]
    clones = [
        collect_clone(make_world(root), lambda: sorted(draw.sample(range(6), 3))) for root in roots
    ]
    first, second = (load_all_results(roots[place] / "results") for place in order)
    for found, more in zip(first, second, strict=True):
        save_results(tmp_path / "results" / found.name, merge(found, more))
    merged = load_all_results(tmp_path / "results")
    assert {results.name for results in merged} == clones[0].keys()
    for results in merged:
        rows = {(name, seed) for name, seed, _ in results.runs}
        assert rows == clones[0][results.name] | clones[1][results.name]
        assert all(run.curve for run in results.runs.values())
