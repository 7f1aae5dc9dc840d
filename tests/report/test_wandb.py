"""A campaign's W&B report: what would be sent, what is missing, and publishing to a server."""

import io
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from filelock import FileLock
from tests.report.wandb_server import ID, Server, serving

from anneal.claims.words import verdicts_overview
from anneal.commands import publish as publish_command
from anneal.commands.stages import collect, report
from anneal.config.compose import compose_run
from anneal.io.files import write_json, write_yaml
from anneal.io.git import repository_address
from anneal.io.text import escape_markdown
from anneal.report import wandb as publish
from anneal.report.answer import answer_lines
from anneal.report.forest import counted_claims, draw_forest, forest_rows
from anneal.report.wandb_upload import SYNC, find_tracked, run_limited
from anneal.results.evaluate import CURVE_COLUMNS
from anneal.runs.directory_lock import lock_of
from anneal.runs.plan import check_plan
from anneal.runs.tracking import ID_FILE

KEY = "a" * 40
FIXED, HANN = "0123456789ab", "fedcba987654"
# In place of `wandb sync`: leaves the mark that it leaves.
MARKS = (
    sys.executable,
    "-c",
    "import pathlib, sys\nfor f in sys.argv[1:]: pathlib.Path(f, 'run-x.wandb.synced').touch()",
)


