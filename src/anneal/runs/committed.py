"""``runs.csv``: the committed runs of a campaign."""

from pathlib import Path

from anneal.io.csv_files import read_rows
from anneal.io.files import read_yaml
from anneal.runs.layout import CAMPAIGN_FILE, EXPERIMENTS, RESULTS

RUNS_FILE = "runs.csv"


def read_run_rows(folder: Path) -> list[dict[str, str]]:
    """Read the rows of ``results/<campaign>/runs.csv``; a missing file has none."""
    return read_rows(folder / RUNS_FILE)


def committed_seeds(campaign: str, experiment: str, configuration_hash: str) -> dict[int, str]:
    """Return the committed seeds of a configuration, each with its kernels.

    These are ``none``, ``cpu``, or ``unrecorded`` for a run older than the column. The mapping is
    empty for a campaign with ``rerun_committed: true``.
    """
    if read_yaml(EXPERIMENTS / campaign / CAMPAIGN_FILE)["rerun_committed"]:
        return {}
    wanted = (experiment, configuration_hash)
    return {
        int(row["seed"]): row.get("kernels") or "unrecorded"
        for row in read_run_rows(RESULTS / campaign)
        if (row["experiment"], row["configuration_hash"]) == wanted
    }
