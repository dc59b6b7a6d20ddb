"""What a user sees while a sweep runs: a live table on a terminal, else a line for each event."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.ledger.labels import label

if TYPE_CHECKING:
    from orchestrator.scheduling.job_queue import Job

#: Ended trials that stay in the live table below the running ones.
_SHOWN_ENDED = 12
#: Before so many trials and seconds there is no estimate, because parallel trials end together.
_FEW_ENDED = 3
_SHORT = 60.0
#: Columns of the live table, and the minimum width of a terminal that shows them.
_COLUMNS = {
    "trial": 0,
    "epoch": 0,
    "dev_score": 0,
    "min/epoch": 72,
    "state": 0,
    "configuration": 120,
}
_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}


class Progress(Protocol):
    """Events of a sweep, from the driver's own thread."""

    def started(self, job: Job) -> None: ...
    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, Any]) -> None: ...
    def warned(self, job: Job, text: str) -> None: ...
    def retried(self, job: Job, reason: str) -> None: ...
    def ended(self, job: Job, status: str, reason: str) -> None: ...
    def total(self, done: int, planned: int) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def make_progress(console: Console, varied: Iterable[str] = ()) -> Progress:
    """The live table if `console` is a terminal, else plain lines.

    Args:
        varied: dotted config keys in which the sweep's configurations differ.
    """
    kind = LiveProgress if console.is_terminal else PlainProgress
    return kind(console, tuple(varied))


def say(console: Console, text: str) -> None:
    """Print a line; a live table stays below it."""
    if console.is_terminal:
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:  # rich is slow for the lines of thousands of trials
        print(text, file=console.file, flush=True)


class Pace:
    """Estimates the rest of a sweep from the trials that have ended.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._begun = clock()
        self._before: int | None = None
        self.done = self.planned = 0

    def total(self, done: int, planned: int) -> None:
        """Set the number of ended trials; those of the first call ended in earlier runs."""
        if self._before is None:
            self._before, self._begun = done, self._clock()
        self.done, self.planned = done, planned

    @property
    def seconds(self) -> float:
        """Seconds since the first call of `total`."""
        return self._clock() - self._begun

    def to_go(self) -> str:
        """`about 2 h 40 min to go`; empty if nothing is left or it is too early to estimate."""
        ended = self.done - (self._before or 0)
        left = self.planned - self.done
        if left <= 0 or ended < _FEW_ENDED or self.seconds < _SHORT:
            return ""
        minutes = math.ceil(self.seconds / ended * left / 60)
        hours = f"{minutes // 60} h " if minutes >= 60 else ""
        return f"about {hours}{minutes % 60} min to go"


class _Display:
    """What both displays share."""

    def __init__(self, console: Console, varied: Sequence[str] = ()):
        self._console, self._varied = console, varied
        self._pace = Pace()

    def total(self, done: int, planned: int) -> None:
        self._pace.total(done, planned)

    def say(self, text: str) -> None:
        say(self._console, text)

    def close(self) -> None:
        return


class PlainProgress(_Display):
    """A line for each event: `[ 3/14] arrp-1a2b3c4d5e6f epoch 2/3 dev_score 0.612 0.020 min`."""

    def started(self, job: Job) -> None:
        self._line(job, f"started: {label(job.config, self._varied)}, seed {job.config.seed}")

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, Any]) -> None:
        score, minutes = metrics.get("dev_score"), metrics.get("minutes_per_epoch")
        self._line(
            job,
            f"epoch {epoch}/{job.config.epochs} dev_score {_number(score)} {_number(minutes)} min",
        )

    def warned(self, job: Job, text: str) -> None:
        self._line(job, text)

    def retried(self, job: Job, reason: str) -> None:
        self._line(job, f"is tried again from its last epoch: {reason}")

    def ended(self, job: Job, status: str, reason: str) -> None:
        text = f"{status}: {reason}" if reason else status
        self._line(job, ", ".join(filter(None, (text, self._pace.to_go()))))

    def _line(self, job: Job, text: str) -> None:
        done, planned = self._pace.done, self._pace.planned
        counted = f"[{done:>{len(str(planned))}}/{planned}]"
        say(self._console, f"{counted} {job.trial_id} {_one_line(text)}")


@dataclass
class _Row:
    job: Job
    configuration: str
    status: str = "running"
    epoch: int = 0
    dev_score: float | None = None
    minutes: float | None = None
    note: str = ""

    def cells(self) -> dict[str, str | Text]:
        """The row's cells by the names of `_COLUMNS`."""
        state = Text(self.status, style=_STYLES.get(self.status, ""))
        if self.note:
            state.append(f": {_one_line(self.note)}")
        return {
            "trial": self.job.trial_id,
            "epoch": f"{self.epoch}/{self.job.config.epochs}",
            "dev_score": _number(self.dev_score),
            "min/epoch": _number(self.minutes),
            "state": state,
            "configuration": self.configuration,
        }


class LiveProgress(_Display):
    """A table of the running and the last ended trials, updated twice per second.

    Each row is one line; text that does not fit is cut off.
    """

    def __init__(self, console: Console, varied: Sequence[str] = ()):
        super().__init__(console, varied)
        self._running: dict[str, _Row] = {}
        self._ended: deque[_Row] = deque(maxlen=_SHOWN_ENDED)
        self._live = Live(
            console=console, get_renderable=self._table, refresh_per_second=2, transient=False
        )
        self._live.start()

    def started(self, job: Job) -> None:
        self._row(job)

    def epoch(self, job: Job, epoch: int, metrics: Mapping[str, Any]) -> None:
        row = self._row(job)
        row.epoch = epoch
        row.dev_score, row.minutes = metrics.get("dev_score"), metrics.get("minutes_per_epoch")

    def warned(self, job: Job, text: str) -> None:
        self.say(f"{job.trial_id} {text}")

    def retried(self, job: Job, reason: str) -> None:
        self._row(job).note = f"tried again: {reason}"

    def ended(self, job: Job, status: str, reason: str) -> None:
        row = self._row(job)
        row.status, row.note = status, reason
        self._ended.appendleft(self._running.pop(job.trial_id))

    def close(self) -> None:
        self._live.stop()

    def _row(self, job: Job) -> _Row:
        if job.trial_id not in self._running:
            self._running[job.trial_id] = _Row(job, label(job.config, self._varied))
        return self._running[job.trial_id]

    def _table(self) -> Table:
        pace, elapsed = self._pace, int(self._pace.seconds)
        clock = f"{elapsed // 3600}:{elapsed // 60 % 60:02}:{elapsed % 60:02}"
        title = (f"{pace.done}/{pace.planned} trials", clock, pace.to_go())
        table = Table(
            title=", ".join(filter(None, title)),
            title_justify="left",
            box=None,
            pad_edge=False,
            expand=True,
        )
        shown = [name for name, width in _COLUMNS.items() if self._console.width >= width]
        for name in shown:
            number = name in ("epoch", "dev_score", "min/epoch")
            justify: JustifyMethod = "right" if number else "left"
            ratio = 1 if name == "state" else None
            table.add_column(name, justify=justify, no_wrap=True, ratio=ratio)
        # Live cuts off what is below the terminal's last line, so running trials come first.
        room = max(1, self._console.height - 4)
        for row in [*self._running.values(), *self._ended][:room]:
            cells = row.cells()
            table.add_row(*(cells[name] for name in shown))
        return table


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
