"""Results of a campaign, and merging new ones into them.

Collecting merges and never removes: a clone without runs, or a campaign with fewer seeds, keeps all
rows. A run measured again under the same key takes the new measurement. When the configuration of
an experiment changes, its old runs stay and the experiment takes the new hash; tables, figures and
claims read only the runs of that hash.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anneal.datasets.registry import DATASETS
from anneal.results.ensembles import Group
from anneal.results.metrics import Evidence, Run
from anneal.results.setting import Setting
from anneal.results.subjects import over_subjects
from anneal.runs.subjects import split_name

RunKey = tuple[str, int, str]  # experiment, seed, configuration hash
GroupKey = tuple[str, Group, str]  # experiment, seeds, configuration hash


_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")  # part of files, links and tables


@dataclass(frozen=True, kw_only=True)
class MeasuredExperiment:
    """One experiment of a campaign under its current configuration.

    Args:
        name: ``<paper>/<row>``.
        title: of this row in the report.
        paper: place of the row, or None if it is no row of a paper.
        configuration_hash: the current one.
        budget_fraction: of the updates at full budget, in (0, 1].
        total_steps: updates as run.
        full_total_steps: updates at full budget.
        schedule: description of the schedule as run.
        momentum_schedule: description of the momentum schedule, if any.
        range_test: name, rule and bounds, if the bounds come from a range test.
        about: dataset, model, optimizer and batch size, for captions.
    """

    name: str
    title: str
    paper: str | None
    configuration_hash: str
    budget_fraction: float
    total_steps: int
    full_total_steps: int
    schedule: Mapping[str, Any]
    momentum_schedule: Mapping[str, Any] | None
    range_test: Mapping[str, Any] | None
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                "an experiment's name must have letters, digits and _ . + - alone, "
                f"got {self.name!r}"
            )


@dataclass(frozen=True, kw_only=True)
class CampaignResults:
    """All results of one campaign; ``ensembles`` are of two or more runs."""

    campaign: Mapping[str, Any]
    experiments: Mapping[str, MeasuredExperiment]
    runs: Mapping[RunKey, Run]
    configurations: Mapping[str, Mapping[str, Any]]
    range_tests: Mapping[str, Mapping[str, Any]]
    ensembles: Mapping[GroupKey, Mapping[str, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the campaign."""
        return str(self.campaign["name"])

    def ordered(self) -> list[MeasuredExperiment]:
        """Return the measured experiments in the campaign's order, then those no longer listed.

        The subjects of an experiment are one.
        """
        found: dict[str, MeasuredExperiment] = {}
        for name, one in sorted(self.experiments.items()):
            whole, subject = split_name(name)
            if whole not in found:
                title = one.title.removesuffix(f", subject {subject}")
                found[whole] = dataclasses.replace(one, name=whole, title=title)
        listed = [name for name in self.campaign["experiments"] if name in found]
        earlier = sorted(found.keys() - set(listed))
        return [found[name] for name in [*listed, *earlier]]

    def evidence(self) -> dict[str, Evidence]:
        """Return experiment -> runs of its current configuration; over subjects, of all of them."""
        return over_subjects(self._parts())

    def _parts(self) -> dict[str, Evidence]:
        found = {name: self._evidence_of(one) for name, one in self.experiments.items()}
        return self._derived() | found

    def _derived(self) -> dict[str, Evidence]:
        """Return the runs that trained nothing (:mod:`anneal.results.derived`).

        They are those of the configuration that ran last; others are never pooled with them.
        """
        by_name: dict[str, list[Run]] = {}
        for (name, _, _), run in sorted(self.runs.items()):
            if name not in self.experiments:
                by_name.setdefault(name, []).append(run)
        current = {n: max(runs, key=_started).configuration_hash for n, runs in by_name.items()}
        found = {
            name: [run for run in runs if run.configuration_hash == current[name]]
            for name, runs in by_name.items()
        }
        return {
            name: Evidence(
                experiment=name,
                budget_fraction=float(self.campaign["budget_fraction"]),
                runs=tuple(runs),
                campaigns=(self.name,),
            )
            for name, runs in found.items()
        }

    def _evidence_of(self, found: MeasuredExperiment) -> Evidence:
        current = (found.name, found.configuration_hash)
        runs = [run for key, run in self.runs.items() if (key[0], key[2]) == current]
        return Evidence(
            experiment=found.name,
            budget_fraction=found.budget_fraction,
            runs=tuple(sorted(runs, key=lambda run: run.seed)),
            campaigns=(self.name,),
            ensembles={
                key[1]: metrics
                for key, metrics in self.ensembles.items()
                if (key[0], key[2]) == current
            },
            setting=self._setting_of(found),
        )

    def _setting_of(self, found: MeasuredExperiment) -> Setting:
        configuration = self.configurations.get(found.configuration_hash, {})
        source = DATASETS.get(str(configuration.get("dataset", {}).get("source")))
        return Setting(
            dataset=str(found.about["dataset"]),
            model=str(found.about["model"]),
            optimizer=str(found.about["optimizer"]),
            schedule=found.schedule,
            total_steps=found.total_steps,
            test_images=source.size.test if source and source.size else None,
        )


def _started(run: Run) -> str:
    return run.environment.get("started", "")


def merge(committed: CampaignResults | None, measured: CampaignResults) -> CampaignResults:
    """Return the union of two results; for a shared key, take the new measurement.

    A committed configuration never changes, since its name is its hash.
    """
    if committed is None:
        return measured
    return CampaignResults(
        campaign=measured.campaign,
        experiments={**committed.experiments, **measured.experiments},
        runs={**committed.runs, **measured.runs},
        configurations={**measured.configurations, **committed.configurations},
        range_tests={**committed.range_tests, **measured.range_tests},
        ensembles={**committed.ensembles, **measured.ensembles},
    )


def gather_evidence(campaigns: Sequence[CampaignResults]) -> dict[str, Evidence]:
    """Return the best evidence on each experiment over all campaigns.

    The best has the largest budget, then the configuration that ran last, whatever its results.
    Runs of the same configuration in other campaigns are added. A seed measured in several
    campaigns counts once, with the values of the chosen one.
    """
    by_name: dict[str, list[Evidence]] = {}
    for results in sorted(campaigns, key=lambda found: found.name):
        for name, evidence in results.evidence().items():
            if evidence.runs and not evidence.subjects:
                by_name.setdefault(name, []).append(evidence)
    return over_subjects({name: _join(parts) for name, parts in sorted(by_name.items())})


def _join(parts: Sequence[Evidence]) -> Evidence:
    def weight(part: Evidence) -> tuple[float, str]:
        return part.budget_fraction, max(map(_started, part.runs))

    best = max(parts, key=weight)
    configuration = best.runs[0].configuration_hash
    same = [part for part in parts if part.runs[0].configuration_hash == configuration]
    runs = {run.seed: run for part in [*same, best] for run in part.runs}
    return dataclasses.replace(
        best,
        runs=tuple(runs[seed] for seed in sorted(runs)),
        campaigns=tuple(campaign for part in same for campaign in part.campaigns),
        ensembles={
            seeds: metrics for part in [*same, best] for seeds, metrics in part.ensembles.items()
        },
    )
