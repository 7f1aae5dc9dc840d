"""Advised schedules against the default rate and a cosine at the usual rate, on test images.

python benchmarks/advice.py [NAME ...] [--folder ANTS_BEES]
python benchmarks/advice.py --page

Each comparison of benchmarks/advice_sets.py asks ``anneal advise``, then trains on all training
images, for the full length and with seeds that the advice did not use: the advised schedule, the
optimizer's default rate held constant, and one cosine from the usual rate to 0; with fine-tuning
also a cosine from the default rate without the weights. Their test accuracies, the page of the
advice and its snippet are in results/advice/<name>/, and the tables in docs/your_own_network.md are
renewed. Finished trials and runs are not run again, nor is a comparison whose result is in
results/advice.

NAME: of the comparisons to run; none: all. --folder: ``train/`` and ``val/`` of photos of ants and
bees. --page renews the tables without training. ANNEAL_ARCHIVES names the folder of archives.
"""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from advice_sets import COMPARISONS, DEFAULT_LR, TEST_SEEDS, TOLERANCE_PCT, Comparison

from anneal.advise.page import Advice
from anneal.advise.question import Question, ask
from anneal.advise.recommend import recommend
from anneal.config.compose import compose_run
from anneal.config.paths import Paths
from anneal.config.schema import ExperimentConfig, FineTuningConfig, SchedulerConfig
from anneal.io.files import read_json, renew_page, write_json
from anneal.io.terminal import command, say
from anneal.io.text import NOTHING, did_you_mean, markdown_table
from anneal.results.statistics import Interval, mean_interval, paired_interval
from anneal.runs.code_digest import code_of_run
from anneal.runs.directory import RunDirectory
from anneal.runs.environment import describe_environment
from anneal.runs.layout import MULTIRUN, REPLACED, seed_folder
from anneal.runs.plan import plan_run
from anneal.runs.run import SeedRun, train_run, usual_observers
from anneal.runs.setup import ExperimentSetup, load_setup

FOLDER = Path("results/advice")
RESULT = "comparison.json"
PAGE = Path("docs/your_own_network.md")
BLOCKS = {"advice": False, "advice-fine-tuning": True}  # block of the page -> fine-tuning
ADVISED, DEFAULT, COSINE, SCRATCH = "advised", "default", "cosine", "scratch"
RIVALS = {
    DEFAULT: "the default rate held constant",
    COSINE: "a cosine at the usual rate",
    SCRATCH: "a cosine without the weights",
}
Accuracies = Mapping[str, float | None]  # seed -> test accuracy, 0..100; None: diverged


def compare(comparison: Comparison, *, folder: Path) -> dict[str, Any]:
    """Ask for advice and train what it is compared with; return the record."""
    question = ask([*comparison.overrides, f"advise.name={comparison.name}"])
    advice = recommend(question, command=comparison.overrides, folder=folder)
    runs: dict[str, dict[str, Any]] = {}
    for name, experiment in schedules(comparison, question, advice).items():
        setup = question.setup
        if name == SCRATCH:
            setup = load_setup(experiment, Paths.from_environment())
        runs[name] = _test(name, experiment, setup)
    return {
        "declared": comparison.declared(),
        "environment": describe_environment(),
        "advice": {
            "recommended": advice.choice.recommended,
            "reason": advice.choice.reason,
            "bounds": [advice.base_lr, advice.max_lr],
        },
        "num_test": len(question.setup.data.test),
        "num_train": len(question.setup.data.train),
        "runs": runs,
    }


