"""Content of a campaign's Weights & Biases report."""

import hashlib
from dataclasses import dataclass

import vl_convert

from anneal.io.text import escape_markdown, markdown_table, number
from anneal.report.answer import answer_lines
from anneal.report.content import Content, Section
from anneal.report.forest import counted_claims, draw_forest, forest_rows
from anneal.results.campaign import CampaignResults
from anneal.results.words import budget_words, interval_words, schedule_words

NO_CLAIM = "No claim of a paper is about these rows: they show how the schedules behave here."
REPORT_JOB = "report"  # job type of the run that has the report's picture
FOREST_WORDS = (
    "Each claim on the scale of its own tolerance: the paper's number is at 0, in the band the "
    "claim holds, the line is the interval that decides, circles are single runs."
)
FOREST = "forest"  # the picture's key in its run
SCALE = 2.0  # pixels of the image for one of the drawing
ROW_PIXELS = 40  # height of a row of W&B's grid


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Forest plot of a campaign's claims.

    Args:
        title: over it.
        svg: the drawing.
        num_claims: that it shows.
    """

    title: str
    svg: str
    num_claims: int

    @property
    def id(self) -> str:
        """Digest of the drawing: another picture is another run."""
        return hashlib.sha256(self.svg.encode()).hexdigest()[:12]

    @property
    def filters(self) -> str:
        """Which run has it."""
        return f"JobType = '{REPORT_JOB}' and Config('picture') in ['{self.id}']"

    @property
    def words(self) -> str:
        """What it is, for a person at the terminal."""
        return f"forest plot of {self.num_claims} claims (run report-{self.id}, PNG)"

    @property
    def rows_high(self) -> int:
        """Height in rows of W&B's grid, on a page as wide as the drawing."""
        height = int(self.svg.partition('height="')[2].partition('"')[0])
        return max(8, min(30, -(-height // ROW_PIXELS) + 3))

    def png(self) -> bytes:
        """Return the image to upload: W&B shows no SVG."""
        return bytes(vl_convert.svg_to_png(self.svg, scale=SCALE))


def forest_picture(content: Content) -> Picture | None:
    """Return the forest plot of a report's claims; None where none of them has an interval."""
    rows = forest_rows(counted_claims(content), content.evidence)
    if not rows:
        return None
    title = f"{len(rows)} claims on the scale of their tolerances"
    return Picture(title=title, svg=str(draw_forest(rows)), num_claims=len(rows))


def answer_words(content: Content) -> str:
    """Return the page's answer in short; empty where no run speaks to its question."""
    lines = answer_lines(content)
    return "\n".join(f"- **{lead}** {escape_markdown(words)}" for lead, words in lines)


def run_filters(results: CampaignResults) -> str:
    """Return which runs are this campaign's: trainings of its current configurations.

    A configuration says it more exactly than a group, which is the experiment at every budget.
    """
    hashes = sorted({found.configuration_hash for found in results.experiments.values()})
    listed = ", ".join(f"'{configuration_hash}'" for configuration_hash in hashes)
    return f"JobType = 'train' and Config('configuration_hash') in [{listed}]"


def about_words(section: Section) -> str:
    """Return what a reader has before them."""
    days = "" if section.days is None else f", run from {section.days[0]} to {section.days[1]}"
    num_runs = sum(len(row.evidence.runs) for row in section.rows)
    return (
        f"{section.title}. {budget_words(section.budget_fraction)}; {len(section.rows)} "
        f"experiments, {num_runs} runs{days}. Intervals are 95 %, by Student's t over seeds. The "
        f"record is results/{section.name} in the repository; this page is a view of it."
    )


def numbers_table(section: Section) -> str:
    """Return one line for each experiment: schedule, updates, accuracy at the end, runs."""
    rows = [
        [
            escape_markdown(row.experiment.name),
            escape_markdown(schedule_words(row.experiment.schedule)),
            number(row.experiment.total_steps),
            interval_words(row.final, decimals=2, unit="%"),
            f"{len(row.evidence.runs) - row.evidence.num_diverged}"
            + (f" (+{row.evidence.num_diverged} diverged)" if row.evidence.num_diverged else ""),
        ]
        for row in section.rows
    ]
    header = ["experiment", "schedule", "updates", "test accuracy at the end", "runs"]
    return markdown_table(header, rows, sides=["left", "left", "right", "left", "right"])


def report_id(url: str) -> str:
    """Return the id that a report's address ends in, as the server writes it.

    >>> report_id("https://wandb.ai/us/anneal/reports/quick--VmlldzoxMjM0NQ")
    'VmlldzoxMjM0NQ=='

    Raises:
        ValueError: it ends in none.
    """
    _, dashes, found = url.rpartition("--")
    if not dashes or "/" in found:
        raise ValueError(f"the address of a report must end in -- and its id, got {url}")
    bare = found.rstrip("=")
    return bare + "=" * (-len(bare) % 4)
