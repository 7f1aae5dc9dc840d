"""Publish a campaign's report in Weights & Biases.

``anneal publish`` saves it. The record stays what is on disk: nothing here reads anything back.
"""

import datetime
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import wandb
import wandb_workspaces.reports.v2 as wr

from anneal.claims.files import Link, load_claims, load_deviations, load_links
from anneal.claims.words import verdicts_overview
from anneal.config.strict import to_plain
from anneal.io.files import write_json
from anneal.io.git import repository_address
from anneal.io.terminal import describe_error, say
from anneal.io.text import did_you_mean
from anneal.report.content import Content, by_paper, make_content
from anneal.report.wandb_upload import (
    SYNC,
    TrackedRun,
    find_tracked,
    last_line,
    project_of,
    run_limited,
    upload,
)
from anneal.report.wandb_view import (
    FOREST,
    FOREST_WORDS,
    NO_CLAIM,
    REPORT_JOB,
    Picture,
    about_words,
    answer_words,
    forest_picture,
    numbers_table,
    report_id,
    run_filters,
)
from anneal.results.store import load_all_results
from anneal.results.words import budget_words
from anneal.runs.layout import CAMPAIGN_FILE, PAPER, RESULTS
from anneal.runs.tracking import has_key

LINKS = PAPER / "links.json"
SAVE_SECONDS = 120.0  # most of it is W&B's client, which starts a process of its own
MOST_RUNS_SHOWN = 200  # in one plot
NO_REPOSITORY = "no Git remote and no repository-code in CITATION.cff"
PLOTS = {  # logged quantity -> its label
    "test_accuracy_pct": "test accuracy (%)",
    "test_loss": "test loss",
    "loss": "loss of the training batches",
    "lr": "learning rate",
    "momentum": "momentum",
}
# In a process of its own, which can be ended: W&B's client waits as long as it likes.
SAVE = (
    sys.executable,
    "-P",
    "-c",
    "import sys, anneal.report.wandb as p; p.save_here(sys.argv[1])",
)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A report before it is sent.

    Args:
        campaign: its name.
        project: where it goes; empty where nothing says it.
        entity: whose project; None: the one that the key belongs to.
        filters: which runs it shows, in W&B's words.
        report: as wandb-workspaces has it.
        runs: the campaign's tracked runs.
        picture: the forest plot of its claims; None where none of them has an interval.
        repository: address of the sources; None where nothing says it.
    """

    campaign: str
    project: str
    entity: str | None
    filters: str
    report: wr.Report
    runs: tuple[TrackedRun, ...]
    picture: Picture | None
    repository: str | None

    def waiting(self) -> list[Path]:
        """Return the folders to upload; a run that is at work waits for its end."""
        return [folder for run in self.runs if not run.running for folder in run.waiting]

    def spec(self) -> dict[str, Any]:
        """Return the report as it would be sent, checked by wandb-workspaces' own models."""
        model = self.report._to_model()
        return dict(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)))

    def missing(self) -> list[str]:
        """Return what publishing lacks, in words."""
        found = []
        if not has_key(os.environ):
            found.append("no key for Weights & Biases (WANDB_API_KEY, or `wandb login`)")
        if not self.project:
            found.append("no project (tracking.project of the runs)")
        if not any(run.on_disk for run in self.runs):
            found.append(f"no tracked run of {self.campaign} on disk (run it with tracking=auto)")
        return found


def publish(draft: Draft, *, sync: Sequence[str] = SYNC, seconds: float = SAVE_SECONDS) -> Link:
    """Upload the runs, save the report, write down where it is; the last only if all went well.

    Args:
        draft: what to publish.
        sync: uploads the folders that are its arguments.
        seconds: that saving the report may take.

    Raises:
        ValueError: the server refused, or did not answer in time.
    """
    if folders := draft.waiting():
        upload(folders, command=sync)
    try:
        ended = run_limited([*SAVE, draft.campaign], seconds=seconds)
        answer = json.loads(last_line(ended.stdout))
    except TimeoutError as error:
        raise ValueError(f"the report was not saved: {error}") from None
    except json.JSONDecodeError:
        raise ValueError(f"the report was not saved: {last_line(ended.stderr)}") from None
    if "url" not in answer:
        raise ValueError(f"the report was not saved: {answer['problem']}")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    published = Link(url=answer["url"], published=today)
    links = load_links(LINKS) | {draft.campaign: published}
    write_json(LINKS, {name: to_plain(links[name]) for name in sorted(links)})
    return published


