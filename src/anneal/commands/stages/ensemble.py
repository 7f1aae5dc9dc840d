"""Stage ``ensemble``: average the snapshots of two experiments of a campaign together.

``python -m anneal.commands.stages.ensemble <campaign> <name> <first> <second>`` reads the outputs
that the stage evaluate kept, and writes ``evaluations/<campaign>/<name>/derived.json``.
"""

from collections.abc import Mapping

import numpy as np

from anneal.config.paths import Paths
from anneal.config.strict import to_plain
from anneal.datasets import load_dataset
from anneal.io.terminal import command, say
from anneal.results.derived import derived_run, save_derived
from anneal.results.ensembles import Output, ensemble_metric, growing_accuracies
from anneal.results.metrics import Run
from anneal.runs.inputs import Loaded, load_experiment
from anneal.runs.layout import EVALUATIONS, seed_folder
from anneal.runs.subjects import split_name, subject_name


@command("campaign", "name", "first", "second")
def main(arguments: list[str]) -> None:
    """Evaluate two runs of one seed, and subject, with the last snapshots of each."""
    campaign, name, *experiments = arguments
    parts = [load_experiment(campaign, one).of_each_subject() for one in experiments]
    found: dict[str, list[Run]] = {}
    for both in zip(*parts, strict=True):
        one = both[0].experiment
        if any(other.experiment.dataset != one.dataset for other in both):
            raise ValueError(f"{name}: its experiments must be of one data set and its subjects")
        outputs = [_outputs_of(campaign, part) for part in both]
        shared = sorted(set.intersection(*(set(of_seed) for of_seed in outputs)))
        data = load_dataset(one.dataset, Paths.from_environment())
        labels = data.test.labels.numpy()
        subject = split_name(one.name)[1]
        own = name if subject is None else subject_name(name, subject)
        made_of = {
            "ensemble of": [to_plain(part.experiment) for part in both],
            "data": data.identity,
        }
        for seed in shared:
            snapshots = [of_seed[seed] for of_seed in outputs]
            accuracies = growing_accuracies([[*each.values()] for each in snapshots], labels)
            metrics = {ensemble_metric(2, m): pct for m, pct in enumerate(accuracies, start=1)}
            run = derived_run(
                seed,
                updates=sum(max(each) for each in snapshots),
                metrics=metrics,
                made_of=made_of,
                precision="float32",
            )
            found.setdefault(own, []).append(run)
    if not found:
        raise ValueError(
            f"{name}: no snapshots of {' and '.join(experiments)} were evaluated; train them with "
            "training.snapshots=cycle_ends"
        )
    save_derived(EVALUATIONS / campaign / name, found)
    say(f"{name}: {sum(map(len, found.values()))} ensembles of two runs")


def _outputs_of(campaign: str, part: Loaded) -> Mapping[int, dict[int, Output]]:
    """Return, by seed and update, the outputs of each kept snapshot, in the order of updates."""
    folder = EVALUATIONS / campaign / part.experiment.name
    found = {}
    for seed in part.seeds:
        files = sorted(seed_folder(folder, seed).glob("*.npy"), key=lambda path: int(path.stem))
        if files:
            found[seed] = {int(path.stem): np.load(path) for path in files}
    return found


if __name__ == "__main__":
    main()
