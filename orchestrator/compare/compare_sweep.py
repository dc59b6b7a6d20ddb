"""Which trials of a sweep are compared, and their comparison: for `compare` and `report`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.compare.configurations import Comparison, compare
from orchestrator.compare.options import Question

if TYPE_CHECKING:
    from orchestrator.compare.results import MethodComparison
    from orchestrator.ledger import Ledger, TrialRecord


@dataclass(frozen=True)
class SweepTrials:
    """The trials of the sweep's number of epochs.

    Attributes:
        left_out: how many trials of another number there are, from before an extension.
        unreadable: trial id -> why it cannot be read.
    """

    trials: list[TrialRecord]
    left_out: int
    unreadable: dict[str, str]


@dataclass(frozen=True)
class SweepComparison:
    """`rows` are all configurations, `methods` is None without a complete trial."""

    chosen: SweepTrials
    rows: Comparison
    methods: MethodComparison | None

    @property
    def answer(self) -> str:
        """The question's answer in one sentence."""
        return self.methods.answer if self.methods else self.rows.answer

    @property
    def notes(self) -> list[str]:
        """What a reader of the methods' figures must know."""
        found = list(self.methods.notes) if self.methods else []
        if self.methods and self.methods.frontier_problem:
            found.append(f"No frontier of score against minutes: {self.methods.frontier_problem}.")
        if self.chosen.left_out:
            found.append(
                f"{self.chosen.left_out} trials of another number of epochs were left out."
            )
        return found


def trials_of(ledger: Ledger) -> SweepTrials:
    """Read a sweep's trials and choose those that are compared."""
    from pydantic import ValidationError

    from orchestrator.ledger import listing
    from orchestrator.ledger.current import current
    from orchestrator.spec.models import SweepSpec

    reading = ledger.read()
    try:
        spec = SweepSpec.model_validate(listing.resolved_spec(ledger)).to_dict()
    except ValidationError:  # nothing says how many epochs there should be
        return SweepTrials(reading.trials, 0, reading.unreadable)
    trials = current(spec, reading.trials)
    return SweepTrials(trials, len(reading.trials) - len(trials), reading.unreadable)


def compare_sweep(
    ledger: Ledger,
    chosen: SweepTrials,
    question: Question,
    tell: Callable[[str], None] = lambda text: None,
) -> SweepComparison:
    """Compare the configurations and the methods of these trials.

    Raises `UserError` for a baseline, metric or key that is not there.
    """
    from orchestrator.compare.compare_methods import compare_methods

    rows = compare(chosen.trials)
    return SweepComparison(
        chosen, rows, compare_methods(ledger, chosen.trials, rows, question, tell)
    )
