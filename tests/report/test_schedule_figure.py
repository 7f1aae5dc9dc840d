"""The picture of a schedule: every update of it, its momentum below, the same bytes each time."""

import struct
from pathlib import Path

import pytest

from anneal.commands import plot
from anneal.report import schedule_figure
from anneal.report.schedule_figure import draw_schedule
from anneal.schedules import Schedule, one_cycle, one_cycle_momentum, triangular


@pytest.fixture
def triangles() -> Schedule:
    return triangular(base_lr=0.001, max_lr=0.006, half_cycle_steps=10)


def drawn(path: Path, schedule: Schedule, momentum: Schedule | None = None, steps: int = 40) -> str:
    draw_schedule(schedule, momentum=momentum, total_steps=steps, title="A title", path=path)
    return path.read_text()


def words_of(svg: str) -> set[str]:
    """Return the texts of a picture: drawn as paths, each with its words in a comment."""
    return {line[5:-4] for line in map(str.strip, svg.splitlines()) if line.startswith("<!-- ")}


def test_picture_has_title_axes_and_the_values_that_matter(
    tmp_path: Path, triangles: Schedule
) -> None:
    words = words_of(drawn(tmp_path / "x.svg", triangles))
    assert {"A title", "learning rate", "updates made"} <= words
    assert "first 0.001, highest 0.006, last 0.0015" in words
    assert "momentum" not in words


def test_momentum_has_a_panel_of_its_own(tmp_path: Path) -> None:
    rate = one_cycle(base_lr=0.1, max_lr=1.0, final_lr=0.01, half_cycle_steps=18, total_steps=40)
    momentum = one_cycle_momentum(
        max_momentum=0.95, min_momentum=0.85, half_cycle_steps=18, total_steps=40
    )
    with_it = drawn(tmp_path / "x.svg", rate, momentum)
    assert {"learning rate", "momentum"} <= words_of(with_it)
    assert with_it.count('<g id="axes_') == 2


@pytest.mark.parametrize("steps", [1, 2, 7, 25, 26])
def test_last_update_is_drawn_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(schedule_figure, "MOST_POINTS", 10)
    path = tmp_path / "x.svg"
    draw_schedule(lambda update: update, momentum=None, total_steps=steps, title="x", path=path)
    last = steps - 1
    assert f"first 0, highest {last}, last {last}" in words_of(path.read_text())


def test_every_update_of_a_run_of_any_paper_is_drawn(tmp_path: Path) -> None:
    asked = set()

    def schedule(update: int) -> float:
        asked.add(update)
        return 0.1

    path = tmp_path / "x.svg"
    draw_schedule(schedule, momentum=None, total_steps=70_000, title="x", path=path)
    assert asked == set(range(70_000))


def test_same_schedule_is_the_same_picture_to_the_byte(tmp_path: Path, triangles: Schedule) -> None:
    one, other = drawn(tmp_path / "a.svg", triangles), drawn(tmp_path / "b.svg", triangles)
    assert one == other
    assert "<dc:date>" not in one


def test_png_is_one(tmp_path: Path, triangles: Schedule) -> None:
    path = tmp_path / "folder" / "x.png"
    draw_schedule(triangles, momentum=None, total_steps=40, title="x", path=path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (1200, 570)  # 8 x 3.8 inches at 150 dpi


@pytest.mark.parametrize("name", ["x.pdf", "x", "x.PNG"])
def test_picture_that_is_neither_is_refused(tmp_path: Path, triangles: Schedule, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.png or \.svg, got"):
        draw_schedule(triangles, momentum=None, total_steps=40, title="x", path=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# --- anneal plot ------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, where we are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command_draws_what_the_overrides_give(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot.main(["scheduler=one_cycle", "scheduler.max_lr=0.02", "to=x.svg"])
    assert capsys.readouterr().out == "x.svg\n"
    words = words_of((here / "x.svg").read_text())
    # an update of the 300 stands on the top of the triangle, 135
    assert {"momentum", "first 0.0006, highest 0.02, last 6e-06"} <= words


def test_without_a_file_the_picture_is_named_after_the_schedule(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot.main(["scheduler=hann"])
    assert capsys.readouterr().out == "schedule_hann.png\n"
    assert (here / "schedule_hann.png").is_file()


def test_experiment_is_drawn_at_its_budget(here: Path) -> None:
    plot.main(["experiment=digits/sgdr", "budget_fraction=0.01", "to=x.svg"])
    words = words_of((here / "x.svg").read_text())
    assert "cosine with warm restarts" in words
    assert "250" in words
    assert "300" not in words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["to=x.pdf"], "must end in .png or .svg, got x.pdf"),
        (["scheduler=han"], "conf/scheduler has no option 'han'; did you mean 'hann'?"),
        (["scheduler.max_lr=-1"], "conf/run.yaml: scheduler: max_lr must"),
    ],
)
def test_mistake_is_one_line_and_no_picture(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        plot.main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert list(here.iterdir()) == []
