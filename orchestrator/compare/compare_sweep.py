"""The trials of a sweep that are compared, and their comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.compare.configurations import Comparison, compare
from orchestrator.compare.options import ComparisonOptions

if TYPE_CHECKING:
    from orchestrator.compare.results import MethodComparison
    from orchestrator.ledger import Ledger, TrialRecord


@dataclass(frozen=True)
class SweepTrials:
    """The trials that have the sweep's number of epochs.

    Attributes:
        trials: of the search.
        confirming: of the confirming stage.
        left_out: how many trials have another number, from before the sweep was extended.
        unreadable: trial id -> why it cannot be read.
        scored_on: which dev examples the scores are on, as a sentence; empty if nothing is to say.
        other_epoch: a sentence if the scores are those of another epoch than the one that counts in
            the sweep; then the sweep's answer does not follow from them.
    """

    trials: list[TrialRecord]
    left_out: int
    unreadable: dict[str, str]
    confirming: list[TrialRecord] = field(default_factory=list)
    scored_on: str = ""
    other_epoch: str = ""


@dataclass(frozen=True)
class SweepComparison:
    """`rows` has all configurations; `methods` is None without a complete trial."""

    chosen: SweepTrials
    rows: Comparison
    methods: MethodComparison | None

    @property
    def notes(self) -> list[str]:
        """What a reader of the methods' numbers must know."""
        notes = list(self.methods.notes) if self.methods else []
        if self.chosen.scored_on:
            notes.insert(0, self.chosen.scored_on)
        if self.methods and self.methods.frontier_problem:
            notes.append(f"No frontier of score against minutes: {self.methods.frontier_problem}.")
        if self.chosen.left_out:
            notes.append(
                f"{self.chosen.left_out} trials with another number of epochs were left out."
            )
        return notes

    @property
    def stage_note(self) -> str:
        """Which trials the methods' numbers come from, if the answer comes from others."""
        if not self.chosen.confirming:
            return ""
        return (
            f"What follows shows the search: {len(self.chosen.trials):,} trials. The answer comes "
            f"from the {len(self.chosen.confirming):,} trials on fresh seeds."
        )


def trials_of(ledger: Ledger, score: str = "") -> SweepTrials:
    """Read a sweep's trials and choose those to compare.

    Args:
        score: `last` or `best`, the epoch whose scores are compared; empty: the one that counts.
    """
    from pydantic import ValidationError

    from orchestrator.ledger import listing
    from orchestrator.ledger.current import confirming, current, searched
    from orchestrator.ledger.evaluations import on_equal_examples, whole_dev_note, with_score
    from orchestrator.spec.models import SweepSpec

    reading = ledger.read()
    try:
        spec = SweepSpec.model_validate(listing.resolved_spec(ledger)).to_dict()
        trials = current(spec, reading.trials)
    except ValidationError:  # the right number of epochs is unknown
        trials = reading.trials
    left_out = len(reading.trials) - len(trials)
    counting = {trial.score for trial in trials}
    other = ""
    if score and counting - {score}:
        other = f"Scores of the {score} epoch, which is not the one that counts in this sweep."
        trials = [with_score(trial, score) for trial in trials]
    compared = on_equal_examples(trials)
    return SweepTrials(
        searched(compared), left_out, reading.unreadable, confirming(compared),
        whole_dev_note(searched(compared), searched(trials)), other,
    )  # fmt: skip


def compare_sweep(
    ledger: Ledger,
    chosen: SweepTrials,
    options: ComparisonOptions,
    tell: Callable[[str], None] = lambda text: None,
) -> SweepComparison:
    """Compare the configurations and the methods of these trials.

    Args:
        tell: is called with what is being done.

    Raises `UserError` for a baseline, metric or key that does not exist.
    """
    from orchestrator.compare.compare_methods import compare_methods

    rows = compare(chosen.trials)
    return SweepComparison(
        chosen, rows, compare_methods(ledger, chosen.trials, rows, options, tell)
    )
