"""What the driver of a sweep is doing: `status.json`, which it writes about once a second.

The file is a view for people and other processes.  The truth about trials is in their directories,
so a sweep goes on if it cannot be written, and a file whose driver is gone counts as none.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.ledger.ledger import Ledger, Reading, TrialRecord
from orchestrator.ledger.sweep_lock import gone, holders, is_here
from trainer.storage.folder import Folder, Refused, StoreError
from trainer.storage.json_reader import parse_object

STATUS = "status.json"
#: A driver on another host counts as gone if its file is older than so many seconds.
STALE_S = 90.0
#: No number of a status is larger: seconds since 1970 are fewer.
_MOST = 1e12
#: What `orch ls` and `orch show` call unfinished trials while their sweep's driver lives.
RUNNING, WAITING = "running", "waiting"


@dataclass(frozen=True)
class RunningTrial:
    """A trial that has a worker.

    Attributes:
        label: its configuration in words, and its seed.
        epoch: the last committed one of `epochs`; 0 if there is none.
        dev_score, minutes: of that epoch; None if unknown.
        since: seconds since 1970 at which this attempt started.
        node: the host that trains it; empty until its first epoch.
        state: `running`, or how it ended.
    """

    trial_id: str
    label: str
    seed: int
    epoch: int
    epochs: int
    dev_score: float | None = None
    minutes: float | None = None
    since: float = 0.0
    node: str = ""
    state: str = RUNNING


@dataclass(frozen=True)
class Best:
    """The best configuration of the search so far: its mean dev_score over ended seeds."""

    label: str
    dev_score: float
    seeds: int


@dataclass(frozen=True)
class DriverStatus:
    """What a driver is doing.

    Attributes:
        name: the sweep's.
        stage: `start`, `search`, `timing`, `confirming` or `end`.
        doing: what is being done now, if it is not training; empty otherwise.
        stopping: what a stop still waits for, and how long at most; empty if nobody asked for one.
        done: trials of the stage that have ended, the `kept` ones of earlier runs included.
        failed: of `done`.
        planned: trials of the stage; `waiting` of them neither ended nor run.
        trials: those that run; `ended`: those that ended last, the newest first.
        look, looks: of the confirming stage; 0 elsewhere.
        decision_minutes_left: trial-minutes that confirming may still cost; None if unknown.
        elapsed: seconds of this run.
        seconds_left: of the stage, estimated; None if it is too early.
        heartbeat: seconds since 1970 at which the driver wrote this.
    """

    name: str
    stage: str = "start"
    doing: str = ""
    stopping: str = ""
    done: int = 0
    kept: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    planned: int = 0
    look: int = 0
    looks: int = 0
    decision_minutes_left: float | None = None
    trials: tuple[RunningTrial, ...] = ()
    ended: tuple[RunningTrial, ...] = ()
    best: Best | None = None
    elapsed: float = 0.0
    seconds_left: float | None = None
    host: str = ""
    pid: int = 0
    started: str = ""
    heartbeat: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> DriverStatus:
        """From the values that this version knows: another one may have written the file.

        Raises `ValueError` if it is no status.
        """
        status = _checked()(value)
        if not _are_moderate(status.to_dict()):
            raise ValueError("a number is out of range")
        return status


@functools.cache
def _checked() -> Callable[[Any], DriverStatus]:
    """A function that makes a status of plain values with the right types."""
    from pydantic import TypeAdapter  # loads slowly, and most sweeps are not running

    return TypeAdapter(DriverStatus).validate_python


def _are_moderate(value: Any) -> bool:
    """Whether all numbers in it can be those of a status: seconds, counts, scores."""
    if isinstance(value, dict):
        return all(map(_are_moderate, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_are_moderate, value))
    return not isinstance(value, int | float) or abs(value) < _MOST


def write_status(folder: Folder, status: DriverStatus) -> bool:
    """Write `status.json` whole; returns whether that worked.  Raises nothing."""
    try:
        folder.write(STATUS, json.dumps(status.to_dict(), ensure_ascii=False).encode())
    except (OSError, StoreError):  # a full disk is a StoreError
        return False
    return True


def read_status(ledger: Ledger, now: Callable[[], float] = time.time) -> DriverStatus | None:
    """What the sweep's driver is doing; None if no driver lives.

    A driver on another host lives while its file is fresh.  Raises `StoreError` if a remote store
    does not answer.
    """
    living = [each for each in holders(ledger.folder) if not gone(each)]
    if not living:
        return None
    holder = living[0]
    status = _read(ledger)
    if status is not None and (status.pid, status.started) == _process(holder):
        return status if is_here(holder) or now() - status.heartbeat < STALE_S else None
    # It has just taken the lock, or cannot write.
    pid, started = _process(holder)
    status = DriverStatus(ledger.name, host=str(holder.get("host")), pid=pid, started=started)
    return status if is_here(holder) else None


def _process(holder: dict[str, Any]) -> tuple[int, str]:
    return holder.get("pid", 0), str(holder.get("started"))


def _read(ledger: Ledger) -> DriverStatus | None:
    """The file's content; None if it is missing or no status."""
    try:
        content = ledger.folder.read(STATUS)
        return None if content is None else DriverStatus.from_dict(parse_object(content))
    except (OSError, Refused, ValueError):
        return None


@dataclass(frozen=True)
class Live:
    """A reading of the ledger beside its driver's status: unfinished trials run or wait."""

    reading: Reading
    status: DriverStatus | None

    @classmethod
    def of(cls, ledger: Ledger, reading: Reading | None = None) -> Live:
        """Read both; the status first, so that a trial that ends in between has ended."""
        status = read_status(ledger)
        read = ledger.read() if reading is None else reading
        trials = [live_trial(trial, status) for trial in read.trials]
        return cls(Reading(trials, read.unreadable), status)

    @property
    def not_begun(self) -> int:
        """Planned trials that have no directory yet."""
        if self.status is None:
            return 0
        begun = sum(trial.status == WAITING for trial in self.reading.trials)
        return max(0, self.status.waiting - begun)


def live_trial(trial: TrialRecord, status: DriverStatus | None) -> TrialRecord:
    """The trial, whose status is `running` or `waiting` if it has not ended and a driver lives."""
    if status is None or trial.status != "unfinished":
        return trial
    running = any(each.trial_id == trial.trial_id for each in status.trials)
    return replace(trial, status=RUNNING if running else WAITING)