def save_here(campaign: str) -> None:
    """Save the report in this process; the last line printed says where it is, or what failed."""
    try:
        draft = draft_report(campaign, entity_of_key=True)
        if draft.picture:
            log_picture(draft.picture, draft)
        draft.report.save()
        answer = {"url": draft.report.url}
    except Exception as error:  # noqa: BLE001 - W&B raises what it likes; the caller says it
        answer = {"problem": " ".join(f"{type(error).__name__}: {describe_error(error)}".split())}
    say(json.dumps(answer))


def log_picture(picture: Picture, draft: Draft) -> None:
    """Upload the forest plot as the image of a run of its own, which the report shows."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / f"{FOREST}.png"
        image.write_bytes(picture.png())
        run = wandb.init(
            id=f"report-{picture.id}",
            resume="allow",  # the same picture again is the same run
            mode="online",
            project=draft.project,
            entity=draft.entity,
            group=draft.campaign,
            job_type=REPORT_JOB,
            name=draft.report.title,
            config={"picture": picture.id},
            dir=folder,
            settings=wandb.Settings(
                silent=True,
                console="off",
                save_code=False,
                disable_code=True,
                disable_git=True,
                x_save_requirements=False,
                x_disable_meta=True,  # it would name this machine and its user
                x_disable_stats=True,
            ),
        )
        run.log({FOREST: wandb.Image(str(image), caption=picture.title)})
        run.finish()


def draft_report(campaign: str, *, entity_of_key: bool = False) -> Draft:
    """Put a campaign's report together from the record, without a network.

    Args:
        campaign: its name in ``results/``.
        entity_of_key: ask the server whose key it is, where the configuration names no entity.

    Raises:
        ValueError: nothing was collected of the campaign, or its runs are in several projects.
    """
    campaigns = {results.name: results for results in load_all_results(RESULTS)}
    if campaign not in campaigns:
        hint = did_you_mean(campaign, campaigns)
        raise ValueError(f"{RESULTS}/{campaign}/{CAMPAIGN_FILE} is missing{hint}")
    results = campaigns[campaign]
    content = make_content(
        list(campaigns.values()),
        load_claims(PAPER / "claims"),
        load_deviations(PAPER / "deviations.yaml"),
    )
    section = next(found for found in content.sections if found.name == campaign)
    rows = {row.experiment.name for row in section.rows}
    judgements = [j for j in content.all_judgements() if rows & set(j.claim.experiments)]
    own = replace(content, sections=(section,), judgements=by_paper(judgements))
    picture = forest_picture(own)
    runs = tuple(find_tracked(campaign))
    project, entity = project_of(runs, results)
    entity = entity or os.environ.get("WANDB_ENTITY") or None
    repository = repository_address()
    filters = run_filters(results)
    known = {} if entity is None and entity_of_key else {"entity": entity or ""}
    report = wr.Report(
        project=project,
        title=f"anneal {campaign}",  # it becomes part of the address: no slash
        description=f"Campaign {campaign}; {budget_words(section.budget_fraction)}.",
        blocks=blocks_of(own, filters, picture=picture, project=project, repository=repository),
        width="fluid",
        **known,
    )
    if before := load_links(LINKS).get(campaign):
        report.id = report_id(before.url)
    return Draft(
        campaign=campaign,
        project=project,
        entity=entity,
        filters=filters,
        report=report,
        runs=runs,
        picture=picture,
        repository=repository,
    )


def blocks_of(
    content: Content,
    filters: str,
    *,
    picture: Picture | None,
    project: str,
    repository: str | None,
) -> list[Any]:
    """Return the report's blocks: what it is, answer, forest plot, verdicts, curves, the numbers.

    Args:
        content: of the one campaign.
        filters: which runs the curves are of.
        picture: the forest plot, if there is one.
        project: where the runs are.
        repository: address of the sources; None where nothing says it.
    """
    (section,) = content.sections
    judgements = content.all_judgements()
    runset = wr.Runset(project=project, name=section.name, filters=filters, groupby=["Group"])
    panels = [
        wr.LinePlot(
            title=words,
            x="update",
            y=[key],
            title_x="update",
            title_y=words,
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            max_runs_to_show=MOST_RUNS_SHOWN,
            layout=wr.Layout(x=12 * (place % 2), y=8 * (place // 2), w=12, h=8),
        )
        for place, (key, words) in enumerate(PLOTS.items())
    ]
    answer = answer_words(content)
    verdicts = verdicts_overview(judgements) if judgements else NO_CLAIM
    return [
        wr.P(about_words(section)),
        wr.P(links_back(repository)),
        *([wr.H2("Answer"), wr.MarkdownBlock(answer)] if answer else []),
        *_forest_blocks(picture, project=project),
        wr.H2("Verdicts"),
        wr.MarkdownBlock(verdicts),
        wr.H2("Curves"),
        wr.P("Mean over seeds, and the range from the lowest to the highest."),
        wr.PanelGrid(runsets=[runset], panels=panels),
        wr.H2("Numbers"),
        wr.MarkdownBlock(numbers_table(section)),
    ]


def _forest_blocks(picture: Picture | None, *, project: str) -> list[Any]:
    """Return the forest plot: the image that :func:`log_picture` uploads."""
    if picture is None:
        return []
    media = wr.MediaBrowser(
        title=picture.title,
        media_keys=[FOREST],
        num_columns=1,
        layout=wr.Layout(x=0, y=0, w=24, h=picture.rows_high),
    )
    runset = wr.Runset(project=project, name=FOREST, filters=picture.filters)
    return [wr.H2("Claims"), wr.P(FOREST_WORDS), wr.PanelGrid(runsets=[runset], panels=[media])]


def links_back(repository: str | None) -> list[Any]:
    """Return the way back to sources, record and report."""
    if repository is None:
        return [
            "The sources, and the report that this belongs to, are in the project's repository."
        ]
    return [
        "Sources: ",
        wr.Link(text=repository, url=repository),
        ". The report on all campaigns: ",
        wr.Link(text="paper/report.md", url=f"{repository}/blob/HEAD/{PAPER}/report.md"),
        ".",
    ]


def summary(draft: Draft) -> list[str]:
    """Return what publishing would do, line by line."""
    spec = draft.spec()["spec"]
    running = sum(run.running for run in draft.runs)
    uploaded = sum(run.uploaded for run in draft.runs)
    gone = sum(not run.on_disk for run in draft.runs)
    folders = draft.waiting()
    place = f"{draft.entity or '<the entity of the key>'}/{draft.project}"
    kinds = [block["type"] for block in spec["blocks"] if block["type"] != "paragraph"]
    lines = [
        f"report {draft.report.title!r} in {place}: " + ("renewed" if draft.report.id else "new"),
        f"  shows runs where {draft.filters}, grouped by experiment",
        f"  blocks: {', '.join(kinds)}; plots of {', '.join(PLOTS)} against update",
        f"  image: {draft.picture.words if draft.picture else 'none, no claim has an interval'}",
        f"  links back: {draft.repository or 'none: ' + NO_REPOSITORY}",
        f"{len(draft.runs)} tracked runs: {len(folders)} offline folders to upload, {uploaded} "
        f"runs uploaded, {running} at work, {gone} no longer on disk",
    ]
    return lines + [f"  wandb sync {folder}" for folder in folders]
