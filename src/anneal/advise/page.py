"""Render a recommendation: table, page, JSON, snippet."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.advise.candidates import CANDIDATES, CandidateResult, Choice
from anneal.advise.snippets import TorchSnippet, anneal_snippet, as_function, torch_snippet
from anneal.io.text import NOTHING, escape_markdown, markdown_table, number, text_table
from anneal.range_test import Agreement
from anneal.results.statistics import Interval
from anneal.results.words import fraction_words

RANGE_TEST_PICTURE, PICTURE = "range_test.svg", "advice.svg"
CANDIDATE_HEADER = (
    "candidate",
    "held-out accuracy",
    "95 % interval",
    "behind the highest",
    "n",
    "verdict",
)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """One schedule as lines to paste.

    Args:
        name: of the candidate.
        schedule: its description, at the length of the run that the advice is for.
        momentum: its momentum's; None where that stays what the optimizer says.
    """

    name: str
    schedule: Mapping[str, Any]
    momentum: Mapping[str, Any] | None

    @property
    def ours(self) -> str:
        """With anneal."""
        return anneal_snippet(self.schedule, self.momentum)

    @property
    def torch(self) -> TorchSnippet:
        """With torch alone."""
        return torch_snippet(self.schedule, self.momentum)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One advice, complete.

    Args:
        question: 12 hexadecimal digits of everything that was asked but for the seeds.
        command: the overrides that asked it.
        experiment: its configuration as plain data, without a schedule.
        rule: whose bounds were taken.
        readings: what each rule says.
        base_lr: lower bound, as it was tried.
        max_lr: upper bound, as it was tried.
        sweep_updates: updates of the range test, over its seeds.
        trial_updates: updates of one trial.
        full_updates: updates of the run that the advice is for.
        num_training: images that were learnt from.
        num_held_out: images that were measured on.
        choice: among the candidates.
        plans: of each candidate as it was tried.
        lines: of the recommended candidate and, where that is another, of the highest.
        settings: of the machine.
        code: digest of the code that the numbers went through.
    """

    question: str
    command: Sequence[str]
    experiment: Mapping[str, Any]
    rule: str
    readings: Mapping[str, Agreement]
    base_lr: float
    max_lr: float
    sweep_updates: int
    trial_updates: int
    full_updates: int
    num_training: int
    num_held_out: int
    choice: Choice
    plans: Mapping[str, Mapping[str, Any]]
    lines: tuple[Lines, ...]
    settings: Mapping[str, Any]
    code: str

    @property
    def num_seeds(self) -> int:
        """Seeds that each candidate was tried with."""
        return len(self.choice.results[0].accuracies_pct)

    @property
    def about(self) -> str:
        """Data set, model and optimizer in words."""
        model, dataset = self.experiment["model"], self.experiment["dataset"]
        optimizer = self.experiment["optimizer"]["name"]
        return f"{model['architecture']} on {dataset['name']} with {optimizer}"

    @property
    def verdict(self) -> str:
        """The recommendation in one sentence."""
        name = self.choice.recommended
        return (
            f"{f'Recommended: {name}' if name else 'Nothing to recommend'}. {self.choice.reason}."
        )

    @property
    def length_words(self) -> str:
        """How long the candidates were tried and how long the lines to paste are."""
        if self.trial_updates == self.full_updates:
            return f"{number(self.trial_updates)} updates"
        fraction = fraction_words(float(self.experiment["budget_fraction"]))
        return (
            f"{number(self.full_updates)} updates, tried at {fraction} of them "
            f"({number(self.trial_updates)})"
        )


def table_lines(choice: Choice) -> list[str]:
    """Return the candidates' table for a terminal."""
    return text_table(CANDIDATE_HEADER, [_row(result, choice) for result in choice.results])


def terminal_lines(advice: Advice, *, page: Path) -> list[str]:
    """Return what the terminal shows of an advice: table, verdict, lines to paste, its page."""
    lines = ["", *table_lines(advice.choice), "", advice.verdict]
    for first in advice.lines[:1]:
        lines += ["", f"To paste, for a run of {advice.length_words}:", "", first.ours, ""]
        if first.torch.code is not None:
            lines += ["or with torch alone:", "", first.torch.code]
        else:
            lines.append(f"With torch alone there is none: {first.torch.reason}.")
    more = "".join(f", with {other.name} to paste too" for other in advice.lines[1:])
    return [*lines, "", f"{page}{more}"]


def _row(result: CandidateResult, choice: Choice) -> tuple[str, ...]:
    return (
        result.name,
        f"{result.accuracy.mean:.2f} %" if result.accuracy else NOTHING,
        _interval(result.accuracy),
        f"{result.behind.mean:.2f} ({_interval(result.behind)})" if result.behind else "",
        str(len(result.accuracies_pct) - result.num_diverged),
        _verdict(result, choice),
    )


def _verdict(result: CandidateResult, choice: Choice) -> str:
    if result.num_diverged:
        return f"{result.num_diverged} diverged"
    words = ["highest"] if result.name == choice.best else []
    if result.name == choice.recommended:
        words.append("recommended")
    if not result.tied:
        words.append("worse")
    return ", ".join(words) or "not told apart"


