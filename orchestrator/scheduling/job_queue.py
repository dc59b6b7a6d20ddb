"""Trials that wait for training, in their order, and what happens to those that were lost.

This part of a sweep must be right after any crash, so it knows neither Ray nor clocks.  Its caller
reports how attempts end.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trainer.config import TrainConfig, described

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger

logger = logging.getLogger(__name__)

#: What becomes of a trial whose end could not be written.
_LATER = "its end cannot be recorded, so the same command tries it again"


@dataclass(frozen=True)
class Job:
    """One trial to train: a config with its seed, and the directory it trains into.

    `alone`: nothing else may use its device.
    """

    trial_id: str
    config: TrainConfig
    identity: dict[str, Any]
    directory: str
    alone: bool = False


class JobQueue(ABC):
    """Jobs in the order of training.  A subclass adds jobs, and hears of their ends.

    Args:
        max_failures: a trial may lose so many attempts in this run before it fails.
    """

    def __init__(self, ledger: Ledger, max_failures: int):
        self.ledger = ledger
        self._max_failures = max_failures
        self._queue: deque[Job] = deque()
        self._given: dict[str, Job] = {}
        self._lost: dict[str, int] = {}
        #: How many of `trial_ids` have ended.
        self.done = 0
        self.stopping = False
        #: Why the sweep had to stop early; empty if it did not.
        self.error = ""
        #: Trials that ended but left nothing that can be read, by id; the reasons.
        self.unkept: dict[str, str] = {}

    @property
    @abstractmethod
    def trial_ids(self) -> list[str]:
        """All trials so far."""

    @property
    @abstractmethod
    def planned(self) -> int:
        """How many trials there will be."""

    @abstractmethod
    def has_next(self) -> bool:
        """Whether a trial can start now."""

    @abstractmethod
    def ended(self, trial_id: str) -> None:
        """A trial has its end record."""

    def next(self) -> Job | None:
        """The next trial to train; None if none can start now."""
        if not self.has_next():
            return None
        job = self._queue.popleft()
        self._given[job.trial_id] = job
        return job

    def stop(self) -> None:
        """Start no more trials; those that run can still end."""
        self.stopping = True

    def lost(self, trial_id: str, reason: str) -> str | None:
        """An attempt ended without an end record: its process or node died, or an error passed.

        Queues the trial again, first in the line, and returns None.  After more than
        `resources.max_failures` such attempts in this run, fails it and returns the reason.
        """
        job = self._given.pop(trial_id, None)
        if job is None:
            return None
        count = self._lost[trial_id] = self._lost.get(trial_id, 0) + 1
        limit = self._max_failures
        if count <= limit:
            self._queue.appendleft(job)
            return None
        return self.failed(job, f"{reason} (attempt {count}; resources.max_failures is {limit})")

    def moved(self, trial_id: str) -> None:
        """An attempt left a node that drains: queue the trial again, first in the line, and count
        no failure."""
        if (job := self._given.pop(trial_id, None)) is not None:
            self._queue.appendleft(job)

    def out_of_memory(self, trial_id: str, detail: str) -> str | None:
        """An attempt ran out of memory: queue the trial once more, alone on its device.

        The second time it fails the trial and returns the reason.
        """
        job = self._given.pop(trial_id, None)
        if job is None:
            return None
        if not job.alone:
            self._queue.append(replace(job, alone=True))
            return None
        return self.failed(job, f"out of memory even alone on its device: {detail}")

    def failed(self, job: Job, reason: str) -> str:
        """A trial will not pass: fail it; returns the reason."""
        try:
            directory = self.ledger.directory(job.trial_id)
            if directory.config() is None:  # the trainer died before it wrote one
                directory.write_config({**described(job.config), **job.identity})
            self.ledger.close(job.trial_id, "failed", reason)
        except Exception as error:  # the next run finds it unfinished and resumes it
            logger.error("%s cannot be closed: %s", job.trial_id, error, exc_info=error)
            self.unkept[job.trial_id] = f"{reason}; {_LATER} ({error})"
        self.ended(job.trial_id)
        return reason
