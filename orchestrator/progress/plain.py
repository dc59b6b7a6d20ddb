"""Off a terminal: a line for each event of a sweep."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.ledger.labels import label
from orchestrator.progress.events import Progress, one_line
from orchestrator.progress.view import duration
from trainer.printable import printable

if TYPE_CHECKING:
    from orchestrator.scheduling.job_queue import Job

#: What takes longer than so many seconds is announced.
_PATIENCE_S = 1.0


def say(console: Console, text: str) -> None:
    """Print a line; a live view stays below it."""
    text = printable(text)
    if console.is_terminal:
        console.print(text, markup=False, highlight=False)
    else:  # rich is slow for the lines of thousands of trials
        print(text, file=console.file, flush=True)


class PlainProgress(Progress):
    """`[ 3/14] arrp-1a2b3c4d5e6f epoch 2/3 dev_score 0.612 0.020 min`, and so on.

    What is being done besides training gets a line if it takes more than a second.
    """

    def __init__(self, console: Console, varied: Sequence[str] = (), name: str = ""):
        super().__init__(name, varied)
        self._console, self._varied = console, varied
        self._timer: threading.Timer | None = None

    def doing(self, text: str) -> None:
        super().doing(text)
        if self._timer is not None:
            self._timer.cancel()
        if text:
            self._timer = threading.Timer(_PATIENCE_S, self.say, [f"{text} ..."])
            self._timer.daemon = True
            self._timer.start()

    def started(self, job: Job) -> None:
        super().started(job)
        self._line(job, f"started: {label(job.config, self._varied)}, seed {job.config.seed}")

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, Any], node: str = "") -> None:
        super().epoch(job, epoch, metrics, node)
        score, minutes = metrics.get("dev_score"), metrics.get("minutes_per_epoch")
        self._line(
            job,
            f"epoch {epoch}/{job.config.epochs} dev_score {_number(score)} {_number(minutes)} min",
        )

    def warned(self, job: Job, text: str) -> None:
        self._line(job, text)

    def retried(self, job: Job, reason: str) -> None:
        super().retried(job, reason)
        self._line(job, f"is tried again from its last epoch: {reason}")

    def ended(self, job: Job, status: str, reason: str, score: float | None = None) -> None:
        super().ended(job, status, reason, score)
        text = f"{status}: {reason}" if reason else status
        left = self.state.status().seconds_left
        rest = "" if left is None else f"about {duration(left)} to go"
        self._line(job, ", ".join(filter(None, (text, rest))))

    def say(self, text: str) -> None:
        say(self._console, text)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _line(self, job: Job, text: str) -> None:
        status = self.state.status()
        counted = f"[{status.done:>{len(str(status.planned))}}/{status.planned}]"
        say(self._console, f"{counted} {job.trial_id} {one_line(text)}")


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""
