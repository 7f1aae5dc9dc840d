"""Content of a campaign's Weights & Biases report."""

from anneal.io.text import escape_markdown, markdown_table, number
from anneal.report.content import Section
from anneal.results.campaign import CampaignResults
from anneal.results.words import budget_words, interval_words, schedule_words

NO_CLAIM = "No claim of a paper is about these rows: they show how the schedules behave here."


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
