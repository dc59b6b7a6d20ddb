"""What a person sees while a sweep runs: a live table on a terminal, a line an event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from orchestrator.handout import Job
    from trainer.config import TrainConfig

#: Ended trials that stay in the live table below the running ones.
_SHOWN_ENDED = 12
_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}


class Progress(Protocol):
    """Events of a sweep, from the driver's own thread."""

    def started(self, job: Job) -> None: ...
    def epoch(self, job: Job, result: Mapping[str, Any]) -> None: ...
    def retried(self, job: Job, reason: str) -> None: ...
    def ended(self, job: Job, status: str, reason: str) -> None: ...
    def total(self, done: int, planned: int) -> None: ...
    def close(self) -> None: ...


def make_progress(console: Console) -> Progress:
    """The live table if `console` is a terminal, else plain lines."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


def say(console: Console, text: str) -> None:
    """A line as it is; a live table stays below it."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def method(config: TrainConfig) -> str:
    """The names of a trial's sampler and combiner, as short as they identify it."""
    parts = [config.sampler, config.combiner]
    return "+".join(parts if config.freeze == "none" else [*parts, f"freeze-{config.freeze}"])


class PlainProgress:
    """One line an event: `[ 3/14] arrp-1a2b3c4d5e6f epoch 2/3 dev_score 0.612 0.020 min`."""

    def __init__(self, console: Console):
        self._console = console
        self._done = 0
        self._planned = 0

    def total(self, done: int, planned: int) -> None:
        self._done, self._planned = done, planned

    def started(self, job: Job) -> None:
        self._line(job, "started")

    def epoch(self, job: Job, result: Mapping[str, Any]) -> None:
        self._line(
            job,
            f"epoch {result['epoch']}/{job.config.epochs} dev_score {result['dev_score']:.3f} "
            f"{result['minutes_per_epoch']:.3f} min",
        )

    def retried(self, job: Job, reason: str) -> None:
        self._line(job, f"tried again from its last epoch: {reason}")

    def ended(self, job: Job, status: str, reason: str) -> None:
        self._line(job, f"{status}: {reason}" if reason else status)

    def close(self) -> None:
        return

    def _line(self, job: Job, text: str) -> None:
        width = len(str(self._planned))
        say(self._console, f"[{self._done:>{width}}/{self._planned}] {job.trial_id} {text}")


@dataclass
class _Row:
    job: Job
    status: str = "running"
    epoch: int = 0
    dev_score: float | None = None
    minutes: float | None = None
    note: str = ""


class LiveProgress:
    """A table of the running and the latest ended trials, redrawn twice a second."""

    def __init__(self, console: Console):
        self._console = console
        self._rows: dict[str, _Row] = {}
        self._done = 0
        self._planned = 0
        self._begun = time.monotonic()
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=2, transient=False
        )
        self._live.start()

    def total(self, done: int, planned: int) -> None:
        self._done, self._planned = done, planned

    def started(self, job: Job) -> None:
        self._rows.setdefault(job.trial_id, _Row(job))

    def epoch(self, job: Job, result: Mapping[str, Any]) -> None:
        row = self._rows.setdefault(job.trial_id, _Row(job))
        row.epoch = int(result["epoch"])
        row.dev_score = float(result["dev_score"])
        row.minutes = float(result["minutes_per_epoch"])

    def retried(self, job: Job, reason: str) -> None:
        self._rows.setdefault(job.trial_id, _Row(job)).note = f"retried: {reason}"

    def ended(self, job: Job, status: str, reason: str) -> None:
        row = self._rows.pop(job.trial_id, _Row(job))
        row.status, row.note = status, reason
        self._rows[job.trial_id] = row  # newest ended last

    def close(self) -> None:
        self._live.stop()

    def _table(self) -> Table:
        elapsed = time.strftime("%H:%M:%S", time.gmtime(time.monotonic() - self._begun))
        table = Table(title=f"{self._done}/{self._planned} trials, {elapsed}", title_justify="left")
        table.add_column("trial")
        table.add_column("method")
        table.add_column("epoch", justify="right")
        table.add_column("dev_score", justify="right")
        table.add_column("min/epoch", justify="right")
        table.add_column("state")
        rows = list(self._rows.values())
        running = [row for row in rows if row.status == "running"]
        ended = [row for row in rows if row.status != "running"]
        for row in [*running, *reversed(ended[-_SHOWN_ENDED:])]:
            state = f"{row.status}: {row.note}" if row.note else row.status
            table.add_row(
                row.job.trial_id,
                method(row.job.config),
                f"{row.epoch}/{row.job.config.epochs}",
                "" if row.dev_score is None else f"{row.dev_score:.3f}",
                "" if row.minutes is None else f"{row.minutes:.3f}",
                Text(state, style=_STYLES.get(row.status, "")),
            )
        return table