def schedules(
    comparison: Comparison, question: Question, advice: Advice
) -> dict[str, ExperimentConfig]:
    """Return the full-length configuration of each schedule; none advised, none trained."""
    whole = dataclasses.replace(question.experiment, budget_fraction=1.0)
    found: dict[str, ExperimentConfig] = {}
    if advice.choice.recommended is not None:
        plans = dataclasses.replace(question, experiment=whole).plans(advice.base_lr, advice.max_lr)
        found[ADVISED] = plans[advice.choice.recommended].experiment
    found[DEFAULT] = dataclasses.replace(
        whole, scheduler=_scheduler("constant", f"scheduler.lr={DEFAULT_LR}")
    )
    found[COSINE] = dataclasses.replace(
        whole, scheduler=_scheduler("cosine", f"scheduler.max_lr={comparison.usual_lr}")
    )
    if comparison.fine_tunes:
        found[SCRATCH] = dataclasses.replace(
            whole,
            fine_tuning=FineTuningConfig(),
            scheduler=_scheduler("cosine", f"scheduler.max_lr={DEFAULT_LR}"),
        )
    return {
        name: dataclasses.replace(of, name=f"advice/{comparison.name}/{name}")
        for name, of in found.items()
    }


def _scheduler(*overrides: str) -> SchedulerConfig:
    name, *more = overrides
    return compose_run([f"scheduler={name}", *more]).scheduler


def _test(name: str, experiment: ExperimentConfig, setup: ExperimentSetup) -> dict[str, Any]:
    """Train one schedule with each seed; return its test accuracies."""
    plan = plan_run(experiment, setup.data.identity, bounds=None, where="conf/run.yaml")
    accuracies: dict[str, float | None] = {}
    for seed in TEST_SEEDS:
        directory = RunDirectory(
            seed_folder(MULTIRUN / plan.configuration_hash, seed),
            configuration_hash=plan.configuration_hash,
            code=code_of_run(setup.settings.numerics),
        )
        run = SeedRun(
            plan=plan,
            setup=setup,
            seed=seed,
            directory=directory,
            replaced=MULTIRUN / REPLACED,
            label=f"{name}, seed {seed}",
        )
        with run.held():
            result = train_run(run, usual_observers(run, job_type="multirun"))
        found = result.get("test_accuracy_pct@final")
        accuracies[str(seed)] = None if found is None else float(found)
    return {
        "configuration_hash": plan.configuration_hash,
        "schedule": plan.schedule.describe(),
        "updates": plan.total_steps,
        "test_accuracy_pct": accuracies,
    }


def difference(record: Mapping[str, Any], rival: str) -> Interval | None:
    """Return the advised accuracy minus a rival's, paired by seed; None if a run diverged."""
    runs = record["runs"]
    if ADVISED not in runs:
        return None
    own, other = (runs[name]["test_accuracy_pct"] for name in (ADVISED, rival))
    if None in (*own.values(), *other.values()):
        return None
    return paired_interval([own[seed] - other[seed] for seed in own])


def verdict(gap: Interval, *, tolerance_pct: float) -> str:
    """Return what an interval of the difference shows.

    >>> verdict(mean_interval([0.1, 0.2, 0.15]), tolerance_pct=0.5)
    'equally good within 0.5 points'
    >>> verdict(mean_interval([1.0, 1.2, 1.4]), tolerance_pct=0.5)
    'better'
    >>> verdict(mean_interval([-1.0, -1.2, -1.4]), tolerance_pct=0.5)
    'worse'
    >>> verdict(mean_interval([-1.0, 0.2, 1.4]), tolerance_pct=0.5)
    'statistically tied'
    """
    assert gap.low is not None
    assert gap.high is not None
    if -tolerance_pct <= gap.low and gap.high <= tolerance_pct:
        return f"equally good within {tolerance_pct:g} points"
    if gap.low > 0:
        return "better"
    return "worse" if gap.high < 0 else "statistically tied"


def sentence(record: Mapping[str, Any]) -> str:
    """Return the verdict on one comparison in one sentence."""
    words = record["declared"]["words"]
    chosen = record["advice"]["recommended"]
    if chosen is None:
        return f"{words}: `anneal advise` recommended nothing: {record['advice']['reason']}."
    parts = []
    for rival, of_rival in RIVALS.items():
        if rival not in record["runs"]:
            continue
        gap = difference(record, rival)
        if gap is None:
            parts.append(f"not compared with {of_rival} ({_diverged(record, rival)})")
            continue
        called = verdict(gap, tolerance_pct=record["declared"]["tolerance_pct"])
        joined = {"better": "better than", "worse": "worse than"}.get(called)
        if joined is None:
            joined = "statistically tied with" if called == "statistically tied" else f"{called} as"
        parts.append(f"{joined} {of_rival}")
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    return f"{words}: the advised `{chosen}` is {listed}."