def _interval(interval: Interval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return NOTHING
    return f"{interval.low:.2f} to {interval.high:.2f}"


def page(advice: Advice) -> str:
    """Return the page that a person reads, as Markdown."""
    parts = [
        f"# Advice: {escape_markdown(advice.about)}",
        _answer(advice),
        *_to_paste(advice),
        "## Bounds",
        f"From {advice.base_lr:g} to {advice.max_lr:g} (rule `{advice.rule}`, three digits).",
        _rules_table(advice),
        "## Candidates",
        f"Each was trained for {number(advice.trial_updates)} updates with the same "
        f"{advice.num_seeds} seeds on {number(advice.num_training)} training images and measured "
        f"on {number(advice.num_held_out)} others. Intervals are Student's t over the seeds (from "
        "six seeds on, differences by exact sign flips), at 95 % each and not corrected for their "
        "number. A candidate is *worse* when the interval of its difference to the highest, paired "
        "by seed, lies above 0 and the difference is more than one image.",
        markdown_table(
            [*CANDIDATE_HEADER, "what it does"],
            [
                [escape_markdown(cell) for cell in _row(s, advice.choice)]
                + [CANDIDATES[s.name].words]
                for s in advice.choice.results
            ],
            sides=["left", "right", "right", "right", "right", "left", "left"],
        ),
        f"![range test and candidates]({PICTURE})",
        f"The range test with all its rules: [{RANGE_TEST_PICTURE}]({RANGE_TEST_PICTURE}).",
        "## How far this carries",
        *_limits(advice),
        "## To repeat it",
        f"```bash\nanneal advise {shlex.join(advice.command)}".rstrip() + "\n```",
        _cost(advice),
    ]
    return "\n\n".join(parts) + "\n"


def _answer(advice: Advice) -> str:
    return f"**{escape_markdown(advice.verdict)}**"


def _to_paste(advice: Advice) -> list[str]:
    parts = []
    for lines in advice.lines:
        what = "recommended" if lines.name == advice.choice.recommended else "the highest"
        parts += [
            f"## To paste: {escape_markdown(lines.name)}, {what}",
            f"For a run of {advice.length_words}; `optimizer` is yours.",
            f"```python\n{lines.ours}\n```",
        ]
        if lines.torch.code is None:
            parts.append(f"With torch alone there is none: {lines.torch.reason}.")
        else:
            parts += ["The same with torch alone:", f"```python\n{lines.torch.code}\n```"]
    return parts


def _rules_table(advice: Advice) -> str:
    rows = []
    for rule, reading in advice.readings.items():
        pair = "abstains"
        if reading.base_lr is not None and reading.max_lr is not None:
            pair = f"{reading.base_lr:.3g} to {reading.max_lr:.3g}"
        name = f"**{rule}**" if rule == advice.rule else rule
        rows.append([name, pair, escape_markdown(reading.reason)])
    return markdown_table(["rule", "bounds", "reason"], rows)


def _limits(advice: Advice) -> list[str]:
    resolution = 100 / advice.num_held_out
    return [
        "The same held-out images served to find the bounds and to choose, so that the accuracies "
        "above flatter a little: what the network is worth, images say that nothing was chosen on. "
        "Test images were not touched.",
        f"One held-out image counts {resolution:.2g} points. The seeds vary the weights and the "
        "order of the images, not which images were held out.",
        f"It was found at {number(advice.trial_updates)} updates with the optimizer as it was "
        "configured here. With much longer runs, or another optimizer, batch size or weight "
        "decay, ask again.",
    ]


def _cost(advice: Advice) -> str:
    trials = len(advice.choice.results) * advice.num_seeds
    total = advice.sweep_updates + trials * advice.trial_updates
    return (
        f"Cost: {number(total)} updates: the range test {number(advice.sweep_updates)}, "
        f"{trials} trials of {number(advice.trial_updates)}. What is finished is not run again. "
        f"Question {advice.question}, code {advice.code}."
    )


def data(advice: Advice) -> dict[str, Any]:
    """Return the advice as plain data for advice.json."""
    return {
        "question": advice.question,
        "command": list(advice.command),
        "recommended": advice.choice.recommended,
        "reason": advice.choice.reason,
        "bounds": {"rule": advice.rule, "base_lr": advice.base_lr, "max_lr": advice.max_lr},
        "readings": {
            rule: {
                "base_lr": reading.base_lr,
                "max_lr": reading.max_lr,
                "reason": reading.reason,
            }
            for rule, reading in advice.readings.items()
        },
        "images": {"trained_on": advice.num_training, "held_out": advice.num_held_out},
        "updates": {
            "range_test": advice.sweep_updates,
            "trial": advice.trial_updates,
            "full": advice.full_updates,
        },
        "choice": advice.choice.describe(),
        "candidates": {
            name: {
                "configuration_hash": plan["configuration_hash"],
                "schedule": plan["schedule"],
                "momentum_schedule": plan["momentum_schedule"],
            }
            for name, plan in advice.plans.items()
        },
        "to_paste": {
            lines.name: {
                "schedule": lines.schedule,
                "momentum_schedule": lines.momentum,
                "anneal": lines.ours,
                "torch": lines.torch.code,
                "torch_has_none": lines.torch.reason or None,
            }
            for lines in advice.lines
        },
        "configuration": dict(advice.experiment),
        "settings": dict(advice.settings),
        "code": advice.code,
    }


def snippet_file(advice: Advice) -> str:
    """Return the lines to paste as a module: functions of an optimizer."""
    parts = [f'"""{advice.verdict}\n\nFor {advice.about}: {advice.length_words}.\n"""']
    for lines in advice.lines:
        parts.append(as_function(f"{lines.name}_with_anneal", lines.ours, returns="scheduled"))
        if lines.torch.code is None:
            parts.append(f"# {lines.name} with torch alone: none, {lines.torch.reason}")
            continue
        code = as_function(f"{lines.name}_with_torch", lines.torch.code, returns="scheduler")
        parts.append(code)
    return "\n\n\n".join(parts) + "\n"
