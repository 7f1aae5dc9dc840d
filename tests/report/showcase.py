"""A page with most verdicts on it, made once."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import yaml
from tests.campaigns import PAPER, World, _make_world

from anneal.commands.stages import collect, report

HOSTILE = (
    "</script><script>document.title='broken'</script><img src=x onerror=alert(1)> \"'&{{ 7*7 }}"
)
# Three runs of each row, so that the claims of CLR's Table 1 get many a verdict
FINALS = {
    "clr/cifar10_fixed": {0: 81.3, 1: 81.4, 2: 81.5},
    "clr/cifar10_triangular2": {0: 83.0, 1: 83.2, 2: 83.1},
    "clr/cifar10_decay": {0: 75.0, 1: 75.4, 2: 75.1},
    "clr/cifar10_exp": {0: 77.9, 1: 79.9, 2: 79.2},
    "clr/cifar10_exp_range": {0: 82.2, 1: None, 2: 82.3},
}


def make_showcase(root: Path) -> World:
    """Fill a project folder with a full, a scaled-down and a foreign campaign, and report it."""
    world = _make_world(root)
    (root / "paper/claims/clr.yaml").write_text(yaml.safe_dump(_table_1_claims(), sort_keys=False))
    world.campaign, world.budget_fraction = "clr_cifar10", 1.0
    world.describe_campaign([*FINALS, "clr/hostile"], [0, 1, 2])
    for place, (name, finals) in enumerate(FINALS.items()):
        world.evaluate(
            name,
            finals,
            updates=(70000, 25000, 25000, 70000, 42000)[place] // 100,
            rate=lambda update, k=place: 0.001 + 0.005 * abs((update // (k + 1)) % 80 - 40) / 40,
            momentum=lambda update: 0.95 - 0.1 * min(update, 250) / 250,
        )
    world.evaluate("clr/hostile", {0: 50.0, 1: 50.5}, title=HOSTILE)
    collect.main(["clr_cifar10"])
    world.campaign, world.budget_fraction = "short", 0.1
    world.describe_campaign(["sgdr/wrn"], [0])
    world.evaluate("sgdr/wrn", {0: 95.0})
    world.test_range("digits")
    collect.main(["short"])
    (root / "paper/claims/sgdr.yaml").write_text(yaml.safe_dump(_sgdr_claims(), sort_keys=False))
    (root / "paper/links.json").write_text(
        json.dumps({"short": {"url": "https://example.org/report", "published": "2026-03-05"}})
    )
    rows = ["experiment,configuration_hash,seeds,num_runs,num_snapshots,test_accuracy_pct"]
    rows += [f"sgdr/wrn,0123456789ab,{seeds},2,{m},{94 + m / 5 + g / 9}"
             for m in (1, 2, 3) for g, seeds in enumerate(("0+1", "0+2"))]  # fmt: skip
    (root / "results/short/ensembles.csv").write_text("\n".join(rows) + "\n")
    report.main([])
    return world


def _table_1_claims():
    """Return five values, four orders and one ratio: the first claims of Table 1."""
    claims = yaml.safe_load((PAPER / "claims/clr.yaml").read_text())
    table = [claim for claim in claims if claim["id"].startswith("clr/table1/cifar10/")]
    return table[:10]


def _sgdr_claims():
    first = yaml.safe_load((PAPER / "claims/clr.yaml").read_text())[0]
    one = first | {"source": {"paper": "1608.03983v5", "at": "Table 1", "confidence": "A"}}
    claims = [one | {"id": "sgdr/table1/wrn", "text": "a wide network reaches 96 %", "value": 96.0,
                     "experiments": ["sgdr/wrn"]}]  # fmt: skip
    claims += [
        one | {"id": f"sgdr/table{2 + i // 8}/row{i}", "text": f"row {i} of the table",
               "experiments": [f"sgdr/row{i}"]}
        for i in range(40)
    ]  # fmt: skip
    return [
        *claims,
        one | {"id": "sgdr/text/hostile", "text": HOSTILE, "experiments": ["clr/hostile"]},
    ]


@pytest.fixture(scope="session")
def showcase(tmp_path_factory):
    """Return a project folder whose page shows most verdicts, and hostile text."""
    root = tmp_path_factory.mktemp("showcase")
    with contextlib.chdir(root):
        make_showcase(root)
    return root


INJECTED = (
    f"{HOSTILE} <img src=x onerror=window.injected=1> [a](javascript:window.injected=1) "
    '<javascript:window.injected=1> ![b](javascript:window.injected=1) `c` | **d** "><svg '
    "onload=window.injected=1>"
)


@pytest.fixture(scope="session")
def injected(tmp_path_factory):
    """Return a project folder in which each text that a person writes tries to run code."""
    root = tmp_path_factory.mktemp("injected")
    with contextlib.chdir(root):
        world = _make_world(root)
        world.campaign = "full"
        world.describe_campaign(["clr/hostile"], [0, 1])
        world.test_range("digits")
        found = {"name": INJECTED, "rule": INJECTED, "base_lr": 0.001, "max_lr": 0.006}
        world.evaluate("clr/hostile", {0: 50.0, 1: None}, title=INJECTED, range_test=found)
        files = [root / "experiments/full/campaign.yaml"]
        files += [root / "range_tests/full/digits/suggestion.json"]
        files += [root / "evaluations/full/clr/hostile/record.json"]
        for file, words in zip(files, ["The full campaign", "longest slope", "cpu"], strict=True):
            inside = json.dumps(INJECTED)[1:-1] if file.suffix == ".json" else INJECTED
            if file.suffix == ".yaml":
                content = yaml.safe_load(file.read_text()) | {"title": INJECTED}
                file.write_text(yaml.safe_dump(content))
            else:
                assert words in file.read_text()
                file.write_text(file.read_text().replace(words, inside))
        collect.main(["full"])
        claim = _sgdr_claims()[0] | {"id": "sgdr/a", "experiments": ["clr/hostile"]}
        claim["text"] = claim["tolerance_reason"] = INJECTED
        claim["source"] = claim["source"] | {"at": INJECTED}
        (root / "paper/claims/sgdr.yaml").write_text(yaml.safe_dump([claim], sort_keys=False))
        (root / "paper/claims/clr.yaml").write_text(yaml.safe_dump([claim | {"id": "clr/b"}]))
        report.main([])
    return root


@pytest.fixture
def alone(showcase, tmp_path):
    """Return the page in a folder where nothing else is."""
    return Path(shutil.copy(showcase / "paper/report.html", tmp_path / "report.html"))
