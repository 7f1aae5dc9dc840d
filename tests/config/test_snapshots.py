"""Which weights are kept: what may be asked for, and the updates that follow from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anneal.config.durations import Clock, Duration, to_steps
from anneal.config.snapshots import is_snapshot_rule, parse_snapshot_rule, snapshot_updates

ENDS = (10, 30, 70, 150)


def kept(written: str, total: int = 200, fraction: float = 1.0, ends=ENDS) -> tuple[int, ...]:
    full = round(total / fraction)
    clock = Clock(steps_per_epoch=10, images_per_step=5, total_steps=full)
    return snapshot_updates(
        parse_snapshot_rule(written),
        ends=ends,
        total_steps=total,
        to_steps=lambda distance: to_steps(distance, clock, budget_fraction=fraction),
    )


@pytest.mark.parametrize(
    ("written", "updates"),
    [
        ("none", ()),
        ("cycle_ends", ENDS),
        ("last 1", (150,)),
        ("last 3", (30, 70, 150)),
        ("last 9", ENDS),
        ("every 0.25 run", (50, 100, 150, 200)),
        ("every 0.3 run", (60, 120, 180)),
        ("every 7 epochs", (70, 140)),
        ("every 1 run", (200,)),
        ("every 300 steps", ()),
        (" last  2 ", (70, 150)),
    ],
)
def test_what_is_asked_for_is_kept(written: str, updates: tuple[int, ...]) -> None:
    assert kept(written) == updates


@pytest.mark.parametrize(
    "written",
    ["", "all", "last", "last 0", "last -1", "last 1.5", "last three", "every", "every 0 steps",
     "every 5", "every 5 steps 3", "cycle_ends 3", "none 1", "None", "last 1_0"],
)  # fmt: skip
def test_anything_else_is_refused_with_what_may_be_asked_for(written: str) -> None:
    assert not is_snapshot_rule(written)
    with pytest.raises(ValueError, match="must be none, cycle_ends, last <number of cycles> or"):
        parse_snapshot_rule(written)


def test_without_a_cycle_that_ends_nothing_is_kept() -> None:
    assert kept("cycle_ends", ends=()) == kept("last 3", ends=()) == ()


@given(parts=st.integers(1, 40), total=st.integers(40, 5000))
def test_equal_parts_of_run_have_one_snapshot_each_until_its_end(parts: int, total: int) -> None:
    """5 x 0.2 run is the run, though 0.2 * 5 updates rounded down one by one are not."""
    updates = kept(f"every {1 / parts:.17f} run", total)
    assert len(updates) == parts
    assert updates[-1] == total


@given(steps=st.floats(0.001, 50), fraction=st.sampled_from([1.0, 0.5, 0.01]))
def test_snapshots_are_never_closer_than_an_update_and_stay_inside_the_run(
    steps: float, fraction: float
) -> None:
    updates = kept(f"every {Duration(steps, 'steps')}", 100, fraction)
    assert list(updates) == sorted(set(updates))
    assert all(1 <= update <= 100 for update in updates)
