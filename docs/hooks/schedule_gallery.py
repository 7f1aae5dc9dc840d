"""Draw every public schedule for the page Schedules, with the code that the picture is of."""

import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from anneal import schedules
from anneal.io.files import renew_page
from anneal.io.text import markdown_table
from anneal.report.schedule_figure import draw_schedule
from anneal.schedules import Schedule

TOTAL_STEPS = 1_000  # updates drawn
PAGE = Path(__file__).resolve().parents[1] / "schedules.md"
GALLERY = "<!-- gallery -->"  # where schedules.md has the pictures

# One call of each public schedule, as somebody would write it. The order is the page's.
CALLS = {
    "constant": "constant(lr=0.1)",
    "step_decay": "step_decay(initial_lr=0.1, milestones=(500, 750), factor=0.1)",
    "exponential": "exponential(initial_lr=0.1, gamma=0.995)",
    "inverse": "inverse(initial_lr=0.1, gamma=0.01, power=0.75)",
    "polynomial": "polynomial(initial_lr=0.1, power=2.0, total_steps=1_000)",
    "linear_decay": "linear_decay(max_lr=0.1, base_lr=0.01, half_cycle_steps=500)",
    "triangular": "triangular(base_lr=0.01, max_lr=0.1, half_cycle_steps=125)",
    "triangular2": "triangular2(base_lr=0.01, max_lr=0.1, half_cycle_steps=125)",
    "exp_range": "exp_range(base_lr=0.01, max_lr=0.1, half_cycle_steps=125, gamma=0.998)",
    "welch": "welch(base_lr=0.01, max_lr=0.1, half_cycle_steps=125)",
    "hann": "hann(base_lr=0.01, max_lr=0.1, half_cycle_steps=125)",
    "cosine": "cosine(min_lr=0.0, max_lr=0.1, total_steps=1_000)",
    "cosine_restarts": ("cosine_restarts(min_lr=0.0, max_lr=0.1, first_cycle_steps=143, growth=2)"),
    "one_cycle": (
        "one_cycle(base_lr=0.01, max_lr=0.1, final_lr=0.0001, half_cycle_steps=450, "
        "total_steps=1_000)"
    ),
    "one_cycle_momentum": (
        "one_cycle_momentum(max_momentum=0.95, min_momentum=0.85, half_cycle_steps=450, "
        "total_steps=1_000)"
    ),
    "linear_ramp": "linear_ramp(first_lr=0.0, last_lr=0.1, total_steps=1_000)",
    "exponential_ramp": "exponential_ramp(first_lr=0.0001, last_lr=0.1, total_steps=1_000)",
    "warmup": (
        "warmup(first_lr=0.001, warmup_steps=100, "
        "schedule=cosine(min_lr=0.0, max_lr=0.1, total_steps=900))"
    ),
    "warmup_stable_decay": (
        "warmup_stable_decay(max_lr=0.1, final_lr=0.0, warmup_steps=100, stable_steps=700, "
        "decay_steps=200)"
    ),
    "held": (
        "held(every_steps=50, schedule=triangular(base_lr=0.01, max_lr=0.1, half_cycle_steps=250))"
    ),
    "lowered": (
        "lowered(milestones=(500, 750), factor=0.5, "
        "schedule=triangular(base_lr=0.01, max_lr=0.1, half_cycle_steps=125))"
    ),
    "staged": "staged(stages=((0, constant(lr=0.1)), (600, constant(lr=0.01))))",
}


def public_schedules() -> set[str]:
    """Return the names of the public functions that build a schedule from numbers."""
    return {
        name
        for name in schedules.__all__
        if inspect.isfunction(build := getattr(schedules, name))
        and build.__annotations__.get("return") in (Schedule, "Schedule")
        and name != "from_description"
    }


def schedule_of(call: str) -> Schedule:
    """Return what one of ``CALLS`` builds."""
    built = eval(call, {name: getattr(schedules, name) for name in schedules.__all__})  # noqa: S307
    if not isinstance(built, Schedule):
        raise TypeError(f"{call} builds no schedule")
    return built


def table() -> str:
    """Return each schedule's call and its first sentence."""
    rows = [[f"`{CALLS[name]}`", first_sentence(name)] for name in CALLS]
    return markdown_table(["call", "what it is"], rows)


def first_sentence(name: str) -> str:
    """Return the first line of a schedule's docstring."""
    return (inspect.getdoc(getattr(schedules, name)) or "").partition("\n")[0]


def gallery(names: list[str]) -> Iterator[str]:
    """Yield the lines of the page: each schedule's first sentence, call and picture."""
    for name in names:
        yield f"### {name} {{ #{name} }}\n"
        yield f"{first_sentence(name)}\n"
        yield f"```python\n{wrapped(CALLS[name])}\n```\n"
        yield f"![{name}: rate against updates](pictures/{name}.svg)\n"


def wrapped(call: str) -> str:
    """Return a call on one line, or with one argument a line where it is long."""
    if len(call) <= 80:
        return call
    name, _, arguments = call.removesuffix(")").partition("(")
    lines, depth, begin = [], 0, 0
    for position, character in enumerate(arguments):
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            lines.append(arguments[begin : position + 1].strip())
            begin = position + 1
    lines.append(arguments[begin:].strip() + ",")
    return "\n".join([f"{name}(", *(f"    {line}" for line in lines), ")"])


def picture(name: str) -> bytes:
    """Return the SVG of one schedule."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.svg"
        draw_schedule(
            schedule_of(CALLS[name]),
            momentum=None,
            total_steps=TOTAL_STEPS,
            title=name,
            path=path,
        )
        return path.read_bytes()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a picture of each schedule to the site."""
    if missing := public_schedules() ^ CALLS.keys():
        raise ValueError(
            f"docs/hooks/schedule_gallery.py: CALLS and the schedules differ in {missing}"
        )
    for name in CALLS:
        files.append(File.generated(config, f"pictures/{name}.svg", content=picture(name)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the gallery where the page Schedules asks for it."""
    return markdown.replace(GALLERY, "\n".join(gallery([*CALLS])))


if __name__ == "__main__":
    renew_page(PAGE, {"schedules": table()})
