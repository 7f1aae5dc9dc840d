"""Code snippets for training frameworks: what each wants of an optimizer with a schedule.

Like those of ``snippets`` they need only the name ``optimizer``; ``docs/frameworks.md`` has whole
examples.
"""

from dataclasses import dataclass

from anneal.advise.snippets import Description, anneal_snippet

_LIGHTNING = """\
configured = {{
    "optimizer": optimizer,
    "lr_scheduler": {{"scheduler": scheduled, "interval": "step"}},
}}
# return it from configure_optimizers; Trainer(max_steps={total_steps})"""
_HF_TRAINER = """\
optimizers = (optimizer, scheduled)
# Trainer(..., optimizers=optimizers) with TrainingArguments(max_steps={total_steps})"""
_TIMM = '''\


class TimmSchedule:
    def step_update(self, num_updates, metric=None):
        scheduled.set_update(num_updates)

    def step(self, epoch, metric=None):
        """Do nothing: the update is the clock."""


lr_scheduler = TimmSchedule()
# in train.py: lr_scheduler.step_update(num_updates) after each update, {total_steps} in all'''
# Framework -> what follows our snippet, and the variable to use.
_AFTER = {
    "lightning": (_LIGHTNING, "configured"),
    "hf_trainer": (_HF_TRAINER, "optimizers"),
    "timm": (_TIMM, "lr_scheduler"),
}
NAMES = {"lightning": "Lightning", "hf_trainer": "Hugging Face Trainer", "timm": "timm"}


@dataclass(frozen=True, kw_only=True)
class FrameworkSnippet:
    """Snippet for one framework.

    Args:
        code: the snippet.
        returns: the variable that it makes for the framework.
    """

    code: str
    returns: str


def framework_snippets(
    schedule: Description, momentum: Description | None, *, total_steps: int
) -> dict[str, FrameworkSnippet]:
    """Return the snippet for each framework: ``lightning``, ``hf_trainer``, ``timm``.

    >>> constant = {"name": "constant", "arguments": {"lr": 0.1}}
    >>> print(framework_snippets(constant, None, total_steps=300)["hf_trainer"].code)
    from anneal import ScheduledLR, constant
    <BLANKLINE>
    scheduled = ScheduledLR(optimizer, constant(lr=0.1))
    optimizers = (optimizer, scheduled)
    # Trainer(..., optimizers=optimizers) with TrainingArguments(max_steps=300)

    Args:
        schedule: description of the schedule.
        momentum: of the momentum's; None keeps the optimizer's momentum.
        total_steps: updates of the run.
    """
    ours, _, _comment = anneal_snippet(schedule, momentum).rpartition("\n")
    return {
        framework: FrameworkSnippet(
            code=f"{ours}\n{after.format(total_steps=total_steps)}", returns=returns
        )
        for framework, (after, returns) in _AFTER.items()
    }
