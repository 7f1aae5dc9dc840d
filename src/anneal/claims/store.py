"""Write ``results/<campaign>/verdicts.json``: the verdicts on a campaign."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anneal.claims.verdict import Judgement
from anneal.claims.words import ours_words, paper_words
from anneal.io.files import json_text, write_if_changed
from anneal.results.statistics import Interval

VERDICTS_FILE = "verdicts.json"


def save_verdicts(folder: Path, judgements: Sequence[Judgement]) -> None:
    """Write the verdicts into ``results/<campaign>``; a file that would not change stays."""
    verdicts = [_describe_judgement(found) for found in judgements]
    write_if_changed(folder / VERDICTS_FILE, json_text(verdicts))


def _describe_judgement(found: Judgement) -> dict[str, Any]:
    like = found.like_paper
    return {
        "claim": found.claim.id,
        "paper": paper_words(found.claim),
        "ours": ours_words(found),
        "numbers": _describe_interval(found.ours),
        "confidence": _rounded(found.confidence),
        "like_paper": None
        if like is None
        else {"statistic": like.statistic, "value": _rounded(like.value), "words": like.words}
        | {"low": _rounded(like.low), "high": _rounded(like.high)},
        "n": found.n,
        "diverged": found.num_diverged,
        "budget_fraction": found.budget_fraction,
        "verdict": found.verdict,
        "depends_on_reading": found.depends_on_reading,
        "readings": [
            {"experiment": reading.experiment, "verdict": reading.verdict}
            | {"numbers": _describe_interval(reading.ours)}
            for reading in found.readings
        ],
        "num_more": found.num_more,
        "borrows": found.borrows,
        "noisy": found.is_noisy,
        "post_hoc": found.is_post_hoc,
        "missing": list(found.missing),
        "reason": found.reason,
    }


def _describe_interval(found: Interval | None) -> dict[str, Any] | None:
    if found is None:
        return None
    ends = {"low": _rounded(found.low), "high": _rounded(found.high)}
    about = {"method": found.method, "confidence": _rounded(found.confidence)}
    return {"mean": _rounded(found.mean)} | ends | about


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
