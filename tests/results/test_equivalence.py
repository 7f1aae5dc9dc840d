import math

import numpy as np
import pytest
from scipy import stats

from anneal.results.equivalence import Tolerance, level_for, place

AROUND = Tolerance(low=-1.0, high=1.0)


def called(mean, *, variance=0.01, df=4.0, n=4, tolerance=AROUND, level=0.9):
    where = place(mean, variance, df, n, tolerance=tolerance, level=level)
    return [name for name in ("inside", "lower", "higher") if getattr(where, name)]


def test_interval_is_inside_straddles_or_is_outside():
    half = stats.t.ppf(0.95, 4) * 0.05
    assert called(1 - half - 1e-9) == ["inside"]
    assert called(1 - half + 1e-9) == []
    assert called(1 + half - 1e-9) == []
    assert called(1 + half + 1e-9) == ["higher"]
    assert called(-1 - half - 1e-9) == ["lower"]


def test_difference_on_the_margin_does_not_exceed_it():
    order = Tolerance(low=0.0, high=math.inf, is_open=True)
    assert called(0.0, variance=0.0, tolerance=order) == []
    assert called(1e-9, variance=0.0, tolerance=order) == ["inside"]


def test_paper_of_few_runs_guards_against_a_chance_difference():
    guard = stats.t.ppf(0.975, 4) * math.sqrt(1.0 * (1 / 1 + 1 / 4))
    drawn = Tolerance(low=-0.1, high=0.1, paper=0.0, paper_runs=1.0)
    assert called(guard - 1e-9, variance=1.0, tolerance=drawn) == []
    assert called(guard + 1e-9, variance=1.0, tolerance=drawn) == ["higher"]
    many = Tolerance(low=-0.1, high=0.1, paper=0.0, paper_runs=math.inf)
    assert called(guard - 0.5, variance=1.0, tolerance=many) == ["higher"]


def test_readings_share_their_error_between_them():
    assert level_for(3, num_readings=1) == level_for(3) == 0.90
    assert level_for(3, num_readings=5) == pytest.approx(0.98)
    assert level_for(2, num_readings=5) == pytest.approx(0.99)


def test_students_t_at_its_level_errs_on_five_percent_of_a_side():
    rng = np.random.default_rng(2)
    runs = rng.normal(1.0, 0.3, (40_000, 3))  # the truth is on the edge
    where = place(
        runs.mean(axis=1), runs.var(axis=1, ddof=1), 2.0, 3, tolerance=AROUND, level=level_for(3)
    )
    assert np.mean(where.higher) == pytest.approx(0.05, abs=0.004)
    assert np.mean(where.inside) == pytest.approx(0.05, abs=0.006)
