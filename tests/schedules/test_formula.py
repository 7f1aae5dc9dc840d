"""Formula layer: what the papers and the authors' code print, transcribed naively."""

import math

import pytest

from anneal.schedules import (
    cosine,
    cosine_restarts,
    exp_range,
    exponential,
    hann,
    inverse,
    one_cycle_momentum,
    polynomial,
    step_decay,
    triangular,
    triangular2,
    welch,
)

RTOL = 1e-12  # measured: 1.6e-13, where x = it/ss - 2*cycle + 1 loses digits as cycles add up

BASE, MAX = 0.001, 0.006
NUM_UPDATES = 9000
HALF_CYCLES = [1, 7, 391, 2000]


@pytest.mark.parametrize("stepsize", HALF_CYCLES)
def test_triangular_is_the_code_in_the_appendix_of_clr(stepsize: int) -> None:
    rate = triangular(base_lr=BASE, max_lr=MAX, half_cycle_steps=stepsize)
    for it in range(NUM_UPDATES):
        cycle = math.floor(1 + it / (2 * stepsize))
        x = abs(it / stepsize - 2 * cycle + 1)
        assert rate(it) == pytest.approx(BASE + (MAX - BASE) * max(0, 1 - x), rel=RTOL)


@pytest.mark.parametrize("stepsize", HALF_CYCLES)
def test_triangular_divided_by_the_cycle_is_the_caffe_patch(stepsize: int) -> None:
    rate = triangular(base_lr=BASE, max_lr=MAX, half_cycle_steps=stepsize, divide_by_cycle=True)
    for itr in range(NUM_UPDATES):
        cycle = 1 + itr // (2 * stepsize)
        x = (itr - (2 * cycle - 1) * stepsize) / stepsize
        expected = BASE + (MAX - BASE) * max(0.0, (1.0 - abs(x)) / cycle)
        assert rate(itr) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("stepsize", [7, 391, 2000])
def test_triangular2_is_the_code_in_the_appendix_of_clr(stepsize: int) -> None:
    rate = triangular2(base_lr=BASE, max_lr=MAX, half_cycle_steps=stepsize)
    for itr in range(NUM_UPDATES):
        cycle = itr // (2 * stepsize)
        x = (itr - (2 * cycle + 1) * stepsize) / stepsize
        expected = BASE + (MAX - BASE) * min(1, max(0, (1 - abs(x)) / 2**cycle))
        assert rate(itr) == pytest.approx(expected, rel=RTOL)


@pytest.mark.parametrize("stepsize", HALF_CYCLES)
def test_exp_range_shrinks_each_boundary_by_gamma_to_the_iteration(stepsize: int) -> None:
    gamma = 0.99994
    rate = exp_range(base_lr=BASE, max_lr=MAX, half_cycle_steps=stepsize, gamma=gamma)
    for it in range(NUM_UPDATES):
        lower, upper = BASE * gamma**it, MAX * gamma**it
        cycle = math.floor(1 + it / (2 * stepsize))
        x = abs(it / stepsize - 2 * cycle + 1)
        assert rate(it) == pytest.approx(lower + (upper - lower) * max(0, 1 - x), rel=RTOL)


@pytest.mark.parametrize("stepsize", HALF_CYCLES)
def test_welch_and_hann_are_the_textbook_windows(stepsize: int) -> None:
    parabola = welch(base_lr=BASE, max_lr=MAX, half_cycle_steps=stepsize)
    sine = hann(base_lr=BASE, max_lr=MAX, half_cycle_steps=stepsize)
    length = 2 * stepsize
    for it in range(min(3 * length, NUM_UPDATES)):
        n = it % length
        welch_window = 1 - ((n - length / 2) / (length / 2)) ** 2
        hann_window = 0.5 * (1 - math.cos(2 * math.pi * n / length))
        assert parabola(it) == pytest.approx(BASE + (MAX - BASE) * welch_window, rel=RTOL)
        assert sine(it) == pytest.approx(BASE + (MAX - BASE) * hann_window, rel=RTOL)


@pytest.mark.parametrize(("first", "growth"), [(1, 2), (10, 2), (50, 1), (7, 3), (1, 1)])
@pytest.mark.parametrize("min_lr", [0.0, 0.001])
def test_cosine_restarts_is_equation_5_of_sgdr(first: int, growth: int, min_lr: float) -> None:
    rate = cosine_restarts(min_lr=min_lr, max_lr=0.05, first_cycle_steps=first, growth=growth)
    update, length = 0, first
    while update < NUM_UPDATES:
        for t_cur in range(length):
            expected = min_lr + 0.5 * (0.05 - min_lr) * (1 + math.cos(t_cur / length * math.pi))
            # abs: at min_lr = 0 the printed 1 + cos keeps no digits below 1e-16 of the peak
            assert rate(update + t_cur) == pytest.approx(expected, rel=RTOL, abs=1e-17)
        update, length = update + length, length * growth


