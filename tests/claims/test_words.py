import pytest

from anneal.claims.words import (
    VERDICTS_BEGIN,
    VERDICTS_END,
    escape_markdown,
    fraction_words,
    interval_words,
    markdown_table,
    renew_block,
    schedule_words,
)
from anneal.results.statistics import mean_interval


@pytest.mark.parametrize(
    "text", ["a|b", "a\nb", "a\r\n\nb", r"a\|b", "a|b|c", "|", "<b>", "exp_range *x*"]
)
def test_no_text_breaks_a_table(text):
    lines = markdown_table(["x", "y"], [[escape_markdown(text), text.replace("<", "")]]).split("\n")
    assert len(lines) == 3
    cells = [i for i, c in enumerate(lines[2]) if c == "|" and lines[2][i - 1] != "\\"]
    assert len(cells) == 3


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row must have 2 cells, got 1"):
        markdown_table(["x", "y"], [["1"]])


def test_a_mean_is_shown_with_its_interval_and_a_single_run_as_one():
    assert interval_words(mean_interval([1.0, 2.0, 3.0]), decimals=1) == "2.0 ± 2.5 [-0.5, 4.5]"
    assert interval_words(mean_interval([2.0]), decimals=1, unit="%") == "2.0 % (one run)"


@pytest.mark.parametrize(
    ("fraction", "words"),
    [(0.01, "1/100"), (1 / 3, "1/3"), (0.1, "1/10"), (0.7, "70 %"), (1, "full")],
)
def test_a_budget_is_said_as_people_say_it(fraction, words):
    assert fraction_words(fraction) == words


def test_a_staged_schedule_reads_stage_by_stage():
    one = {"name": "triangular2", "arguments": {"base_lr": 0.001, "half_cycle_steps": 2000}}
    two = {"name": "constant", "arguments": {"lr": 1e-05}}
    description = {"name": "staged", "arguments": {"stages": [[0, one], [16000, two]]}}
    assert schedule_words(description) == (
        "triangular2(base_lr 0.001, half_cycle_steps 2,000), from update 16,000 constant(lr 1e-05)"
    )
    inner = {"name": "warmup", "arguments": {"schedule": two, "values": [1, 2]}}
    assert schedule_words(inner) == "warmup(schedule constant(lr 1e-05), values 1 / 2)"


def test_only_what_stands_between_the_marks_is_renewed():
    text = f"# a\n\n{VERDICTS_BEGIN}\nold\n{VERDICTS_END}\n\nb\n"
    renewed = renew_block(text, body="| new |\n", where="README.md")
    assert renewed == f"# a\n\n{VERDICTS_BEGIN}\n| new |\n{VERDICTS_END}\n\nb\n"
    assert renew_block(renewed, body="| new |", where="README.md") == renewed
    assert renew_block("no marks\n", body="x", where="README.md") == "no marks\n"


@pytest.mark.parametrize(
    "text",
    [VERDICTS_BEGIN, f"{VERDICTS_END} {VERDICTS_BEGIN}", f"{VERDICTS_BEGIN * 2}{VERDICTS_END}"],
)
def test_marks_that_do_not_pair_are_refused(text):
    with pytest.raises(ValueError, match=r"README\.md: must hold .* once each"):
        renew_block(text, body="x", where="README.md")
