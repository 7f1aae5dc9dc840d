"""Golden layer: values and moments that the papers state."""

import pytest

from anneal.schedules import (
    cosine_restarts,
    exp_range,
    exponential,
    linear_decay,
    one_cycle,
    one_cycle_momentum,
    staged,
    step_decay,
    triangular,
    triangular2,
)

RTOL = 1e-12


def test_three_stages_of_table_2_of_clr() -> None:
    """Smith 2017, arXiv 1506.01186v6, table 2: base_lr, max_lr, stepsize, start, max_iter."""
    table = [
        (0.001, 0.005, 2000, 0, 16_000),
        (0.0001, 0.0005, 1000, 16_000, 22_000),
        (0.00001, 0.00005, 500, 22_000, 25_000),
    ]
    rate = staged(
        stages=[
            (start, triangular2(base_lr=base, max_lr=top, half_cycle_steps=stepsize))
            for base, top, stepsize, start, _ in table
        ]
    )
    for base, top, stepsize, start, max_iter in table:
        num_cycles = (max_iter - start) // (2 * stepsize)
        assert num_cycles == {2000: 4, 1000: 3, 500: 3}[stepsize]
        for cycle in range(num_cycles):
            trough = start + 2 * stepsize * cycle
            assert rate(trough) == base
            expected = base + (top - base) / 2**cycle
            assert rate(trough + stepsize) == pytest.approx(expected, rel=RTOL)
        # the last update of a stage is one step above the trough that the next one replaces
        assert (
            base < rate(max_iter - 1) < base + (top - base) / 2 ** (num_cycles - 1) / stepsize * 2
        )
    assert rate(25_000) == 0.00001


def test_fixed_baseline_of_clr_is_the_recipe_that_caffe_ships() -> None:
    rate = step_decay(initial_lr=0.001, milestones=[60_000, 65_000], factor=0.1)
    assert [rate(0), rate(59_999)] == [0.001, 0.001]
    assert [rate(60_000), rate(64_999)] == pytest.approx([0.0001] * 2, rel=RTOL)
    assert [rate(65_000), rate(69_999)] == pytest.approx([0.00001] * 2, rel=RTOL)


def test_decay_policy_of_clr_reaches_its_base_after_4000_iterations() -> None:
    rate = linear_decay(max_lr=0.007, base_lr=0.001, half_cycle_steps=4000)
    assert [rate(0), rate(4000), rate(24_999)] == [0.007, 0.001, 0.001]
    assert rate(2000) == pytest.approx(0.004, rel=RTOL)


def test_exp_range_at_the_42000_iterations_of_table_1_of_clr() -> None:
    """gamma 0.99994: 0.99994 ** 42,000 = 0.08045, so that 0.001 has become 0.00008."""
    arguments = {"base_lr": 0.001, "max_lr": 0.006, "half_cycle_steps": 2000, "gamma": 0.99994}
    assert exp_range(**arguments)(40_000) == pytest.approx(0.001 * 0.0907, rel=1e-3)
    assert exp_range(**arguments)(42_000) == pytest.approx(0.006 * 0.0804, rel=1e-3)
    assert exp_range(**arguments, decays="amplitude")(40_000) == 0.001
    assert exponential(initial_lr=0.001, gamma=0.99994)(42_000) == pytest.approx(
        0.001 * 0.0804, rel=1e-3
    )


@pytest.mark.parametrize(
    ("first_epochs", "growth", "restart_epochs"),
    [
        (10, 2, [10, 30, 70, 150, 310, 630, 1270]),  # sections 4.2 and 4.4
        (1, 2, [1, 3, 7, 15, 31, 63, 127]),
        (50, 1, [50, 100, 150, 200]),
        (100, 1, [100, 200]),
    ],
)
def test_restarts_of_sgdr_are_at_the_epochs_it_reports(
    first_epochs: int, growth: int, restart_epochs: list[int]
) -> None:
    """Loshchilov & Hutter, arXiv 1608.03983v5; 781 updates of 128 images an epoch."""
    epoch = 781
    rate = cosine_restarts(
        min_lr=0.0, max_lr=0.05, first_cycle_steps=first_epochs * epoch, growth=growth
    )
    last = restart_epochs[-1] * epoch
    at_peak = [update for update in range(1, last + 1) if rate(update) == 0.05]
    assert at_peak == [number * epoch for number in restart_epochs]
    assert all(rate(number * epoch - 1) < 1e-6 * 0.05 * 2 for number in restart_epochs[3:])


def test_baseline_of_sgdr_drops_by_a_fifth_at_60_120_and_160() -> None:
    rate = step_decay(initial_lr=0.1, milestones=[60, 120, 160], factor=0.2)
    values = [rate(epoch) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    expected = [0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008]
    assert values == pytest.approx(expected, rel=RTOL)


def test_cycle_of_super_convergence_fills_its_10000_iterations() -> None:
    """Smith & Topin, arXiv 1708.07120: 0.1 to 3.0 and back with stepsize 5,000."""
    rate = triangular(base_lr=0.1, max_lr=3.0, half_cycle_steps=5000)
    assert [rate(0), rate(5000), rate(10_000)] == [0.1, 3.0, 0.1]
    assert rate(2500) == pytest.approx(1.55, rel=RTOL)


@pytest.mark.parametrize(
    ("base_lr", "max_lr", "stepsize", "epochs"),
    [
        (0.1, 0.5, 12, 25),
        (0.1, 1.0, 23, 50),
        (0.1, 1.0, 45, 100),
        (0.1, 4.0, 22, 50),
        (0.1, 4.0, 34, 75),
        (0.1, 4.0, 70, 150),
        (0.01, 0.1, 5, 12),
        (0.02, 0.2, 40, 85),
        (0.09, 0.9, 45, 100),
    ],
)
def test_every_cycle_of_the_disciplined_approach_fits_its_epochs(
    base_lr: float, max_lr: float, stepsize: int, epochs: int
) -> None:
    """Smith, arXiv 1803.09820, the table of datasets and networks; 98 updates an epoch here."""
    epoch = 98
    shape = {"half_cycle_steps": stepsize * epoch, "total_steps": epochs * epoch}
    rate = one_cycle(base_lr=base_lr, max_lr=max_lr, final_lr=base_lr / 1000, **shape)
    momentum = one_cycle_momentum(max_momentum=0.95, min_momentum=0.85, **shape)
    peak, back, last = stepsize * epoch, 2 * stepsize * epoch, epochs * epoch - 1
    assert [rate(0), rate(peak), rate(back)] == [base_lr, max_lr, base_lr]
    assert rate(last) == base_lr / 1000
    assert [momentum(0), momentum(peak), momentum(back), momentum(last)] == [0.95, 0.85, 0.95, 0.95]
