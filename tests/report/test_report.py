import contextlib
import re
import shutil
import xml.etree.ElementTree as ET
from types import SimpleNamespace

import pytest

from anneal.claims.files import load_claims
from anneal.commands.stages import collect, report
from anneal.report.content import group_rows

MARKED = "# a\n\n<!-- verdicts:begin -->\n<!-- verdicts:end -->\n\nend\n"
ROWS = ["digits/fixed", "digits/decay", "digits/one_cycle"]


@pytest.fixture(scope="module")
def reported_once(tmp_path_factory, make_world):
    root = tmp_path_factory.mktemp("reported")
    with contextlib.chdir(root):
        fill(make_world(root))
    return root


@pytest.fixture
def reported(reported_once, make_world, tmp_path, monkeypatch):
    shutil.copytree(reported_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    world = make_world(tmp_path)
    world.campaign = "clr_cifar10"
    return world


def fill(world):
    world.campaign, world.budget_fraction = "quick", 0.01
    world.describe_campaign(ROWS, [0, 1, 2])
    world.evaluate("digits/fixed", {0: 94.0, 1: 95.0, 2: 94.5})
    world.evaluate("digits/decay", {0: 96.0, 1: None, 2: 97.0}, title="de|cay *odd*")
    world.evaluate(
        "digits/one_cycle",
        {0: 97.0},
        updates=250,
        momentum=lambda update: 0.95 - 0.1 * min(update, 250 - update) / 125,
        range_test={"name": "digits", "rule": "smith", "base_lr": 0.001, "max_lr": 0.006},
    )
    world.test_range("digits")
    collect.main(["quick"])
    world.campaign, world.budget_fraction = "clr_cifar10", 1.0
    world.describe_campaign(["clr/cifar10_triangular2", "clr/cifar10_fixed"], [0, 1, 2])
    world.evaluate("clr/cifar10_triangular2", {0: 81.3, 1: 81.4, 2: 81.5})
    collect.main(["clr_cifar10"])
    (world.root / "README.md").write_text(MARKED)
    report.main([])


def page(world):
    return (world.root / "paper/report.md").read_text()


def test_reporting_again_changes_no_byte(reported):
    before = reported.files("paper", ".")
    report.main([])
    assert reported.files("paper", ".") == before
    shutil.rmtree(reported.root / "paper/figures")
    (reported.root / "paper/report.md").unlink()
    report.main([])
    assert reported.files("paper", ".") == before


def test_committed_results_alone_are_enough(reported):
    before = reported.files("paper")
    for folder in ("evaluations", "range_tests", "experiments"):
        shutil.rmtree(reported.root / folder)
    shutil.rmtree(reported.root / "paper/figures")
    report.main([])
    assert reported.files("paper") == before


def test_every_number_of_a_row_is_there(reported):
    line = next(line for line in page(reported).splitlines() if "`digits/fixed`" in line)
    assert "94.50 ± 1.24 [93.26, 95.74]" in line
    assert "700 of 70,000" in line
    assert "3 finished" in line
    assert "Where they ran: cpu, float32, commit abcdef0123." in page(reported)
    assert "97.00 (one run)" in page(reported)
    assert "run 2026-03-04" in page(reported)


@pytest.mark.parametrize(
    ("kernels", "shown"),
    [
        ({}, "3 finished, [curves]"),
        ({0: "none", 1: "none", 2: "none"}, "3 finished, [curves]"),
        ({0: "cpu", 1: "cpu", 2: "cpu"}, "3 finished, with CPU kernels, [curves]"),
        ({2: "none"}, "3 finished, CPU kernels: 1 none, 2 unrecorded, [curves]"),
    ],
)
def test_row_says_which_runs_had_kernels_where_they_are_not_alike(world, kernels, shown):
    world.campaign, world.budget_fraction = "quick", 0.01
    world.describe_campaign(["digits/fixed"], [0, 1, 2])
    world.evaluate("digits/fixed", {0: 94.0, 1: 95.0, 2: 94.5}, kernels=kernels)
    collect.main(["quick"])
    (world.root / "README.md").write_text(
        "# a\n\n<!-- verdicts:begin -->\n<!-- verdicts:end -->\n\nend\n"
    )
    report.main([])
    line = next(line for line in page(world).splitlines() if "`digits/fixed`" in line)
    assert shown in line
    places = ["cpu, float32, CPU kernels, commit" in page(world), "float32, commit" in page(world)]
    assert places == ([True, False] if kernels.get(0) == "cpu" else [False, True])


def test_diverged_run_is_shown_with_its_seed_and_update(reported):
    line = next(line for line in page(reported).splitlines() if "`digits/decay`" in line)
    assert "2 finished, **1 diverged** (seed 1 at update 233)" in line
    assert r"de\|cay \*odd\*" in line


def test_scaled_down_campaign_on_other_data_is_called_no_reproduction(reported):
    section = page(reported).split("## The quick campaign")[1]
    assert "shorter run: 1/100 of the paper's updates" in section
    assert "**No reproduction:**" in section
    full = page(reported).split("## The clr\\_cifar10 campaign")[1].split("\n## ")[0]
    assert "No reproduction" not in full


def test_verdicts_are_in_the_report_and_in_the_readme(reported):
    readme = (reported.root / "README.md").read_text()
    assert readme.startswith("# a\n\n")
    assert readme.endswith("\n\nend\n")
    row = next(line for line in readme.splitlines() if "triangular2 cycles reaches 81.4 %" in line)
    assert "headline claims of" in readme
    assert "not run" not in readme
    assert "81.40 ± 0.17" in row
    assert row.endswith("| 3 | ✓ reproduced |")
    assert "for 1 of these verdicts it is post hoc" in readme
    assert "no run yet of clr/cifar10\\_fixed" in page(reported)


def test_verdict_does_not_change_when_another_row_is_run(reported):
    def row():
        return next(
            line for line in page(reported).splitlines() if "triangular2 cycles reaches" in line
        )

    before = row()
    reported.evaluate("clr/cifar10_fixed", {0: 81.3, 1: 81.4, 2: 81.5})
    collect.main(["clr_cifar10"])
    report.main([])
    assert row() == before
    interval = (
        r"81.40 ± 0.17 \[81.23, 81.57\] %<br>95 % prediction interval for one more run: \[80.90,"
    )
    assert interval in row()


def test_every_link_leads_somewhere(reported):
    text = page(reported)
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(targets) > 10
    for target in targets:
        assert (reported.root / "paper" / target).exists(), target
    anchors = set(re.findall(r"\]\(#([^)]+)\)", text))
    headings = {h.lower() for h in re.findall(r"^#+ (\S+)$", text, flags=re.MULTILINE)}
    assert anchors <= headings


def test_figures_are_svg_on_white_without_date_or_path(reported):
    figures = sorted((reported.root / "paper/figures").glob("*.svg"))
    assert [f.name for f in figures] == [
        "clr_cifar10-digits-caffe_cifar-accuracy.svg",
        "clr_cifar10-digits-caffe_cifar-rate.svg",
        "forest.svg",
        "headlines.svg",
        "quick-digits-caffe_cifar-accuracy.svg",
        "quick-digits-caffe_cifar-rate.svg",
        "quick-range_test-digits.svg",
    ]
    for figure in figures:
        text = figure.read_text()
        ET.fromstring(text)  # well-formed
        assert re.search(r"fill: ?#ffffff", text)
        assert "dc:date" not in text
        assert str(reported.root) not in text
        if figure.name not in ("forest.svg", "headlines.svg"):
            assert "<text" not in text  # text is paths: no font has to be there


def test_figure_that_nothing_shows_any_more_is_removed(reported):
    stale = reported.root / "paper/figures/old-accuracy.svg"
    stale.write_text("<svg/>")
    report.main([])
    assert not stale.exists()


def test_new_measurement_changes_report_figure_and_readme(reported):
    before = reported.files("paper/figures") | {"README": page(reported).encode()}
    reported.evaluate("clr/cifar10_triangular2", {0: 70.3, 1: 70.4, 2: 70.5})
    collect.main(["clr_cifar10"])
    report.main([])
    after = reported.files("paper/figures") | {"README": page(reported).encode()}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "README",
        "paper/figures/clr_cifar10-digits-caffe_cifar-accuracy.svg",
        "paper/figures/forest.svg",
        "paper/figures/headlines.svg",
    }
    assert "| ✗ lower |" in (reported.root / "README.md").read_text()


