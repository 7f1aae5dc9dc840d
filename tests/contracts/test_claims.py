"""The registry of claims: complete, consistent with itself, with conf/ and with what is planned."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from anneal.claims.files import Planned, load_claims, load_deviations, load_planned
from anneal.claims.schema import Claim, parse_claims
from anneal.commands.costs import claim_cost, derived_rows
from anneal.config.compose import compose_run
from anneal.config.tables import load_rows
from anneal.io.files import read_json, read_yaml
from anneal.report.paper_figures import PaperFigure, load_paper_figures
from anneal.runs.costs import run_cost

ROOT = Path(__file__).parents[2]
CLAIMS = load_claims(ROOT / "paper" / "claims")
FIGURES = load_paper_figures(ROOT / "paper")
DEVIATIONS = load_deviations(ROOT / "paper" / "deviations.yaml")
PLANNED = load_planned(ROOT / "paper" / "planned.yaml")
ROWS = load_rows(ROOT / "conf")
DERIVED = {  # that campaigns make without training anything
    name
    for path in (ROOT / "conf" / "campaign").glob("*.yaml")
    for kind in ("references", "ensembles")
    for name in read_yaml(path)["campaign"].get(kind, ())
}

# Tables as printed, written down apart from the claims.
CLR_TABLE_1 = {  # 1506.01186v6, CIFAR-10
    "fixed": 81.4,
    "triangular2": 81.4,
    "decay": 78.5,
    "exp": 79.1,
    "exp_range": 82.2,
}
CLR_TABLE_4 = {  # 1506.01186v6: rates of 0.1, 0.2, 0.3 and cycled; CIFAR-10, CIFAR-100
    "resnet110": ((92.8, 93.3, 91.8, 93.6), (71.2, 71.6, 71.9, 72.5)),
    "sd110": ((94.6, 94.5, 94.2, 94.5), (75.2, 75.2, 74.6, 75.4)),
    "densenet40": ((94.5, 94.5, 94.2, 94.9), (75.2, 75.3, 74.5, 75.9)),
}
SGDR_ROWS = ("default_0.1", "default_0.05", "t0_50", "t0_100", "t0_200", "t0_1_x2", "t0_10_x2")
SGDR_TABLE_1 = {  # 1608.03983v5, in the order of SGDR_ROWS
    "cifar10_wrn28_10": (4.24, 4.13, 4.17, 4.07, 3.86, 4.09, 4.03),
    "cifar100_wrn28_10": (20.33, 20.21, 19.99, 19.87, 19.98, 19.74, 19.58),
    "cifar10_wrn28_20": (4.08, 3.96, 4.01, 3.77, 3.66, 3.91, 3.74),
    "cifar100_wrn28_20": (19.53, 19.67, 19.28, 19.24, 19.69, 18.90, 18.70),
}
SNAPSHOT_TABLE_1 = {  # 1704.00109v1, snapshots from 0.2: CIFAR-10, CIFAR-100, SVHN, Tiny ImageNet
    "resnet110": (5.32, 24.19, 1.66, 39.40),
    "wrn32_4": (4.73, 21.56, 1.51, 32.90),
    "densenet40": (4.84, 21.93, 1.73, 36.61),
    "densenet100_24": (3.44, 17.41),
}
ONE_CYCLE = {  # 1708.07120v3, Table 1: 1cycle after so many epochs
    "cifar10_wrn32": {25: 87.3, 50: 91.3, 100: 91.9},
    "cifar10_densenet40": {50: 91.7, 75: 92.1, 100: 92.2, 150: 92.8},
    "mnist_lenet": {12: 99.25, 25: 99.28, 50: 99.27, 85: 99.35},
    "cifar100_resnet56": {25: 65.4, 50: 66.4, 100: 69.0},
}


def experiments_of(entries: Iterable[Claim] | Iterable[Planned]) -> list[str]:
    return sorted({name for entry in entries for name in entry.experiments})


def exists(name: str) -> bool:
    return name in ROWS or name in DERIVED


def printed(prefix: str) -> dict[str, float]:
    """Return experiment -> value over the value claims whose ids begin so."""
    return {c.experiments[0]: c.value for c in CLAIMS
            if c.kind == "value" and c.id.startswith(prefix)}  # fmt: skip


# --- experiments ----------------------------------------------------------------------------------


def what_to_edit(
    claims: Sequence[Claim], planned: Sequence[Planned], existing: Iterable[str]
) -> list[str]:
    """Return what paper/planned.yaml has to gain and to lose, a line for each experiment."""
    claimed, waiting, here = experiments_of(claims), experiments_of(planned), set(existing)
    counted = experiments_of([claim for claim in claims if claim.role != "context"])
    lines = [
        f"remove `{name}` from paper/planned.yaml: it is a row of {name.split('/')[0]}'s tables"
        for name in waiting
        if name in here
    ]
    lines += [
        f"remove `{name}` from paper/planned.yaml: no claim names it"
        for name in waiting
        if name not in claimed
    ]
    return lines + [
        f"write the row `{name}` or add it to paper/planned.yaml: a claim names it"
        for name in counted
        if name not in here and name not in waiting
    ]


def test_every_claim_is_about_existing_or_planned_experiment() -> None:
    names = experiments_of(CLAIMS) + experiments_of(PLANNED)
    lines = what_to_edit(CLAIMS, PLANNED, [name for name in names if exists(name)])
    assert not lines, "\n" + "\n".join(lines)


def test_it_is_said_exactly_what_to_remove_and_what_to_add() -> None:
    claims = [claim for claim in CLAIMS if claim.id == "clr/table1/cifar10/fixed"]
    (name,) = claims[0].experiments
    plan = Planned(what="x", lacks="code", needs="y", experiments=(name, "clr/other"))
    assert what_to_edit(claims, [plan], [name]) == [
        f"remove `{name}` from paper/planned.yaml: it is a row of {name.split('/')[0]}'s tables",
        "remove `clr/other` from paper/planned.yaml: no claim names it",
    ]
    assert what_to_edit(claims, [], []) == [
        f"write the row `{name}` or add it to paper/planned.yaml: a claim names it"
    ]
    assert what_to_edit(claims, [], [name]) == []
    context = [dataclasses.replace(claim, role="context") for claim in claims]
    assert what_to_edit(context, [], []) == []


def test_every_reading_is_a_row_of_the_same_paper() -> None:
    for claim in CLAIMS:
        for name in claim.readings:
            assert exists(name), f"{claim.id}: readings: {name} is no row of conf/table"
            assert name.split("/")[0] == claim.id.split("/")[0], claim.id


@pytest.mark.parametrize("name", experiments_of(DEVIATIONS))
def test_every_deviation_touches_an_experiment_that_exists(name: str) -> None:
    assert exists(name)


WRONG_PLANS = [
    (
        "- {what: a, lacks: time, needs: b, experiments: [c]}",
        "{path}: entry number 1: lacks must be data or code, got 'time'",
    ),
    ("- {what: a, lacks: data, needs: b, experiment: [c]}",
     "{path}: entry number 1: unknown key 'experiment'; did you mean 'experiments'?"),
    ("- {what: a, lacks: data, experiments: [c]}", "{path}: entry number 1: missing key needs"),
    ("- {what: a, lacks: data, needs: '', experiments: [c]}",
     "{path}: entry number 1: needs must be some text, got ''"),
    ("- {what: a, lacks: data, needs: b, experiments: []}",
     "{path}: entry number 1: experiments must name an experiment, got []"),
    ("- {what: a, lacks: data, needs: b, experiments: [c]}\n"
     "- {what: a, lacks: data, needs: b, experiments: [d, c]}",
     "{path}: c must stand here once, it is here 2 times"),
    ("what: a", "{path}: must be a list of planned experiments"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG_PLANS)
def test_plan_that_breaks_the_schema_is_one_clear_error(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "planned.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r".") as error:
        load_planned(path)
    assert str(error.value) == said.format(path=path)


# --- numbers --------------------------------------------------------------------------------------


def test_all_five_papers_and_their_baselines_are_claimed() -> None:
    by_paper = Counter(claim.id.split("/")[0] for claim in CLAIMS)
    papers = {"clr", "sgdr", "snapshot", "super_convergence", "one_cycle", "baselines"}
    assert set(by_paper) == papers
    assert min(by_paper.values()) >= 30
    assert len(CLAIMS) >= 150
    for paper in papers:
        kinds = {claim.kind for claim in CLAIMS if claim.id.startswith(f"{paper}/")}
        assert kinds >= {"value", "order"}, paper
        assert "speed" in kinds or paper in ("snapshot", "baselines"), paper


def test_tables_are_claimed_as_printed() -> None:
    assert printed("clr/table1/cifar10/") == {
        f"clr/cifar10_{row}": value for row, value in CLR_TABLE_1.items()
    }
    rates = ("lr_0.1", "lr_0.2", "lr_0.3", "clr")
    for network, both in CLR_TABLE_4.items():
        for dataset, values in zip(("cifar10", "cifar100"), both, strict=True):
            assert printed(f"clr/table4/{dataset}/{network}/") == {
                f"clr/{dataset}_{network}_{rate}": value
                for rate, value in zip(rates, values, strict=True)
            }
    assert printed("sgdr/table1/") == {
        f"sgdr/{what}_{row}": value
        for what, values in SGDR_TABLE_1.items()
        for row, value in zip(SGDR_ROWS, values, strict=True)
    }
    datasets = ("cifar10", "cifar100", "svhn", "tiny_imagenet")
    from_02 = {name: value for name, value in printed("snapshot/table1/").items()
               if name.endswith("_snapshot_0.2")}  # fmt: skip
    assert from_02 == {
        f"snapshot/{dataset}_{network}_snapshot_0.2": value
        for network, values in SNAPSHOT_TABLE_1.items()
        for dataset, value in zip(datasets, values, strict=False)
    }
    cycles = {name: value for name, value in printed("one_cycle/").items()
              if "_1cycle_" in name and "imagenet" not in name}  # fmt: skip
    assert cycles == {
        f"one_cycle/{what}_1cycle_{epochs}_epochs": value
        for what, by_epochs in ONE_CYCLE.items()
        for epochs, value in by_epochs.items()
    }


def test_ids_are_unique_over_all_files() -> None:
    counts = Counter(claim.id for claim in CLAIMS)
    assert [claim for claim, times in counts.items() if times > 1] == []


def test_no_two_claims_say_the_same_thing() -> None:
    """One cell stands in one claim, whatever else has its number."""
    said = Counter(
        (c.kind, c.metric, getattr(c, "worse_metric", None), c.experiments) for c in CLAIMS
    )
    assert [what for what, times in said.items() if times > 1] == []


def test_numbers_of_one_cell_agree_between_claims_of_one_source() -> None:
    """An order claim repeats the numbers of two value claims: they must be the same numbers."""
    values = {
        (c.source.paper, c.experiments[0], c.metric): c.value for c in CLAIMS if c.kind == "value"
    }
    del values[
        "1608.03983v5", "baselines/hgd_deep_0_125hz", "test_error_pct@final"
    ]  # Fig. 4 is relative
    compared = 0
    for claim in CLAIMS:
        if claim.kind == "order" and claim.values:
            ends = (claim.experiments[0], claim.experiments[-1])
            for name, metric, value in zip(ends, claim.metrics, claim.values, strict=True):
                known = values.get((claim.source.paper, name, metric))
                if known is not None:
                    assert value == known, claim.id
                    compared += 1
    assert compared > 200


def test_every_claim_says_why_its_tolerance_is_what_it_is() -> None:
    for claim in CLAIMS:
        reason = claim.margin_reason if claim.kind == "order" else claim.tolerance_reason
        assert len(reason.split()) >= 5, claim.id


def test_every_text_fits_a_table_and_ends_without_a_full_stop() -> None:
    for claim in CLAIMS:
        assert len(claim.text) <= 170, claim.id
        assert not claim.text.endswith("."), claim.id


def test_one_claim_has_the_papers_number_and_the_logs() -> None:
    twice = [claim for claim in CLAIMS if any("@" in other.paper for other in claim.also)]
    assert len(twice) == 27  # four of them are of a later example on High-Gamma
    assert not {claim.id for claim in twice if "@" in claim.source.paper}
    failed = [o for c in twice for o in c.also if abs(o.value - c.value) > 2 * c.tolerance]
    assert [(other.value, other.note is not None) for other in failed] == [(62.33, True)]


def test_claims_of_a_log_alone_are_context_and_say_so() -> None:
    alone = [claim for claim in CLAIMS if claim.id.endswith("/log")]
    assert len(alone) == 9
    for claim in alone:
        assert "@" in claim.source.paper, claim.id
        assert "author's log" in claim.text, claim.id
        assert claim.role == "context", claim.id


def test_headlines_are_few_and_of_the_five_papers_alone() -> None:
    headlines = Counter(c.id.split("/")[0] for c in CLAIMS if c.role == "headline")
    assert headlines == {
        "clr": 9,
        "sgdr": 6,
        "snapshot": 4,
        "one_cycle": 4,
        "super_convergence": 3,
    }
    counted = [c for c in CLAIMS if c.id.startswith("baselines/") and c.role != "context"]
    assert len(counted) == 15
    assert all(exists(name) for claim in counted for name in claim.experiments)


def test_no_counted_order_is_smaller_than_one_standard_deviation() -> None:
    """Where the paper's two numbers are nearer than two seeds, the order is no claim of it."""
    for claim in CLAIMS:
        if claim.kind == "order" and claim.values and claim.margin >= 0 and claim.seed_sd:
            apart = abs(claim.values[0] - claim.values[1])
            said = claim.id == "snapshot/table1/cifar10/resnet110/snapshot_below_single"
            assert said or apart > claim.seed_sd - 1e-9, claim.id  # said of every network


