"""Where cycles end: by hand, by what must hold for all, and by looking for the minima."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anneal.schedules import (
    constant,
    cosine,
    cosine_restarts,
    cycle_ends,
    exp_range,
    hann,
    held,
    lowered,
    one_cycle,
    staged,
    step_decay,
    triangular,
    triangular2,
    warmup,
    warmup_stable_decay,
    welch,
)

CYCLICAL = [triangular, triangular2, welch, hann]


def cosines(first, growth=1, *, least=0.0, factor=1.0):
    return cosine_restarts(
        min_lr=least, max_lr=1.0, first_cycle_steps=first, growth=growth, max_lr_factor=factor
    )


def triangles(half, build=triangular):
    return build(base_lr=0.1, max_lr=1.0, half_cycle_steps=half)


# --- by hand --------------------------------------------------------------------------------------


def test_cycles_of_the_papers_end_where_they_say() -> None:
    """SGDR, Figure 2: restarts after epochs 10, 30, 70, 150; T0=1: 1, 3, 7, ..., 127."""
    epoch = 781
    assert [e / epoch for e in cycle_ends(cosines(10 * epoch, 2), 200 * epoch)] == [10, 30, 70, 150]
    assert [e / epoch for e in cycle_ends(cosines(epoch, 2), 200 * epoch)] == [
        2**n - 1 for n in range(1, 8)
    ]
    # Snapshot Ensembles: B = 200 epochs, M = 5 cycles
    assert [e / 782 for e in cycle_ends(cosines(40 * 782), 200 * 782)] == [40, 80, 120, 160, 200]
    # CLR, Table 1: half cycles of 2,000 in 25,000 iterations: the last cycle is cut
    assert cycle_ends(triangles(2000, triangular2), 25_000) == tuple(range(4000, 25_000, 4000))


@pytest.mark.parametrize("build", CYCLICAL)
def test_cycle_up_and_down_ends_after_two_half_cycles(build) -> None:
    assert cycle_ends(triangles(3, build), 18) == (6, 12, 18)
    assert cycle_ends(triangles(3, build), 17) == (6, 12)


@pytest.mark.parametrize("decays", ["bounds", "amplitude"])
def test_shrinking_cycle_ends_as_its_triangle_does(decays) -> None:
    rate = exp_range(base_lr=0.1, max_lr=1, half_cycle_steps=2, gamma=0.5, decays=decays)
    assert cycle_ends(rate, 9) == (4, 8)


def test_schedule_of_one_cycle_ends_at_its_own_end() -> None:
    once = cosine(min_lr=0.0, max_lr=1.0, total_steps=7)
    assert (cycle_ends(once, 6), cycle_ends(once, 7), cycle_ends(once, 20)) == ((), (7,), (7,))
    up_and_down = one_cycle(
        base_lr=0.1, max_lr=1.0, final_lr=0.01, half_cycle_steps=3, total_steps=10
    )
    assert (cycle_ends(up_and_down, 9), cycle_ends(up_and_down, 10)) == ((), (10,))


def test_cosine_cycle_ends_after_its_last_index() -> None:
    rate = cosines(4)
    (first, *_) = cycle_ends(rate, 8)
    rates = [rate(update) for update in range(8)]
    assert first == 4
    assert rates[first - 1] == min(rates)
    assert rates[first] == 1.0  # the restart


@pytest.mark.parametrize(
    "rate",
    [
        constant(lr=0.1),
        step_decay(initial_lr=0.1, milestones=[3, 6], factor=0.1),
        warmup_stable_decay(max_lr=1, final_lr=0, warmup_steps=2, stable_steps=2, decay_steps=3),
    ],
)
def test_schedule_without_cycles_ends_none(rate) -> None:
    assert cycle_ends(rate, 10_000) == ()


def test_warming_up_moves_every_end() -> None:
    rate = warmup(first_lr=0.0, warmup_steps=5, schedule=cosines(10, 2))
    assert cycle_ends(rate, 80) == (15, 35, 75)
    assert cycle_ends(rate, 4) == ()
    twice = warmup(first_lr=0.0, warmup_steps=3, schedule=rate)
    assert cycle_ends(twice, 40) == (18, 38)


def test_each_stage_has_its_own_cycles_and_the_next_one_cuts_them() -> None:
    """CLR, Figure 1: triangular2 from 0, 16,000 and 22,000, half cycles of 2,000 or less."""
    rate = staged(stages=[(0, triangles(3)), (15, cosines(4)), (23, constant(lr=0.1))])
    assert cycle_ends(rate, 30) == (6, 12, 19, 23)  # 18 is cut, and 23 is whole
    assert cycle_ends(rate, 22) == (6, 12, 19)
    assert cycle_ends(rate, 14) == (6, 12)
    assert cycle_ends(rate, 15) == (6, 12)


def test_held_or_lowered_schedule_has_cycle_ends_of_its_own() -> None:
    """CLR, Table 4: ten cycles, read once an epoch, lowered as the original recipe's rate."""
    epoch = 352
    cycles = triangles(25 * epoch)
    low = lowered(milestones=[249 * epoch, 374 * epoch], factor=0.1, schedule=cycles)
    rate = held(every_steps=epoch, schedule=low)
    for wrapped in (low, rate):
        ends = cycle_ends(wrapped, 500 * epoch)
        assert [end / epoch for end in ends] == [50 * n for n in range(1, 11)]
    # ResNet-110: half a cycle is 3206 updates, no whole number of its epochs of 391
    rate = held(every_steps=391, schedule=triangles(3206))
    assert cycle_ends(rate, 64_124) == tuple(6412 * n for n in range(1, 11))
    assert cycle_ends(held(every_steps=3, schedule=constant(lr=0.1)), 9) == ()


