"""Stage ``evaluate``: the trained weights, measured again, and the record of an experiment (edge).

``python -m anneal.stages.evaluate <campaign> <experiment> <range test or "given">`` writes
``evaluations/<campaign>/<experiment>/record.json`` and ``curves.csv``.
"""

from anneal.command_line import command, say
from anneal.layout import CURVES, EVALUATIONS, GIVEN, RANGE_TESTS, RECORD, RUNS, SUGGESTION
from anneal.loading import load_bounds, load_experiment, plan_experiment
from anneal.records import curves_csv, evaluate_runs, make_record
from anneal.yaml_files import write_json, write_whole


@command("campaign", "experiment", "range_test")
def main(arguments: list[str]) -> None:
    """Measure every ended seed of one experiment on the test images."""
    campaign, name, range_test = arguments
    loaded = load_experiment(campaign, name)
    bounds = None
    if range_test != GIVEN:
        bounds = load_bounds(RANGE_TESTS / campaign / range_test / SUGGESTION)
    plan, workshop = plan_experiment(loaded, bounds)
    runs = evaluate_runs(plan, workshop, RUNS / campaign / name, loaded.seeds)
    folder = EVALUATIONS / campaign / name
    write_json(folder / RECORD, make_record(plan, campaign=campaign, runs=runs))
    write_whole(folder / CURVES, curves_csv(runs))
    finals = [r.metrics.get("test_accuracy_pct@final") for r in runs]
    shown = ", ".join("diverged" if f is None else f"{f:.2f} %" for f in finals)
    say(f"{name}: {shown or 'no run here'}")


if __name__ == "__main__":
    main()
