"""Property layer: what holds for all arguments (hypothesis)."""

import json
import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anneal.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    exp_range,
    exponential,
    exponential_ramp,
    from_description,
    hann,
    held,
    inverse,
    linear_decay,
    linear_ramp,
    lowered,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    staged,
    step_decay,
    triangular,
    triangular2,
    warmup,
    warmup_stable_decay,
    welch,
)
from anneal.schedules.cosine import locate_cycle

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

rates = st.floats(0.0, 1e3, allow_subnormal=False)
positive_rates = st.floats(1e-8, 1e3)
factors = st.floats(1e-3, 1.0)
steps = st.integers(1, 3000)
updates = st.integers(0, 10**12)
bounds = st.tuples(rates, rates).map(sorted)


def cycles(build: object, **extra: st.SearchStrategy[object]) -> st.SearchStrategy[Schedule]:
    return st.builds(
        lambda pair, half, rest: build(  # type: ignore[operator]
            base_lr=pair[0], max_lr=pair[1], half_cycle_steps=half, **rest
        ),
        bounds,
        steps,
        st.fixed_dictionaries(extra),
    )


plain_cycles = st.one_of(cycles(triangular), cycles(welch), cycles(hann))
shrinking_cycles = st.one_of(
    cycles(triangular, divide_by_cycle=st.just(True)),
    cycles(triangular2),
    cycles(exp_range, gamma=factors, decays=st.just("amplitude")),
)
restarts = st.builds(
    lambda pair, first, growth, factor: cosine_restarts(
        min_lr=pair[0],
        max_lr=pair[1],
        first_cycle_steps=first,
        growth=growth,
        max_lr_factor=factor,
    ),
    bounds,
    steps,
    st.integers(1, 5),
    factors,
)
one_cycles = st.builds(
    lambda three, half, more: one_cycle(
        final_lr=three[0],
        base_lr=three[1],
        max_lr=three[2],
        half_cycle_steps=half,
        total_steps=2 * half + more,
    ),
    st.tuples(rates, rates, rates).map(sorted),
    steps,
    st.integers(2, 500),
)
decays = st.one_of(
    st.builds(lambda pair, n: cosine(min_lr=pair[0], max_lr=pair[1], total_steps=n), bounds, steps),
    st.builds(
        lambda pair, n: linear_decay(base_lr=pair[0], max_lr=pair[1], half_cycle_steps=n),
        bounds,
        steps,
    ),
    st.builds(exponential, initial_lr=rates, gamma=factors),
    st.builds(inverse, initial_lr=rates, gamma=positive_rates, power=st.floats(0.1, 4.0)),
    st.builds(polynomial, initial_lr=rates, power=st.floats(0.1, 4.0), total_steps=steps),
    st.builds(
        step_decay,
        initial_lr=rates,
        milestones=st.sets(steps, min_size=1, max_size=5).map(sorted),
        factor=factors,
    ),
)
ramps = st.one_of(
    st.builds(linear_ramp, first_lr=rates, last_lr=rates, total_steps=st.integers(2, 3000)),
    st.builds(
        exponential_ramp,
        first_lr=positive_rates,
        last_lr=positive_rates,
        total_steps=st.integers(2, 3000),
    ),
)
stable = st.builds(
    lambda pair, up, stay, down: warmup_stable_decay(
        final_lr=pair[0], max_lr=pair[1], warmup_steps=up, stable_steps=stay, decay_steps=down
    ),
    bounds,
    steps,
    steps,
    st.integers(2, 3000),
)
leaves = st.one_of(
    st.builds(constant, lr=rates),
    plain_cycles,
    shrinking_cycles,
    cycles(exp_range, gamma=factors),
    restarts,
    one_cycles,
    decays,
    ramps,
    stable,
)
# a schedule that starts at zero keeps first_lr=0 below it, whatever it is
compositions = st.one_of(
    st.builds(warmup, first_lr=st.just(0.0), warmup_steps=steps, schedule=leaves),
    st.builds(
        lambda starts, parts: staged(
            stages=list(zip([0, *sorted(starts)], parts, strict=True)),
        ),
        st.sets(steps, min_size=2, max_size=2),
        st.lists(leaves, min_size=3, max_size=3),
    ),
    st.builds(held, every_steps=steps, schedule=leaves),
    st.builds(
        lowered,
        milestones=st.sets(steps, min_size=1, max_size=3).map(sorted),
        factor=factors,
        schedule=leaves,
    ),
)
schedules = st.one_of(leaves, compositions)


