"""Stage ``compose``: params.yaml and conf/ -> one resolved file for each experiment.

``python -m anneal.commands.stages.compose``
"""

import dataclasses
from pathlib import Path

from anneal.config.compose import compose_experiments, load_campaign
from anneal.config.options import place_of_experiment
from anneal.config.schema import Campaign, ExperimentConfig
from anneal.config.strict import to_plain
from anneal.datasets.registry import find_dataset
from anneal.io.files import write_json, write_yaml
from anneal.io.terminal import command, say
from anneal.runs.layout import CAMPAIGN_FILE, EXPERIMENTS, GIVEN, RANGE_TESTS, SUGGESTION
from anneal.runs.plan import check_plan, range_test_hash


@command()
def main(_arguments: list[str]) -> None:
    """Resolve and check every experiment, and write ``experiments/<campaign>/``."""
    config = load_campaign()
    campaign = config.campaign
    folder = EXPERIMENTS / campaign.name
    swept = {name: test.experiment for name, test in campaign.range_tests.items()}
    found = compose_experiments(dict.fromkeys([*campaign.experiments, *swept.values()]), config)
    composed = {name: found[name] for name in campaign.experiments}
    tested = {name: _for_a_sweep(found[row], title=name) for name, row in swept.items()}
    check_campaign(campaign, composed, tested)
    for name, experiment in composed.items():
        content = {"seeds": list(config.seeds_of(name)), "configuration": to_plain(experiment)}
        write_yaml(folder / f"{name}.yaml", content)
    for name, experiment in tested.items():
        write_yaml(folder / RANGE_TESTS.name / f"{name}.yaml", to_plain(experiment))
    write_yaml(
        folder / CAMPAIGN_FILE,
        to_plain(campaign)
        | {"seeds": list(config.seeds), "budget_fraction": config.budget_fraction},
    )
    write_json(RANGE_TESTS / campaign.name / GIVEN / SUGGESTION, {"rule": None})
    say(f"{folder}: {len(composed)} experiments, {len(tested)} range tests")


def _for_a_sweep(experiment: ExperimentConfig, *, title: str) -> ExperimentConfig:
    """Reset the settings that do not affect a sweep, so that their edits do not rerun it."""
    return dataclasses.replace(
        experiment,
        title=title,
        paper=None,
        budget_fraction=1.0,
        training=dataclasses.replace(experiment.training, snapshots="none"),
    )


def check_campaign(
    campaign: Campaign,
    composed: dict[str, ExperimentConfig],
    tested: dict[str, ExperimentConfig],
) -> None:
    """Check that the lists of a campaign, which DVC reads, match its experiments.

    Raises:
        ValueError: names the campaign's file, the key and the rule.
    """
    where = f"{Path('conf/campaign')}/{campaign.name}.yaml"
    for name, experiment in composed.items():
        entry, key = campaign.experiments[name], f"campaign.experiments.{name}"
        _agree(where, f"{key}.dataset", entry.dataset, experiment.dataset.name)
        if entry.dataset not in campaign.datasets:
            raise ValueError(f"{where}: campaign.datasets must list {entry.dataset} ({key})")
        wanted = experiment.bounds == "range_test"
        if wanted != (entry.range_test != GIVEN):
            raise ValueError(
                f"{where}: {key}.range_test must be "
                f"{'a range test' if wanted else GIVEN}, as {place_of_experiment(name)} says "
                f"bounds: {experiment.bounds}, got {entry.range_test}"
            )
        if wanted:
            if entry.range_test not in tested:
                raise ValueError(
                    f"{where}: campaign.range_tests must have {entry.range_test} ({key})"
                )
            other = tested[entry.range_test]
            if range_test_hash(other, {}) != range_test_hash(experiment, {}):
                raise ValueError(
                    f"{where}: {key}.range_test must be of the same dataset, model, optimizer, "
                    f"batch size and range_test as the experiment, got {entry.range_test} of "
                    f"{campaign.range_tests[entry.range_test].experiment}"
                )
        if find_dataset(experiment.dataset).size:  # of other sets, only train knows the lengths
            check_plan(experiment, where=place_of_experiment(name))
    for name, dataset in campaign.references.items():
        if dataset not in campaign.datasets:
            raise ValueError(
                f"{where}: campaign.references.{name} must be of campaign.datasets, got {dataset}"
            )
    for name, ensemble in campaign.ensembles.items():
        for member in (ensemble.first, ensemble.second):
            if member not in composed:
                raise ValueError(
                    f"{where}: campaign.ensembles.{name} must be of campaign.experiments, got "
                    f"{member}"
                )
    for name, test in campaign.range_tests.items():
        key = f"campaign.range_tests.{name}.dataset"
        _agree(where, key, test.dataset, tested[name].dataset.name)


def _agree(where: str, key: str, said: object, found: object) -> None:
    if said != found:
        raise ValueError(f"{where}: {key} must agree with the experiment ({found}), got {said}")


if __name__ == "__main__":
    main()
