"""One schedule of a recommendation as code snippets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anneal.advise.framework_snippets import FrameworkSnippet, framework_snippets
from anneal.advise.snippets import TorchSnippet, anneal_snippet, torch_snippet


@dataclass(frozen=True, kw_only=True)
class Lines:
    """One schedule as code snippets.

    Args:
        name: of the candidate.
        schedule: its description, at the length of the full run.
        momentum: description of its momentum schedule; None keeps the optimizer's momentum.
        total_steps: updates of the full run.
        layer_decay: whether the optimizer's groups have rates of their own.
    """

    name: str
    schedule: Mapping[str, Any]
    momentum: Mapping[str, Any] | None
    total_steps: int
    layer_decay: bool = False

    @property
    def ours(self) -> str:
        """Snippet that uses anneal."""
        return anneal_snippet(self.schedule, self.momentum)

    @property
    def frameworks(self) -> dict[str, FrameworkSnippet]:
        """Snippets for training frameworks."""
        return framework_snippets(self.schedule, self.momentum, total_steps=self.total_steps)

    @property
    def torch(self) -> TorchSnippet:
        """Snippet that uses torch alone."""
        if self.layer_decay:
            return TorchSnippet(
                code=None,
                reason="torch's snippets give all groups the same rate, a layer decay not",
            )
        return torch_snippet(self.schedule, self.momentum)
