"""How a run of a sweep ended, and its exit code."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator import interrupts


@dataclass(frozen=True)
class SweepOutcome:
    """How a run of a sweep ended.

    Attributes:
        failed: trial id -> reason.
        error: why the sweep had to stop early; empty if it did not.
    """

    trials: int
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    error: str = ""
    #: How many trials `budget.hours` left out.
    left_out: int = 0

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 3 the budget ended first, 130 interrupted; a new run resumes
        it."""
        if self.interrupted:
            return interrupts.INTERRUPTED
        if self.failed or self.error:
            return 1
        return 3 if self.left_out else 0
