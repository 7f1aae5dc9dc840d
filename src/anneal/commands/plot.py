"""Plot a schedule, with its momentum, before anything is trained.

``anneal plot scheduler=one_cycle``, or ``experiment=clr/cifar10_triangular2``. Takes the overrides
of ``anneal run``, and ``to=<file>.png`` or ``.svg``.
"""

from pathlib import Path

from anneal.config.compose import compose_run
from anneal.config.folders import own_folder_first
from anneal.io.terminal import command, say
from anneal.report.schedule_figure import draw_schedule
from anneal.runs.plan import check_plan


@command(free=True)
def main(arguments: list[str]) -> None:
    """Plot the schedule of a configuration: anneal plot scheduler=triangular2."""
    asked = [a.removeprefix("to=") for a in arguments if a.startswith("to=")]
    with own_folder_first(arguments) as left:
        experiment = compose_run([a for a in left if not a.startswith("to=")])
    plan = check_plan(experiment, where="conf/run.yaml")
    file = Path(asked[-1]) if asked else Path(f"schedule_{experiment.scheduler.name}.png")
    draw_schedule(
        plan.schedule,
        momentum=plan.momentum,
        total_steps=plan.total_steps,
        title=experiment.title,
        path=file,
    )
    say(str(file))