@pytest.fixture
def project(world: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """A collected campaign of two experiments, one of them in a claim, tracked offline."""
    monkeypatch.setenv("WANDB_DIR", str(world.root))
    world.describe_campaign(["clr/cifar10_fixed", "digits/hann"], [0, 1])
    world.evaluate("clr/cifar10_fixed", {0: 80.0, 1: 82.0}, updates=40, configuration_hash=FIXED)
    world.evaluate("digits/hann", {0: 90.0, 1: None}, updates=40, configuration_hash=HANN)
    collect.main(["quick"])
    for number, experiment in enumerate(("clr/cifar10_fixed", "digits/hann")):
        for seed in (0, 1):
            track(experiment, seed, f"{number}{seed}" * 4)
    capsys.readouterr()
    return world


@pytest.fixture
def settled(project: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """The same campaign with rows that settle claims: it has an answer and a forest plot."""
    rows = {"clr/cifar10_fixed": 81.4, "clr/cifar10_triangular2": 81.2, "digits/hann": 90.0}
    project.describe_campaign(list(rows), [0, 1, 2])
    for experiment, value in rows.items():
        values = {seed: value + 0.1 * seed for seed in (0, 1, 2)}
        project.evaluate(experiment, values, updates=40, configuration_hash=FIXED)
    collect.main(["quick"])
    capsys.readouterr()
    return project


def track(experiment: str, seed: int, run_id: str, *, project: str = "anneal") -> Path:
    """Leave what a training with offline tracking leaves."""
    place = Path("runs/quick") / experiment / f"seed-{seed}"
    write_json(place / ID_FILE, {"id": run_id})
    tracking = {"project": project, "entity": None}
    write_yaml(place / "experiment.yaml", {"configuration": {"tracking": tracking}})
    folder = Path("wandb") / f"offline-run-20260304_050607-{run_id}"
    folder.mkdir(parents=True)
    (folder / f"run-{run_id}.wandb").touch()
    return folder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection."""

    def refuse(_self: socket.socket, address: object) -> None:
        raise AssertionError(f"a connection to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def blocks(draft: publish.Draft, kind: str) -> list[dict[str, Any]]:
    return [block for block in draft.spec()["spec"]["blocks"] if block["type"] == kind]


# --- what would be sent ---------------------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
def test_runset_is_the_campaigns_trainings_grouped_by_experiment(project: Any) -> None:
    (grid,) = blocks(publish.draft_report("quick"), "panel-grid")
    (runset,) = grid["metadata"]["runSets"]
    kept = [(f["key"], f["op"], f["value"]) for f in runset["filters"]["filters"]]
    assert kept == [
        ({"section": "run", "name": "jobType"}, "=", "train"),
        ({"section": "config", "name": "configuration_hash"}, "IN", [FIXED, HANN]),
    ]
    assert runset["grouping"] == [{"section": "run", "name": "group"}]


@pytest.mark.usefixtures("no_network")
def test_each_plot_shows_mean_and_range_over_seeds_against_the_update(project: Any) -> None:
    (grid,) = blocks(publish.draft_report("quick"), "panel-grid")
    plots = [panel["config"] for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]
    assert [plot["metrics"] for plot in plots] == [
        ["test_accuracy_pct"], ["test_loss"], ["loss"], ["lr"], ["momentum"],
    ]  # fmt: skip
    for plot in plots:
        assert (plot["xAxis"], plot["groupAgg"], plot["groupArea"]) == ("update", "mean", "minmax")


def test_what_the_report_asks_for_is_what_a_training_logs(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"update", *publish.PLOTS} == set(CURVE_COLUMNS.values())
    monkeypatch.chdir(repository)
    plan = check_plan(compose_run([]), where="conf/run.yaml")
    assert "configuration_hash" in plan.describe()  # logged as the run's configuration


def content_of_page() -> Any:
    return publish.make_content(
        publish.load_all_results(Path("results")),
        publish.load_claims(Path("paper/claims")),
        publish.load_deviations(Path("paper/deviations.yaml")),
    )


@pytest.mark.usefixtures("no_network")
def test_report_has_the_answer_of_the_page(settled: Any) -> None:
    answer, *_ = blocks(publish.draft_report("quick"), "markdown-block")
    lines = answer_lines(content_of_page())
    assert lines
    assert answer["content"].count("\n- ") == len(lines) - 1
    for lead, words in lines:
        assert f"**{lead}** {escape_markdown(words)}" in answer["content"]


@pytest.mark.usefixtures("no_network")
def test_report_shows_forest_plot_of_its_claims_as_image_of_one_run(settled: Any) -> None:
    draft = publish.draft_report("quick")
    grid, _ = blocks(draft, "panel-grid")
    assert any("image: forest plot of" in line for line in publish.summary(draft))
    (runset,) = grid["metadata"]["runSets"]
    assert [(f["key"]["name"], f["value"]) for f in runset["filters"]["filters"]] == [
        ("jobType", "report"),
        ("picture", [draft.picture.id]),
    ]
    (panel,) = grid["metadata"]["panelBankSectionConfig"]["panels"]
    assert panel["viewType"] == "Media Browser"
    assert panel["config"]["mediaKeys"] == ["forest"]
    drawn = draw_forest(forest_rows(counted_claims(content_of_page()), content_of_page().evidence))
    assert draft.picture.svg == str(drawn)


def test_forest_plot_becomes_coloured_png(settled: Any) -> None:
    picture = publish.draft_report("quick").picture
    image = matplotlib.image.imread(io.BytesIO(picture.png()), format="png")
    width, height = (
        int(picture.svg.partition(f' {side}="')[2].partition('"')[0])
        for side in ("width", "height")
    )
    assert image.shape[:2] == (2 * height, 2 * width)
    pixels = {tuple(pixel) for pixel in (255 * image[..., :3]).round().reshape(-1, 3).astype(int)}
    assert pixels & {(0, 115, 79), (179, 64, 10), (138, 90, 0)}  # a verdict's colour


@pytest.mark.usefixtures("no_network")
def test_verdicts_are_those_of_the_report_on_this_campaigns_claims(project: Any) -> None:
    verdicts, numbers = blocks(publish.draft_report("quick"), "markdown-block")
    content = content_of_page()
    mine = [j for j in content.all_judgements() if "clr/cifar10_fixed" in j.claim.experiments]
    assert len(mine) >= 3
    assert verdicts["content"] == verdicts_overview(mine)
    assert r"81.00 % (2 runs)" in verdicts["content"]
    assert "decay, the falling half" not in verdicts["content"]
    lines = numbers["content"].splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == [
        "clr/cifar10\\_fixed",
        "digits/hann",
    ]
    assert lines[3].endswith("| 90.00 % (one run) | 1 (+1 diverged) |")


@pytest.mark.usefixtures("no_network")
def test_campaign_that_no_claim_is_about_says_so(project: Any) -> None:
    rows = Path("results/quick/experiments.yaml")
    rows.write_text(rows.read_text().replace("clr/cifar10_fixed", "clr/cifar10_mine"))
    draft = publish.draft_report("quick")
    verdicts, _ = blocks(draft, "markdown-block")
    assert draft.picture is None
    assert verdicts["content"].startswith("No claim of a paper is about these rows")


@pytest.mark.usefixtures("no_network")
def test_wandb_workspaces_reads_the_spec_back_as_it_was(settled: Any) -> None:
    draft = publish.draft_report("quick")
    again = publish.wr.Report._from_model(draft.report._to_model())
    assert [type(block).__name__ for block in again.blocks] == [
        "P", "P", "H2", "MarkdownBlock", "H2", "P", "PanelGrid",
        "H2", "MarkdownBlock", "H2", "P", "PanelGrid", "H2", "MarkdownBlock",
    ]  # fmt: skip
    (panel,) = again.blocks[6].panels
    assert (type(panel).__name__, panel.media_keys) == ("MediaBrowser", ["forest"])
    (runset,) = again.blocks[11].runsets
    assert runset.groupby == ["run.Group"]


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@example.org:us/anneal.git", "https://example.org/us/anneal"),
        ("ssh://git@example.org:22/us/anneal.git", "https://example.org/us/anneal"),
        ("https://me:secret@example.org/us/anneal.git", "https://example.org/us/anneal"),
        ("/srv/git/anneal.git", "https://example.org/cited"),
        (None, "https://example.org/cited"),
    ],
)
def test_links_back_are_of_remote_without_password_or_citation(
    project: Any, remote: str | None, address: str
) -> None:
    Path("CITATION.cff").write_text("repository-code: https://example.org/cited\n")
    subprocess.run(["git", "init", "-q"], check=True)
    if remote:
        subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    draft = publish.draft_report("quick")
    text = json.dumps(draft.spec())
    assert f'"url": "{address}/blob/HEAD/paper/report.md"' in text
    assert "secret" not in text


def test_without_any_address_there_is_no_link(project: Any, tmp_path: Path) -> None:
    assert repository_address() is None
    assert '"type": "link"' not in json.dumps(publish.draft_report("quick").spec())


def test_where_it_goes_is_what_the_runs_were_tracked_with(project: Any) -> None:
    draft = publish.draft_report("quick")
    assert (draft.project, draft.entity) == ("anneal", None)
    track("digits/hann", 2, "2222aaaa", project="another")
    with pytest.raises(ValueError, match="quick must be in one project, got anneal, another"):
        publish.draft_report("quick")


# --- runs on disk ---------------------------------------------------------------------------------


def test_runs_are_found_by_their_id_with_every_folder_of_a_resumed_one(project: Any) -> None:
    place = Path("runs/quick/digits/hann/seed-0")
    again = Path("wandb/offline-run-20260305_000000-10101010-1")
    again.mkdir()
    Path("wandb/offline-run-20260305_000000-101010100").mkdir()  # another id
    write_json(Path("runs/quick/.replaced/digits/hann/seed-9") / ID_FILE, {"id": "99999999"})
    write_json(Path("range_tests/quick/digits/tracking-0") / ID_FILE, {"id": "bbbbbbbb"})
    Path("wandb/run-20260304_050607-bbbbbbbb").mkdir()
    Path("wandb/offline-run-20260304_050607-11111111/run-11111111.wandb.synced").touch()
    found = {run.id: run for run in find_tracked("quick")}
    assert sorted(found) == ["00000000", "01010101", "10101010", "11111111", "bbbbbbbb"]
    assert [p.name[12:] for p in found["10101010"].waiting] == [
        "20260304_050607-10101010",
        "20260305_000000-10101010-1",
    ]
    assert (found["11111111"].waiting, found["11111111"].uploaded) == ((), True)
    assert (found["bbbbbbbb"].waiting, found["bbbbbbbb"].uploaded) == ((), True)  # went online
    with FileLock(lock_of(place)):
        draft = publish.draft_report("quick")
        assert [run.id for run in draft.runs if run.running] == ["10101010"]
        assert len(draft.waiting()) == 2  # neither the running nor the uploaded one
    assert len(publish.draft_report("quick").waiting()) == 4


def test_id_that_is_none_is_named(project: Any) -> None:
    (Path("runs/quick/digits/hann/seed-0") / ID_FILE).write_text("[]")
    with pytest.raises(ValueError, match=r"seed-0/tracking\.json: must have the id"):
        publish.draft_report("quick")


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_network")
def test_dry_run_says_what_it_would_do_and_what_is_missing(
    project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.files("results", "paper", "runs", "wandb")
    publish_command.main(["quick", "--dry-run"])
    said = capsys.readouterr().out
    assert "report 'anneal quick' in <the entity of the key>/anneal: new" in said
    assert said.count("  wandb sync ") == 4
    assert "4 tracked runs: 4 offline folders to upload" in said
    assert "missing: no key for Weights & Biases" in said
    assert "no tracked run" not in said
    assert "image: none, no claim has an interval" in said
    assert project.files("results", "paper", "runs", "wandb") == before


@pytest.mark.usefixtures("no_network")
def test_report_can_be_printed_as_it_would_be_sent(
    project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_command.main(["quick", "--json"])
    spec = json.loads(capsys.readouterr().out)
    assert spec["project"] == {"name": "anneal", "entityName": ""}
    assert spec["spec"]["version"] == 5


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quick"], "not published: no key for Weights & Biases (WANDB_API_KEY, or `wandb login`)"),
        (["quik"], "results/quik/campaign.yaml is missing; did you mean 'quick'?"),
        (["quick", "--dry"], "unknown option '--dry'; did you mean '--dry-run'?"),
        ([], "needs the name of one campaign, got nothing"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    project: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        publish_command.main(arguments)
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {said}\n"
    assert not Path("paper/links.json").exists()


@pytest.mark.usefixtures("no_network")
def test_with_a_key_and_no_run_on_disk_it_says_that(
    project: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    Path("wandb").rename("elsewhere")
    with pytest.raises(SystemExit):
        publish_command.main(["quick"])
    assert "not published: no tracked run of quick on disk" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"quick": {"url": "x"}}', "paper/links.json: campaign 'quick': missing key published"),
        ("[]", "paper/links.json: must map each campaign to its url and day of publication"),
        ("{", "paper/links.json, line 1: Expecting property name enclosed in double quotes"),
    ],
)
def test_links_that_are_none_stop_the_report_by_name(
    project: Any, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    Path("paper/links.json").write_text(text)
    with pytest.raises(SystemExit):
        report.main([])
    assert capsys.readouterr().err == f"error: {said}\n"


def test_address_that_is_no_reports_is_refused(project: Any) -> None:
    write_json(
        Path("paper/links.json"), {"quick": {"url": "http://x/y", "published": "2026-01-01"}}
    )
    with pytest.raises(ValueError, match="must end in -- and its id, got http://x/y"):
        publish.draft_report("quick")


# --- with a server --------------------------------------------------------------------------------


def to(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", server.address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


@pytest.mark.slow
def test_publishing_again_updates_the_same_report(
    settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"url": "https://wandb.ai/us/anneal/reports/x--VmlldzoxMg", "published": "2026-01-02"}
    write_json(Path("paper/links.json"), {"sgdr": before})
    with serving(Server()) as server:
        to(server, monkeypatch)
        publish.publish(publish.draft_report("quick"), sync=MARKS)
        links = json.loads(Path("paper/links.json").read_text())
        assert list(links) == ["quick", "sgdr"]
        assert links["sgdr"] == before
        assert links["quick"]["url"] == f"{server.address}/us/anneal/reports/anneal-quick--{ID}"
        assert len(links["quick"]["published"]) == len("2026-01-02")
        (sent,) = server.variables("upsertView")
        assert (sent["id"], sent["entityName"], sent["projectName"]) == (None, "us", "anneal")
        spec = json.loads(sent["spec"])
        kinds = [block["type"] for block in spec["blocks"] if block["type"] != "paragraph"]
        assert kinds.count("panel-grid") == 2
        picture = publish.draft_report("quick").picture
        (uploaded,) = [name for name in server.uploaded if name.endswith(".png")]
        assert server.uploaded[uploaded] == picture.png()
        (bucket,) = [b for b in server.variables("upsertBucket") if b.get("jobType") == "report"]
        assert json.loads(bucket["config"])["picture"]["value"] == picture.id
        history = [
            json.loads(line)
            for sent in server.streamed
            for line in sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        ]
        assert [line["forest"]["path"] for line in history if "forest" in line] == [uploaded]
        everything = json.dumps([server.asked, server.streamed]) + str(server.uploaded)
        assert KEY not in everything + Path("paper/links.json").read_text()
        assert str(settled.root) not in everything
        assert publish.draft_report("quick").waiting() == []
        publish.publish(publish.draft_report("quick"), sync=("false",))  # nothing left to upload
        assert [sent["id"] for sent in server.variables("upsertView")] == [None, ID]
    assert json.loads(Path("paper/links.json").read_text()) == links
    report.main([])
    assert links["quick"]["url"] in Path("paper/report.md").read_text()


@pytest.mark.slow
def test_server_that_refuses_leaves_no_address(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Server(problem="the project is read-only")) as server:
        to(server, monkeypatch)
        with pytest.raises(ValueError, match=r"report was not saved: .*the project is read-only"):
            publish.publish(publish.draft_report("quick"), sync=MARKS)
    assert not Path("paper/links.json").exists()


@pytest.mark.slow
def test_server_that_stalls_is_given_up_in_time_and_leaves_no_address(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Server(stalls=True)) as server:
        to(server, monkeypatch)
        began = time.monotonic()
        with pytest.raises(ValueError, match="not saved: no answer within 12 s"):
            publish.publish(publish.draft_report("quick"), sync=MARKS, seconds=12)
        assert time.monotonic() - began < 30
    assert not Path("paper/links.json").exists()


def test_no_report_is_saved_while_runs_are_not_uploaded(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`wandb sync` ends with 0 also when it uploaded nothing: what counts is its mark."""
    one = (*MARKS[:2], MARKS[2].replace("argv[1:]", "argv[1:2]") + "\nprint('no space left')")
    with serving(Server()) as server:
        to(server, monkeypatch)
        with pytest.raises(ValueError, match="uploaded 1 of 4 runs; it said: no space left"):
            publish.publish(publish.draft_report("quick"), sync=one)
        assert server.asked == []
    assert not Path("paper/links.json").exists()


def test_command_over_its_time_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(TimeoutError, match="no answer within 1 s"):
        run_limited(["sh", "-c", f"sleep 60 & echo $! >{pid}; wait"], seconds=1.0)
    child = int(pid.read_text())
    for _ in range(50):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or ") Z " in state.read_text():
            return
        time.sleep(0.1)
    pytest.fail("what it started goes on")


OFFLINE = """
import sys
from pathlib import Path
from anneal.config.schema import TrackingConfig
from anneal.runs.tracking import open_tracker

config = TrackingConfig(name="offline", mode="offline", project="anneal", entity=None)
for place in map(Path, sys.argv[1:]):
    tracker = open_tracker(config, run_dir=place, group="digits/hann", job_type="train",
                           name=place.name, configuration={"configuration_hash": "fedcba987654"},
                           close_seconds=60)
    for update in (1, 2, 3):
        tracker.log(update, {"update": update, "lr": 0.1, "test_accuracy_pct": 10.0 * update})
    tracker.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "variable", "uploads", "folders"),
    [
        ("offline", None, False, 1),
        ("disabled", None, False, 0),
        ("online", "offline", False, 1),
        ("online", "disabled", False, 0),
        ("online", None, True, 1),
    ],
)
def test_with_a_key_only_what_the_switches_of_wandb_allow_is_uploaded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    variable: str | None,
    uploads: bool,
    folders: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    subprocess.run([sys.executable, "-m", "wandb", verb], check=True, capture_output=True)
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    script = OFFLINE.replace('mode="offline"', 'mode="auto"')
    with serving(Server()) as server:
        to(server, monkeypatch)
        subprocess.run([sys.executable, "-P", "-c", script, "run"], check=True, timeout=120)
        assert bool(server.asked or server.streamed) is uploads
    assert len(list(tmp_path.glob("wandb/*run-*"))) == folders


@pytest.mark.slow
def test_what_tracking_wrote_offline_arrives_as_the_report_asks_for_it(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With wandb's own sync: job type, group, configuration and the keys of the plots."""
    for folder in ("wandb", "runs"):
        Path(folder).rename(f"{folder}.before")
    places = [f"runs/quick/digits/hann/seed-{seed}" for seed in (0, 1)]
    subprocess.run([sys.executable, "-P", "-c", OFFLINE, *places], check=True, timeout=120)
    tracking = {"project": "anneal", "entity": None}
    for place in places:
        write_yaml(Path(place, "experiment.yaml"), {"configuration": {"tracking": tracking}})
    assert len(publish.draft_report("quick").waiting()) == 2
    with serving(Server()) as server:
        to(server, monkeypatch)
        publish.publish(publish.draft_report("quick"), sync=SYNC)
        buckets = server.variables("upsertBucket")
        streamed = [s.get("files", {}).get("wandb-history.jsonl") for s in server.streamed]
    assert "quick" in json.loads(Path("paper/links.json").read_text())
    assert {bucket.get("groupName") for bucket in buckets} >= {"digits/hann"}
    assert {bucket.get("jobType") for bucket in buckets} >= {"train"}
    configurations = [json.loads(b["config"]) for b in buckets if b.get("config")]
    assert {c["configuration_hash"]["value"] for c in configurations} == {HANN}
    lines = [json.loads(line) for part in streamed if part for line in part["content"]]
    assert sorted((line["update"], line["lr"], line["test_accuracy_pct"]) for line in lines) == [
        (update, 0.1, 10.0 * update) for update in (1, 2, 3) for _ in places
    ]
    assert publish.draft_report("quick").waiting() == []