@given(schedule=schedules, update=updates)
def test_every_value_is_finite_and_not_negative_however_late(
    schedule: Schedule, update: int
) -> None:
    value = schedule(update)
    assert math.isfinite(value)
    assert value >= 0


@given(schedule=schedules, order=st.permutations(range(12)))
def test_schedules_are_memoryless(schedule: Schedule, order: list[int]) -> None:
    in_order = [schedule(update) for update in range(12)]
    assert [schedule(update) for update in order] == [in_order[update] for update in order]


@given(schedule=schedules, update=st.integers(0, 10**6))
def test_way_through_json_and_pickle_keeps_every_value(schedule: Schedule, update: int) -> None:
    description = json.loads(json.dumps(schedule.describe()))
    for twin in (from_description(description), pickle.loads(pickle.dumps(schedule))):
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert repr(twin) == repr(schedule)
        assert twin.describe() == description
        assert twin(update) == schedule(update)


@given(
    schedule=st.one_of(plain_cycles, shrinking_cycles),
    update=st.integers(0, 10**6),
)
def test_cycles_stay_within_their_bounds(schedule: Schedule, update: int) -> None:
    low, high = schedule.arguments["base_lr"], schedule.arguments["max_lr"]
    assert low <= schedule(update) <= high


@given(schedule=plain_cycles, cycle=st.integers(0, 1000), into=st.integers(0, 10**4))
def test_cycles_repeat_exactly_and_touch_both_bounds(
    schedule: Schedule, cycle: int, into: int
) -> None:
    half = schedule.arguments["half_cycle_steps"]
    assert schedule(into + 2 * half * cycle) == schedule(into)
    assert schedule(2 * half * cycle) == schedule.arguments["base_lr"]
    assert schedule(2 * half * cycle + half) == schedule.arguments["max_lr"]


@given(schedule=plain_cycles, data=st.data())
def test_cycles_climb_and_fall_symmetrically(schedule: Schedule, data: st.DataObject) -> None:
    half = schedule.arguments["half_cycle_steps"]
    into = data.draw(st.integers(0, half))
    assert schedule(half + into) == schedule(half - into)


@given(pair=bounds, half=steps, cycle=st.integers(0, 5000))
def test_triangular2_halves_its_height_in_each_cycle(
    pair: list[float], half: int, cycle: int
) -> None:
    rate = triangular2(base_lr=pair[0], max_lr=pair[1], half_cycle_steps=half)
    peak = rate(2 * half * cycle + half)
    expected = pair[0] + math.ldexp(pair[1] - pair[0], -cycle)
    assert peak == pytest.approx(expected, rel=1e-14)


@given(pair=bounds, half=steps, gamma=factors, update=st.integers(0, 10**5))
def test_exp_range_is_the_triangle_times_gamma_to_the_update(
    pair: list[float], half: int, gamma: float, update: int
) -> None:
    arguments = {"base_lr": pair[0], "max_lr": pair[1], "half_cycle_steps": half}
    rate = exp_range(**arguments, gamma=gamma)
    assert rate(update) == pytest.approx(gamma**update * triangular(**arguments)(update), rel=1e-14)


@given(
    pair=bounds,
    first=st.integers(1, 50),
    growth=st.integers(1, 10),
    cycle=st.integers(0, 8),
)
def test_every_restart_returns_to_the_peak(
    pair: list[float], first: int, growth: int, cycle: int
) -> None:
    restart = sum(first * growth**number for number in range(cycle))
    assert locate_cycle(restart, first, growth) == (0, first * growth**cycle, cycle)
    rate = cosine_restarts(min_lr=pair[0], max_lr=pair[1], first_cycle_steps=first, growth=growth)
    assert rate(restart) == pair[1]
    if restart:
        into, length, number = locate_cycle(restart - 1, first, growth)
        assert into == length - 1
        assert number == cycle - 1


@given(schedule=st.one_of(restarts, one_cycles, decays), update=st.integers(0, 10**5))
def test_no_rate_is_outside_the_rates_that_were_named(schedule: Schedule, update: int) -> None:
    named = [value for key, value in schedule.arguments.items() if key.endswith("_lr")]
    low = 0.0 if len(named) == 1 else min(named)
    assert low <= schedule(update) <= max(named)


@given(schedule=decays, update=st.integers(0, 5000))
def test_decays_never_rise(schedule: Schedule, update: int) -> None:
    # one rounding of the first rate: where the two halves of a line meet
    assert schedule(update + 1) <= schedule(update) + 2.3e-16 * schedule(0)


