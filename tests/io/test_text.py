import pytest

from anneal.io.text import duration_words, escape_markdown, markdown_table, renew_block, text_table

BEGIN, END = "<!-- verdicts:begin -->", "<!-- verdicts:end -->"


@pytest.mark.parametrize(
    "text", ["a|b", "a\nb", "a\r\n\nb", r"a\|b", "a|b|c", "|", "<b>", "exp_range *x*"]
)
def test_no_text_breaks_a_table(text):
    lines = markdown_table(["x", "y"], [[escape_markdown(text), text.replace("<", "")]]).split("\n")
    assert len(lines) == 3
    cells = [i for i, c in enumerate(lines[2]) if c == "|" and lines[2][i - 1] != "\\"]
    assert len(cells) == 3


def test_last_column_of_a_text_table_is_folded_to_the_width():
    row = ["fixed", "one two three four five six seven"]
    lines = text_table(["row", "what changed"], [row], width=31)
    assert lines[2:] == ["fixed  one two three four five", "       six seven"]


def test_numbers_of_a_text_table_are_aligned_right():
    lines = text_table(["row", "runs"], [["a", "7"]], sides=["left", "right"])
    assert lines == ["row  runs", "---  ----", "a       7"]


def test_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row must have 2 cells, got 1"):
        markdown_table(["x", "y"], [["1"]])


def test_only_what_stands_between_the_marks_is_renewed():
    text = f"# a\n\n{BEGIN}\nold\n{END}\n\nb\n"
    renewed = renew_block(text, name="verdicts", body="| new |\n", where="README.md")
    assert renewed == f"# a\n\n{BEGIN}\n| new |\n{END}\n\nb\n"
    assert renew_block(renewed, name="verdicts", body="| new |", where="README.md") == renewed
    assert renew_block("no marks\n", name="verdicts", body="x", where="README.md") == "no marks\n"


@pytest.mark.parametrize(
    "text",
    [BEGIN, f"{END} {BEGIN}", f"{BEGIN * 2}{END}"],
)
def test_marks_that_do_not_pair_are_refused(text):
    with pytest.raises(ValueError, match=r"README\.md: must have .* once each"):
        renew_block(text, name="verdicts", body="x", where="README.md")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3540, "59 min"), (3600, "1 h 0 min"),
     (5400, "1 h 30 min"), (90_000, "25 h 0 min")],
)  # fmt: skip
def test_length_of_time_in_words(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words
