"""Evaluate the snapshots of runs, alone and as ensembles.

``anneal ensemble <run directory>...``, or a folder of seeds such as
``multirun/<configuration hash>``. Prints the accuracy of N runs with the last M snapshots each.
Writes ``ensemble.json``, ``ensemble.csv``, ``diversity.csv`` and ``ensemble.svg`` to the folder
``ensemble`` next to the runs, or to ``to=<folder>``. ``folder=<images>`` is the image folder of a
data set ``imagefolder``.
"""

from pathlib import Path

from anneal.io.files import write_whole
from anneal.io.terminal import command, say
from anneal.report.ensemble_figure import draw_ensembles
from anneal.results.ensemble_grid import ensemble_words
from anneal.results.ensemble_runs import find_runs, measure_runs, save_ensemble
from anneal.runs.layout import RUNS
from anneal.schedules import cycle_ends, from_description

FOLDER = "ensemble"
_OPTIONS = ("to", "folder")


@command(free=True)
def main(arguments: list[str]) -> None:
    """Evaluate the snapshots of runs and their ensembles."""
    options = dict(a.split("=", 1) for a in arguments if a.split("=", 1)[0] in _OPTIONS)
    places = [Path(a) for a in arguments if a.split("=", 1)[0] not in _OPTIONS]
    if not places:
        raise ValueError("needs one or more run directories, or a folder of them, got nothing")
    runs = find_runs(places)
    folder = Path(options["to"]) if "to" in options else runs[0].directory.path.parent / FOLDER
    if RUNS.resolve() in folder.resolve().parents:
        raise ValueError(f"{folder} belongs to DVC (runs of a campaign): set to=<folder>")
    evidence = measure_runs(runs, folder=folder, images=options.get("folder"))
    save_ensemble(evidence, folder)
    plan = runs[0].plan
    ends = cycle_ends(from_description(plan["schedule"]), plan["total_steps"])
    title = f"{plan['configuration']['title']}: snapshots"
    write_whole(folder / "ensemble.svg", draw_ensembles(evidence, ends=ends, title=title))
    say("\n".join(ensemble_words(evidence)))
    say(f"{folder}: ensemble.json, ensemble.csv, diversity.csv, ensemble.svg")