@given(
    schedule=st.one_of(one_cycles, ramps, cycles(triangular)),
    update=st.integers(0, 8000),
)
def test_straight_lines_have_no_jumps(schedule: Schedule, update: int) -> None:
    arguments = schedule.arguments
    named = [value for key, value in arguments.items() if key.endswith("_lr")]
    if schedule.name == "exponential_ramp":
        ratio = max(named) / min(named)
        limit = max(named) * (ratio ** (1 / (arguments["total_steps"] - 1)) - 1)
    elif schedule.name == "one_cycle":
        climb = (arguments["max_lr"] - arguments["base_lr"]) / arguments["half_cycle_steps"]
        fall_steps = arguments["total_steps"] - 1 - 2 * arguments["half_cycle_steps"]
        limit = max(climb, (arguments["base_lr"] - arguments["final_lr"]) / fall_steps)
    else:
        num_steps = arguments.get("half_cycle_steps") or arguments["total_steps"] - 1
        limit = (max(named) - min(named)) / num_steps
    rounding = 1e-14 * max(named)
    assert abs(schedule(update + 1) - schedule(update)) <= limit * (1 + 1e-12) + rounding


@given(schedule=st.one_of(one_cycles, ramps, stable), beyond=st.integers(0, 10**9))
def test_finite_schedule_ends_on_its_last_rate_and_holds_it(
    schedule: Schedule, beyond: int
) -> None:
    arguments = schedule.arguments
    total = arguments.get("total_steps") or sum(
        arguments[key] for key in ("warmup_steps", "stable_steps", "decay_steps")
    )
    last = arguments.get("last_lr", arguments.get("final_lr"))
    assert schedule(total - 1) == last
    assert schedule(total - 1 + beyond) == last


@given(pair=bounds, total=steps, power=st.floats(0.1, 4.0), beyond=st.integers(0, 10**9))
def test_cosine_and_polynomial_hold_the_value_of_the_last_update(
    pair: list[float], total: int, power: float, beyond: int
) -> None:
    wave = cosine(min_lr=pair[0], max_lr=pair[1], total_steps=total)
    poly = polynomial(initial_lr=pair[1], power=power, total_steps=total)
    assert wave(total - 1 + beyond) == wave(total - 1)
    assert poly(total - 1 + beyond) == poly(total - 1)


@given(
    high=st.floats(0.0, 0.999),
    share=st.floats(0.0, 1.0),
    half=steps,
    more=st.integers(2, 500),
    beyond=st.integers(0, 10**6),
)
def test_momentum_mirrors_the_rate_of_one_cycle(
    high: float, share: float, half: int, more: int, beyond: int
) -> None:
    low = high * share
    momentum = one_cycle_momentum(
        max_momentum=high, min_momentum=low, half_cycle_steps=half, total_steps=2 * half + more
    )
    assert momentum(0) == momentum(2 * half) == momentum(2 * half + beyond) == high
    assert momentum(half) == low


@given(
    first=leaves,
    second=leaves,
    start=steps,
    update=st.integers(0, 6000),
)
def test_stages_hand_over_at_the_start_of_the_next(
    first: Schedule, second: Schedule, start: int, update: int
) -> None:
    both = staged(stages=[(0, first), (start, second)])
    assert both(update) == (first(update) if update < start else second(update - start))


@given(schedule=leaves, warmup_steps=steps, share=st.floats(0.0, 1.0), update=updates)
def test_warmup_starts_where_told_and_shifts_the_schedule(
    schedule: Schedule, warmup_steps: int, share: float, update: int
) -> None:
    first = share * schedule(0)
    rate = warmup(first_lr=first, warmup_steps=warmup_steps, schedule=schedule)
    assert rate(0) == first
    assert rate(warmup_steps + update) == schedule(update)
    if warmup_steps > 1:
        assert first <= rate(warmup_steps - 1) <= schedule(0)


@given(schedule=leaves, every=steps, update=updates)
def test_held_reads_at_whole_multiples_and_nowhere_else(
    schedule: Schedule, every: int, update: int
) -> None:
    rate = held(every_steps=every, schedule=schedule)
    assert rate(update) == schedule(update // every * every)


@given(
    schedule=leaves,
    drops=st.sets(steps, min_size=1, max_size=3).map(sorted),
    factor=factors,
    update=updates,
)
def test_lowered_follows_and_drops(
    schedule: Schedule, drops: list[int], factor: float, update: int
) -> None:
    rate = lowered(milestones=drops, factor=factor, schedule=schedule)
    passed = sum(drop <= update for drop in drops)
    assert rate(update) == schedule(update) * factor**passed
