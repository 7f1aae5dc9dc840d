"""Bounds that a candidate's trials raise, and when they stay."""

from collections.abc import Mapping

import pytest

from anneal.advise.higher import Higher, try_higher

Seen = Mapping[int, Mapping[int, float | None]]


def tried(seen: Seen, *, raises: int = 3) -> Higher:
    return try_higher("cosine", seen.__getitem__, raises=raises, resolution_pct=0.1)


def test_bounds_stay_where_three_times_is_no_better() -> None:
    found = tried({1: {0: 90.0, 1: 91.0, 2: 92.0}, 3: {0: 90.5, 1: 90.4, 2: 92.3}})
    assert (found.factor, found.num_more) == (1, 1)
    assert found.words == (
        "cosine reached 91.00 % at the range test's bounds, 91.07 % at 3 times these"
    )


def test_bounds_are_raised_until_a_step_is_no_better() -> None:
    found = tried(
        {
            1: {0: 80.0, 1: 81.0, 2: 82.0},
            3: {0: 90.0, 1: 91.1, 2: 91.9},
            9: {0: 94.0, 1: 95.0, 2: 96.1},
            27: {0: 94.1, 1: 94.9, 2: 96.0},
        }
    )
    assert (found.factor, found.num_more) == (9, 3)


def test_no_more_steps_than_asked_are_trained() -> None:
    seen: Seen = {factor: {0: 50.0 + factor, 1: 51.0 + factor} for factor in (1, 3, 9)}
    assert tried(seen, raises=2).factor == 9
    assert tried(seen, raises=0).accuracies_pct == {1: seen[1]}


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ({0: 80.0, 1: 81.0}, {0: 95.0, 1: None}),
        ({0: None, 1: 81.0}, {0: 95.0, 1: 96.0}),
        ({0: 80.0, 1: 81.0}, {0: 80.05, 1: 81.05}),  # half an image
    ],
)
def test_diverged_seed_or_gain_below_an_image_raises_nothing(
    lower: dict[int, float | None], higher: dict[int, float | None]
) -> None:
    assert tried({1: lower, 3: higher}).factor == 1


def test_diverged_seeds_are_said() -> None:
    found = tried({1: {0: 80.0, 1: 81.0}, 3: {0: 95.0, 1: None}})
    assert found.words.endswith("1 of 2 seeds diverged at 3 times these")
