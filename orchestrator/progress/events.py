"""The events of a sweep, as its driver tells them.  By itself it shows nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.progress.state import SweepState

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.scheduling.job_queue import Job


class Progress:
    """Keeps the state of a sweep.  Displays extend its methods.

    Args:
        name: the sweep's.
        varied: dotted config keys in which the sweep's configurations differ.
    """

    def __init__(self, name: str = "", varied: Sequence[str] = ()):
        self.state = SweepState(name, varied)
        #: How often a stop was asked for other than by a signal.
        self.stops_asked = 0

    def stage(
        self, name: str, look: int = 0, looks: int = 0, minutes_left: float | None = None
    ) -> None:
        """A stage begins (`SweepState.stage`)."""
        self.state.stage(name, look, looks, minutes_left)

    def doing(self, text: str) -> None:
        """What is being done besides training; empty: nothing."""
        self.state.doing(text)

    def stopping(self, text: str) -> None:
        """Somebody asked for a stop; `text` says what it waits for, and how long at most."""
        self.state.stopping(text)
        self.say(text)

    def kept(self, trials: Iterable[TrialRecord]) -> None:
        """The search's trials of earlier runs."""
        self.state.kept(trials)

    def total(self, done: int, planned: int) -> None:
        """Trials that have ended, and all of the stage."""
        self.state.total(done, planned)

    def started(self, job: Job) -> None:
        """A trial has its worker."""
        self.state.started(job)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, Any], node: str = "") -> None:
        """A trial has committed an epoch."""
        self.state.epoch(job, epoch, metrics, node)

    def warned(self, job: Job, text: str) -> None:
        """The trainer warns."""

    def retried(self, job: Job, reason: str) -> None:
        """An attempt was lost, and the trial is tried again."""
        self.state.lost(job)

    def ended(self, job: Job, status: str, reason: str, score: float | None = None) -> None:
        """An attempt is over: `status` of the trial, or `stopped`, and its dev_score."""
        self.state.ended(job, status, score)

    def say(self, text: str) -> None:
        """Show a message."""

    def close(self) -> None:
        """Nothing more is shown."""


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())
