"""The worked example of CONTRIBUTING.md works: its blocks are a row of a paper that is judged."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
import yaml

from anneal.claims.files import load_claims, load_deviations
from anneal.claims.verdict import judge
from anneal.config.compose import compose_run
from anneal.config.tables import load_rows
from anneal.results.metrics import Evidence, Run, restate
from anneal.runs.plan import check_plan

ROOT = Path(__file__).parents[2]
LINES_OF_A_PAGE = 66


def the_section() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return text.split("\n## Adding a paper\n")[1].split("\n## ")[0]


def blocks() -> dict[str, str]:
    """Return path -> YAML of the section's blocks; the line above a block names its file."""
    named = re.findall(
        r"`([\w./-]+\.yaml)`[^`\n]*:\n\n```yaml\n(.*?)```\n", the_section(), re.DOTALL
    )
    return dict(named)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of paper/ and conf/ in which somebody did what the section says."""
    for folder in ("paper", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in blocks().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() if name == "paper/deviations.yaml" else ""
        path.write_text(f"{before}\n{text}" if before else text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_section_fits_a_page_and_every_block_names_its_file() -> None:
    section = the_section()
    assert len(section.strip().splitlines()) <= LINES_OF_A_PAGE
    assert section.count("```yaml") == len(blocks()) == 3
    for folder in re.findall(r"`((?:paper|conf)/[\w./-]+)`", section):
        assert (ROOT / folder).exists() or folder in blocks(), folder


def test_example_parses_composes_and_is_judged(copy: Path) -> None:
    (claim,) = [c for c in load_claims(copy / "paper" / "claims") if c.id.startswith("one_cycle/")]
    (name,) = claim.experiments
    assert load_rows(copy / "conf")[name].file.relative_to(copy).as_posix() in blocks()
    experiment = compose_run([f"experiment={name}"])
    planned = check_plan(experiment, where=name)
    assert (experiment.name, planned.full_total_steps) == (name, 1_250_000 // 128)
    recorded, accuracy = restate(claim.metric, claim.value)
    runs = tuple(
        Run(seed=seed, configuration_hash="0" * 12, status="finished",
            updates=planned.total_steps, metrics={recorded: accuracy + change})
        for seed, change in enumerate((-0.1, 0.0, 0.1))
    )  # fmt: skip
    evidence = {name: Evidence(experiment=name, budget_fraction=1.0, runs=runs)}
    assert judge(claim, evidence).verdict == "reproduced"
    other = dataclasses.replace(claim, value=claim.value + 2)
    assert judge(other, evidence).verdict in ("lower", "higher")


def test_examples_deviation_stands_beside_the_others(copy: Path) -> None:
    ours = load_deviations(ROOT / "paper" / "deviations.yaml")
    ids = [deviation.id for deviation in load_deviations(copy / "paper" / "deviations.yaml")]
    assert ids == [*(deviation.id for deviation in ours), "one-cycle-caffe-network"]


def test_example_says_what_the_registry_says() -> None:
    """A claim that changes must change here too."""
    (shown,) = yaml.safe_load(blocks()["paper/claims/one_cycle.yaml"])
    entries = yaml.safe_load((ROOT / "paper" / "claims" / "one_cycle.yaml").read_text())
    (kept,) = [entry for entry in entries if entry["id"] == shown["id"]]
    assert shown == kept
