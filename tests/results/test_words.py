import pytest

from anneal.results.statistics import mean_interval
from anneal.results.words import fraction_words, interval_words, schedule_words


def test_mean_is_shown_with_its_interval_and_a_single_run_as_one():
    assert interval_words(mean_interval([1.0, 2.0, 3.0]), decimals=1) == "2.0 ± 2.5 [-0.5, 4.5]"
    assert interval_words(mean_interval([2.0]), decimals=1, unit="%") == "2.0 % (one run)"


@pytest.mark.parametrize(
    ("fraction", "words"),
    [(0.01, "1/100"), (1 / 3, "1/3"), (0.1, "1/10"), (0.7, "70 %"), (1, "full")],
)
def test_budget_is_said_as_people_say_it(fraction, words):
    assert fraction_words(fraction) == words


def test_staged_schedule_reads_stage_by_stage():
    one = {"name": "triangular2", "arguments": {"base_lr": 0.001, "half_cycle_steps": 2000}}
    two = {"name": "constant", "arguments": {"lr": 1e-05}}
    description = {"name": "staged", "arguments": {"stages": [[0, one], [16000, two]]}}
    assert schedule_words(description) == (
        "triangular2(base_lr 0.001, half_cycle_steps 2,000), from update 16,000 constant(lr 1e-05)"
    )
    inner = {"name": "warmup", "arguments": {"schedule": two, "values": [1, 2]}}
    assert schedule_words(inner) == "warmup(schedule constant(lr 1e-05), values 1 / 2)"