def test_cosine_without_restart_is_the_first_cycle_of_equation_5() -> None:
    once = cosine(min_lr=0.001, max_lr=0.05, total_steps=781)
    again = cosine_restarts(min_lr=0.001, max_lr=0.05, first_cycle_steps=781)
    assert [once(update) for update in range(781)] == [again(update) for update in range(781)]


def test_sgdr_code_differs_by_quarter_update_and_late_restart() -> None:
    """SGDR_WRNs.py, scenario T_0 = 10, T_mult = 2: the loop, with only what touches the rate."""
    lr, te, mult, batchsize, num_examples, t0 = 0.05, 10.0, 2, 128, 100_000, math.pi / 2
    tt, te_next, new_lr = 0.0, te, lr
    theirs = []
    for epoch in range(70):
        for _ in range(num_examples // batchsize):
            theirs.append(new_lr)
            dt = 2.0 * math.pi / float(2.0 * te)
            tt = tt + float(dt) / (num_examples / float(batchsize))
            if tt >= math.pi:
                tt = tt - math.pi
            new_lr = lr * (1.0 + math.sin(t0 + tt)) / 2.0
        if epoch + 1 == te_next:
            tt = 0
            te = te * mult
            te_next = te_next + te

    ours = cosine_restarts(min_lr=0.0, max_lr=0.05, first_cycle_steps=10 * 781, growth=2)
    restarts = [10 * 781, 30 * 781]
    for update, rate in enumerate(theirs):
        if update in restarts:
            assert ours(update) == 0.05
            assert rate < 1e-7
        else:
            # phase is 781 / 781.25 of ours: at most 0.05 * pi / 2 * 0.00032 = 2.5e-5 apart
            assert ours(update) == pytest.approx(rate, abs=2.6e-5)


def test_cosine_restarts_is_the_formula_of_snapshot_ensembles() -> None:
    a0, total, num_cycles = 0.2, 1999, 5
    length = math.ceil(total / num_cycles)
    rate = cosine_restarts(min_lr=0.0, max_lr=a0, first_cycle_steps=length)
    for t in range(1, total + 1):  # the paper counts from 1
        expected = a0 / 2 * (math.cos(math.pi * ((t - 1) % length) / length) + 1)
        assert rate(t - 1) == pytest.approx(expected, rel=RTOL, abs=1e-16)


def test_momentum_of_one_cycle_is_the_caffe_code_of_cyclical_momentum() -> None:
    most, least, stepsize = 0.95, 0.85, 230
    momentum = one_cycle_momentum(
        max_momentum=most, min_momentum=least, half_cycle_steps=stepsize, total_steps=500
    )
    for it in range(2 * stepsize):
        cycle = it // (2 * stepsize)
        x = (it - (2 * cycle + 1) * stepsize) / stepsize
        expected = most + (least - most) * min(1, max(0, (1 - abs(x)) / 2**cycle))
        assert momentum(it) == pytest.approx(expected, rel=RTOL)


def test_caffe_step_is_step_decay_at_every_multiple() -> None:
    base, gamma, stepsize = 0.01, 0.1, 100
    milestones = range(stepsize, 1000, stepsize)
    rate = step_decay(initial_lr=base, milestones=milestones, factor=gamma)
    for it in range(1000):
        assert rate(it) == pytest.approx(base * gamma ** (it // stepsize), rel=RTOL)


def test_caffe_exp_inv_and_poly_are_exponential_inverse_and_polynomial() -> None:
    base, gamma, power, max_iter = 0.01, 0.0001, 0.75, 5000
    exp = exponential(initial_lr=base, gamma=0.999)
    inv = inverse(initial_lr=base, gamma=gamma, power=power)
    poly = polynomial(initial_lr=base, power=power, total_steps=max_iter)
    for it in range(max_iter):
        assert exp(it) == pytest.approx(base * math.pow(0.999, it), rel=RTOL)
        assert inv(it) == pytest.approx(base * math.pow(1 + gamma * it, -power), rel=RTOL)
        # rel 1e-12: the printed 1 - it / max_iter cancels near the end; measured 8.3e-14
        assert poly(it) == pytest.approx(base * math.pow(1 - it / max_iter, power), rel=RTOL)