def _diverged(record: Mapping[str, Any], *names: str) -> str:
    found = []
    for name in (ADVISED, *names):
        values = list(record["runs"][name]["test_accuracy_pct"].values())
        if lost := values.count(None):
            found.append(f"{name}: {lost} of {len(values)} diverged")
    return ", ".join(found)


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of comparisons and a sentence for each, as Markdown."""
    header = ["set", "schedule", "test accuracy", "95 %", "advised minus this", "95 %", "n"]
    rows = []
    for record in records:
        for name, run in record["runs"].items():
            values = [v for v in run["test_accuracy_pct"].values() if v is not None]
            mean = mean_interval(values) if values else None
            gap = None if name == ADVISED else difference(record, name)
            first = name == next(iter(record["runs"]))
            rows.append(
                [
                    record["declared"]["words"] if first else "",
                    _schedule_words(record, name),
                    NOTHING if mean is None else f"{mean.mean:.2f} %",
                    _ends(mean),
                    "" if gap is None else f"{gap.mean:+.2f}",
                    "" if gap is None else _ends(gap),
                    str(len(values)),
                ]
            )
    made = markdown_table(
        header, rows, sides=["left", "left", "right", "right", "right", "right", "right"]
    )
    return "\n".join([made, "", *(f"- {sentence(record)}" for record in records)])


def _schedule_words(record: Mapping[str, Any], name: str) -> str:
    declared = record["declared"]
    return {
        ADVISED: f"advised: {record['advice']['recommended']}",
        DEFAULT: f"constant {declared['default_lr']:g}",
        COSINE: f"cosine from {declared['usual_lr']:g} ({declared['usual']})",
        SCRATCH: f"cosine from {declared['default_lr']:g}, without the weights",
    }[name]


def _ends(interval: Interval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return NOTHING
    return f"{interval.low:.2f} to {interval.high:.2f}"


def read_records(*, fine_tunes: bool) -> list[dict[str, Any]]:
    """Return the committed records, in the order in which they were declared."""
    files = [FOLDER / c.name / RESULT for c in COMPARISONS if c.fine_tunes == fine_tunes]
    return [read_json(file) for file in files if file.is_file()]


def blocks() -> dict[str, str]:
    """Return the blocks of the page by name."""
    about = (
        "`python benchmarks/advice.py`: five seeds that the advice did not use, intervals of "
        "Student's t, differences paired by seed, each at 95 % without a correction for their "
        f"number; *equally good* means that the whole interval is within {TOLERANCE_PCT:g} points."
    )
    found = {name: read_records(fine_tunes=fine_tunes) for name, fine_tunes in BLOCKS.items()}
    return {name: f"{about}\n\n{table(records)}" for name, records in found.items() if records}


@command(free=True)
def main(arguments: list[str]) -> None:
    """Run the comparisons that have no result yet and renew the page."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args(arguments)
    known = {comparison.name: comparison for comparison in COMPARISONS}
    for name in given.names:
        if name not in known:
            raise ValueError(f"there is no comparison {name!r}{did_you_mean(name, known)}")
    for name in () if given.page else given.names or known:
        folder = FOLDER / name
        file = folder / RESULT
        if file.is_file() and read_json(file)["declared"] == known[name].declared():
            say(f"{name}: its result is in {file}, not run again")
            continue
        if (prepare := known[name].prepare) is not None:
            prepare(given.folder)
        write_json(file, compare(known[name], folder=folder))
        say(sentence(read_json(file)))
    renew_page(PAGE, blocks())


if __name__ == "__main__":
    main()
