"""Stage ``evaluate``: evaluate trained weights and record the results of an experiment.

``python -m anneal.commands.stages.evaluate <campaign> <experiment> <range test or "given">`` writes
``evaluations/<campaign>/<experiment>/record.json`` and ``curves.csv``, and the test outputs of each
snapshot as ``seed-<n>/<update>.npy``.
"""

from anneal.io.files import write_json, write_whole
from anneal.io.terminal import command, say
from anneal.results.evaluate import curves_csv, evaluate_runs, make_record
from anneal.results.snapshot_evaluation import evaluate_snapshots
from anneal.runs.inputs import Loaded, NoBoundsError, load_bounds, load_experiment
from anneal.runs.layout import CURVES, EVALUATIONS, RANGE_TESTS, RECORD, RUNS, SKIPPED, SUGGESTION
from anneal.runs.memory import memory_explained
from anneal.runs.plan import Bounds
from anneal.runs.setup import plan_experiment
from anneal.runs.tracking import open_tracker


@command("campaign", "experiment", "range_test")
def main(arguments: list[str]) -> None:
    """Evaluate every ended seed of one experiment on the test images."""
    campaign, name, range_test = arguments
    loaded = load_experiment(campaign, name)
    folder = EVALUATIONS / campaign / name
    try:
        bounds = load_bounds(RANGE_TESTS / campaign / range_test / SUGGESTION)
    except NoBoundsError as abstention:
        write_json(folder / SKIPPED, {"reason": str(abstention)})
        (folder / RECORD).unlink(missing_ok=True)
        say(f"{name}: nothing to evaluate. {abstention}")
        return
    (folder / SKIPPED).unlink(missing_ok=True)
    for part in loaded.of_each_subject():
        _evaluate(campaign, part, bounds)


def _evaluate(campaign: str, loaded: Loaded, bounds: Bounds | None) -> None:
    """Evaluate an experiment, or one of its subjects."""
    name = loaded.experiment.name
    folder = EVALUATIONS / campaign / name
    plan, setup = plan_experiment(loaded, bounds)
    trained = RUNS / campaign / name
    with memory_explained(loaded.experiment, trains=False):
        runs = evaluate_runs(plan, setup, trained, loaded.seeds)
        runs, ensembles = evaluate_snapshots(plan, setup, trained, runs, keep=folder)
    record = make_record(plan, campaign=campaign, runs=runs, ensembles=ensembles)
    write_json(folder / RECORD, record)
    write_whole(folder / CURVES, curves_csv(runs))
    with open_tracker(
        loaded.experiment.tracking,
        run_dir=folder,
        group=name,
        job_type="evaluate",
        name=f"{name} evaluated",
        configuration=plan.describe(),
    ) as tracker:
        tracker.summary({f"seed {r.seed}/{key}": v for r in runs for key, v in r.metrics.items()})
    finals = [r.metrics.get("test_accuracy_pct@final") for r in runs]
    shown = ", ".join("diverged" if f is None else f"{f:.2f} %" for f in finals)
    say(f"{name}: {shown or 'no run here'}")


if __name__ == "__main__":
    main()
