"""Render a recommendation: table, page, JSON, snippet."""

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anneal.advise.candidates import CANDIDATES, CandidateResult, Choice
from anneal.advise.framework_snippets import NAMES
from anneal.advise.higher import Higher
from anneal.advise.lines import Lines
from anneal.advise.snippets import as_function
from anneal.io.text import NOTHING, escape_markdown, markdown_table, number, text_table
from anneal.range_test import Agreement
from anneal.results.statistics import Interval
from anneal.results.words import fraction_words

RANGE_TEST_PICTURE, PICTURE = "range_test.svg", "advice.svg"
CANDIDATE_HEADER = (
    "candidate",
    "held-out accuracy",
    "95 % interval",
    "gap to best",
    "n",
    "verdict",
)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One recommendation with everything that it rests on.

    Args:
        question: hash of the question without the seeds, 12 hexadecimal digits.
        command: its overrides.
        experiment: its configuration as plain data, without a schedule.
        rule: rule of the range test that gave the bounds.
        readings: rule -> its result.
        base_lr: lower bound of the trials.
        max_lr: upper bound of the trials.
        higher: what raised these bounds above the range test's, or did not.
        sweep_updates: updates of the range test, over its seeds.
        trial_updates: updates of one trial.
        full_updates: updates of the full run.
        num_training: number of training images.
        num_held_out: number of held-out images.
        choice: among the candidates.
        plans: candidate -> plan of its trials.
        lines: of the recommended candidate and, if another, of the best.
        settings: of the machine.
        code: digest of the code behind the numbers.
    """

    question: str
    command: Sequence[str]
    experiment: Mapping[str, Any]
    rule: str
    readings: Mapping[str, Agreement]
    base_lr: float
    max_lr: float
    higher: Higher
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
        """Number of seeds of each candidate."""
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
        """Length of the full run and of the trials, in words."""
        if self.trial_updates == self.full_updates:
            return f"{number(self.trial_updates)} updates"
        fraction = fraction_words(float(self.experiment["budget_fraction"]))
        return (
            f"{number(self.full_updates)} updates, tried at {fraction} of them "
            f"({number(self.trial_updates)})"
        )


def table_lines(choice: Choice) -> list[str]:
    """Return the table of the candidates for a terminal."""
    return text_table(CANDIDATE_HEADER, [_row(result, choice) for result in choice.results])


def terminal_lines(advice: Advice, *, page: Path) -> list[str]:
    """Return a recommendation for a terminal: table, verdict, snippet, path of the page."""
    lines = ["", *table_lines(advice.choice), "", advice.verdict]
    for first in advice.lines[:1]:
        lines += ["", f"Snippet for a run of {advice.length_words}:", "", first.ours, ""]
        if first.torch.code is not None:
            lines += ["or with torch alone:", "", first.torch.code]
        else:
            lines.append(f"No snippet with torch alone: {first.torch.reason}.")
    more = "".join(f", with a snippet of {other.name} too" for other in advice.lines[1:])
    return [*lines, "", f"{page}{more}; it has the lines for {', '.join(NAMES.values())} too"]


def _row(result: CandidateResult, choice: Choice) -> tuple[str, ...]:
    return (
        result.name,
        f"{result.accuracy.mean:.2f} %" if result.accuracy else NOTHING,
        _interval(result.accuracy),
        f"{result.gap.mean:.2f} ({_interval(result.gap)})" if result.gap else "",
        str(len(result.accuracies_pct) - result.num_diverged),
        _verdict(result, choice),
    )


def _verdict(result: CandidateResult, choice: Choice) -> str:
    if result.num_diverged:
        return f"{result.num_diverged} diverged"
    words = ["best"] if result.name == choice.best else []
    if result.name == choice.recommended:
        words.append("recommended")
    if not result.tied:
        words.append("worse")
    return ", ".join(words) or "statistically tied"


def _interval(interval: Interval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return NOTHING
    return f"{interval.low:.2f} to {interval.high:.2f}"


def page(advice: Advice) -> str:
    """Return the page of a recommendation as Markdown."""
    parts = [
        f"# Recommendation: {escape_markdown(advice.about)}",
        _answer(advice),
        *_fine_tuning(advice),
        *_to_paste(advice),
        "## Bounds",
        _bounds(advice),
        _rules_table(advice),
        "## Candidates",
        f"Each was trained for {number(advice.trial_updates)} updates with the same "
        f"{advice.num_seeds} seeds on {number(advice.num_training)} training images and evaluated "
        f"on {number(advice.num_held_out)} held-out images. Intervals are Student's t over the "
        "seeds (from six seeds on, differences by exact sign flips), at 95 % each, without a "
        "correction for their number. A candidate is *worse* if the interval of its gap to the "
        "best, paired by seed, is above 0 and the gap is more than one image.",
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
        "## Limitations of this recommendation",
        *_limits(advice),
        "## Command",
        f"```bash\nanneal advise {shlex.join(advice.command)}".rstrip() + "\n```",
        _cost(advice),
    ]
    return "\n\n".join(parts) + "\n"


def _answer(advice: Advice) -> str:
    return f"**{escape_markdown(advice.verdict)}**"


def _fine_tuning(advice: Advice) -> list[str]:
    """Return what is trained, from which weights; nothing for a network trained from scratch."""
    section = advice.experiment.get("fine_tuning", {})
    words = []
    if "weights" in section:
        words.append(f"Fine-tuning from the weights {escape_markdown(section['weights'])}.")
    if section.get("freeze"):
        words.append("The backbone is frozen: the head alone is trained.")
    if "layer_decay" in section:
        words.append(
            f"The rates are the last layer's; each layer before it gets {section['layer_decay']:g} "
            "times the rate of the next. `ScheduledLR` keeps the ratios of the optimizer's groups."
        )
    return [" ".join(words)] if words else []


def _to_paste(advice: Advice) -> list[str]:
    parts = []
    for lines in advice.lines:
        what = "recommended" if lines.name == advice.choice.recommended else "the best"
        parts += [
            f"## Snippet: {escape_markdown(lines.name)}, {what}",
            f"For a run of {advice.length_words}; `optimizer` is yours.",
            f"```python\n{lines.ours}\n```",
        ]
        if lines.torch.code is None:
            parts.append(f"No snippet with torch alone: {lines.torch.reason}.")
        else:
            parts += ["With torch alone:", f"```python\n{lines.torch.code}\n```"]
        for framework, snippet in lines.frameworks.items():
            parts += [f"In {NAMES[framework]}:", f"```python\n{snippet.code}\n```"]
    return parts


def _bounds(advice: Advice) -> str:
    pair, higher = f"From {advice.base_lr:g} to {advice.max_lr:g}", advice.higher
    rule = f"rule `{advice.rule}`, three digits"
    if not higher.num_more:
        return f"{pair} ({rule})."
    raised = f", {higher.factor} times those of the range test" if higher.factor > 1 else ""
    return (
        f"{pair}{raised} ({rule}). Over {advice.num_seeds} seeds {escape_markdown(higher.words)}. "
        "Bounds are raised as long as that is clearly better on the held-out images: on an easy "
        "task a range test ends too low."
    )


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
        "The same held-out images gave the bounds and the choice, so the accuracies above are "
        "slightly optimistic. Only images that nothing was chosen on measure the network; test "
        "images were not used.",
        f"One held-out image counts {resolution:.2g} points. The seeds vary the weights and the "
        "order of the images, not which images are held out.",
        f"It holds for {number(advice.trial_updates)} updates and the optimizer as configured "
        "here. Run `anneal advise` again for much longer runs, or another optimizer, batch size or "
        "weight decay.",
    ]


def _cost(advice: Advice) -> str:
    trials = (len(advice.choice.results) + advice.higher.num_more) * advice.num_seeds
    total = advice.sweep_updates + trials * advice.trial_updates
    return (
        f"Cost: {number(total)} updates: the range test {number(advice.sweep_updates)}, "
        f"{trials} trials of {number(advice.trial_updates)}. Finished trials are not run again. "
        f"Question {advice.question}, code {advice.code}."
    )


def data(advice: Advice) -> dict[str, Any]:
    """Return a recommendation as plain data for ``advice.json``."""
    return {
        "question": advice.question,
        "command": list(advice.command),
        "recommended": advice.choice.recommended,
        "reason": advice.choice.reason,
        "bounds": {
            "rule": advice.rule,
            "base_lr": advice.base_lr,
            "max_lr": advice.max_lr,
            "higher": dataclasses.asdict(advice.higher),
        },
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
                **{framework: snippet.code for framework, snippet in lines.frameworks.items()},
            }
            for lines in advice.lines
        },
        "configuration": dict(advice.experiment),
        "settings": dict(advice.settings),
        "code": advice.code,
    }


def snippet_file(advice: Advice) -> str:
    """Return the snippets as a module of functions that take an optimizer."""
    parts = [f'"""{advice.verdict}\n\nFor {advice.about}: {advice.length_words}.\n"""']
    for lines in advice.lines:
        parts.append(as_function(f"{lines.name}_with_anneal", lines.ours, returns="scheduled"))
        for framework, snippet in lines.frameworks.items():
            name = f"{lines.name}_with_{framework}"
            parts.append(as_function(name, snippet.code, returns=snippet.returns))
        if lines.torch.code is None:
            parts.append(f"# no {lines.name} with torch alone: {lines.torch.reason}")
            continue
        code = as_function(f"{lines.name}_with_torch", lines.torch.code, returns="scheduler")
        parts.append(code)
    return "\n\n\n".join(parts) + "\n"