@pytest.mark.parametrize("wrong", [-1, 2.0, True])
def test_length_that_is_none_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="total_steps must"):
        cycle_ends(cosines(4), wrong)


# --- for all --------------------------------------------------------------------------------------

totals = st.integers(0, 2000)
leaves = st.one_of(
    st.builds(triangles, st.integers(1, 60), st.sampled_from(CYCLICAL)),
    st.builds(cosines, st.integers(1, 60), st.integers(1, 4)),
    st.builds(lambda n: cosine(min_lr=0, max_lr=1.0, total_steps=n), st.integers(1, 900)),
)
schedules = st.one_of(
    leaves,
    st.builds(warmup, first_lr=st.just(0.0), warmup_steps=st.integers(1, 99), schedule=leaves),
    st.builds(held, every_steps=st.integers(1, 99), schedule=leaves),
    st.builds(
        lambda gaps, parts: staged(
            stages=[(sum(gaps[:i]), part) for i, part in enumerate(parts[: len(gaps) + 1])]
        ),
        st.lists(st.integers(1, 300), min_size=3, max_size=3),
        st.lists(leaves, min_size=1, max_size=4),
    ),
)


@given(rate=schedules, total=totals)
def test_ends_ascend_and_lie_inside_the_run(rate, total) -> None:
    ends = cycle_ends(rate, total)
    assert list(ends) == sorted(set(ends))
    assert all(1 <= end <= total for end in ends)


@given(rate=leaves, total=totals, shorter=totals)
def test_shorter_run_only_loses_the_ends_that_it_does_not_reach(rate, total, shorter) -> None:
    shorter = min(total, shorter)
    assert cycle_ends(rate, shorter) == tuple(e for e in cycle_ends(rate, total) if e <= shorter)


@given(rate=leaves, total=totals, start=st.integers(1, 500))
def test_stage_ends_its_cycles_as_the_schedule_alone_would(rate, total, start) -> None:
    rate_later = staged(stages=[(0, constant(lr=0.1)), (start, rate)])
    alone = cycle_ends(rate, max(0, total - start))
    assert cycle_ends(rate_later, total) == tuple(start + end for end in alone)


# --- by looking for the minima --------------------------------------------------------------------


@given(half=st.integers(1, 20), build=st.sampled_from(CYCLICAL), parts=st.integers(0, 500))
def test_ends_of_triangles_are_the_troughs_of_the_rate(half, build, parts) -> None:
    rate = triangles(half, build)
    total = parts * half // 50  # ten half cycles at most: triangular2 is soon too flat to see
    troughs = [u for u in range(1, total + 1) if rate(u - 1) > rate(u) < rate(u + 1)]
    assert list(cycle_ends(rate, total)) == troughs


@given(
    first=st.integers(2, 40),
    growth=st.integers(1, 4),
    factor=st.floats(0.9, 1.0),
    warm=st.integers(0, 30),
    total=st.integers(0, 300),
)
def test_ends_of_cosines_are_where_the_rate_rises(first, growth, factor, warm, total) -> None:
    rate = cosines(first, growth, factor=factor)
    if warm:
        rate = warmup(first_lr=0.0, warmup_steps=warm, schedule=rate)
    rises = [u for u in range(warm + 1, total + 1) if rate(u) > rate(u - 1)]
    assert list(cycle_ends(rate, total)) == rises