def test_text_is_a_sentence_that_says_what_was_measured() -> None:
    for claim in CLAIMS:
        assert claim.text[0].isupper() or claim.text[0].isdigit() or claim.text[:4] in (
            "tria", "exp_"), claim.id  # fmt: skip
        assert "iteration" not in claim.text or "Caffe" in claim.text, claim.id


def test_quotation_that_differs_from_its_original_is_no_silent_copy() -> None:
    """SGDR calls He's best of five, 6.43, a mean: the claim is the mean, and says both."""
    (he,) = [c for c in CLAIMS if c.id == "baselines/resnet/cifar10/resnet110"]
    assert (he.value, he.statistic) == (6.61, "mean of 5")
    assert "6.43" in he.text
    assert "SGDR" in he.tolerance_reason


@pytest.mark.parametrize("path", sorted((ROOT / "paper" / "claims").glob("*.yaml")), ids=str)
def test_each_file_parses_by_itself(path: Path) -> None:
    claims = parse_claims(read_yaml(path), where=str(path))
    assert {claim.id.split("/")[0] for claim in claims} == {path.stem}
    assert path.read_text().startswith("# "), "a file of claims begins with its paper"


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.id)
def test_every_figure_is_of_experiments_or_a_range_test_that_exist(figure: PaperFigure) -> None:
    names = [curve.experiment for curve in figure.curves]
    names += [figure.ensembles] if figure.ensembles else []
    names += figure.less_reference.experiments() if figure.less_reference else []
    assert all(map(exists, names))
    if figure.campaign:
        campaign = read_yaml(ROOT / f"conf/campaign/{figure.campaign}.yaml")["campaign"]
        tests = {figure.range_test.name} if figure.range_test else set()
        assert tests <= set(campaign["range_tests"])
        assert set(names) <= {*campaign["experiments"], *DERIVED}
    assert figure.id.split("/")[0] in {claim.id.split("/")[0] for claim in CLAIMS}


def test_committed_costs_cover_every_claimed_row_and_stay_true() -> None:
    costs = read_json(ROOT / "paper" / "costs.json")
    named = {name for claim in CLAIMS for name in claim.experiments}
    derived = {name: rows for name, rows in derived_rows().items() if name in named}
    assert {name: cost["trains"] for name, cost in costs.items() if "trains" in cost} == derived
    named = (named & ROWS.keys()) | {row for rows in derived.values() for row in rows}
    assert costs.keys() == named | derived.keys(), "run `anneal costs --claims`"
    for name in ("clr/cifar10_triangular2", "one_cycle/mnist_lenet_1cycle_12_epochs"):
        cost = run_cost(compose_run([f"experiment={name}"]), runs=1)
        assert costs[name] == claim_cost(cost)