def test_abstaining_range_test_is_drawn_without_bounds(world):
    world.describe_campaign(["digits/fixed"], [0])
    world.evaluate("digits/fixed", {0: 94.0})
    world.test_range("digits", max_lr=None)
    collect.main(["quick"])
    report.main([])
    assert "| **smith** | \N{EN DASH} | \N{EN DASH} | it does not rise |" in page(world)
    assert "no experiment here trained between its bounds" in page(world)


def test_range_test_is_said_rule_by_rule_with_what_trained_by_it(reported):
    section = page(reported).split("### Range test digits")[1].split("\n## ")[0]
    assert "| **smith** | 0.001 | 0.006 |" in section
    assert "| valley | 0.0008 | 0.004 |" in section
    assert "`digits/one_cycle` trained between its bounds" in section


def test_range_test_that_lacks_a_key_is_named(reported, capsys):
    path = reported.root / "results/quick/range_tests/digits.json"
    path.write_text(path.read_text().replace('"sweep"', '"swep"'))
    with pytest.raises(SystemExit):
        report.main([])
    assert "range test digits of campaign quick: missing key sweep" in capsys.readouterr().err


def test_report_without_any_result_says_that_nothing_was_run(world):
    report.main([])
    total = sum(c.role == "headline" for c in load_claims(world.root / "paper/claims"))
    assert total > 5
    assert f"{total} headline claims of 1 paper, what the abstracts say; 0 judged" in page(world)
    assert "which schedule" not in page(world).lower()


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        ("paper/claims/clr.yaml", "tolerance: 0.6", "tolerence: 0.6", "clr.yaml: claim "
         "'clr/table1/cifar10/fixed': unknown key 'tolerence'; did you mean 'tolerance' or"),
        ("paper/claims/clr.yaml", "- id: clr/table1/cifar10/decay", "- id: [", "clr.yaml, line"),
        ("paper/deviations.yaml", "what: the rate", "waht: the rate", "paper/deviations.yaml: "
         "deviation 'clr-exp-starting-rate': unknown key 'waht'; did you mean 'what'?"),
        ("paper/report.md.j2", "content.deviations", "content.deviatons", "report.md.j2"),
    ],
)  # fmt: skip
def test_broken_file_is_one_clear_line_and_changes_nothing(
    reported, capsys, path, old, new, message
):
    file = reported.root / path
    file.write_text(file.read_text().replace(old, new, 1))
    (reported.root / "paper/report.md").write_text("as it was")
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        report.main([])
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said
    assert page(reported) == "as it was"


def test_rows_are_grouped_by_task_and_by_optimizer_if_several():
    def row(dataset, optimizer):
        about = {"dataset": dataset, "model": "net", "optimizer": optimizer}
        return SimpleNamespace(experiment=SimpleNamespace(about=about))

    rows = [row("a", "sgd"), row("b", "sgd"), row("a", "adam"), row("a", "sgd")]
    assert group_rows(rows) == {
        "a, net, sgd": (rows[0], rows[3]),
        "a, net, adam": (rows[2],),
        "b, net": (rows[1],),
    }
