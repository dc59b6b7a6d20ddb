"""The trials of the confirming stage: those of one look, and then those of the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.ledger import Ledger
from orchestrator.scheduling.job_queue import Job, JobQueue


class ConfirmQueue(JobQueue):
    """Trains look by look.  All trials of a look end before the next look begins.

    Args:
        next_look: returns all trials up to the next look, those that have ended included; none if
            the stage is over.  It is called only while no trial runs.
    """

    def __init__(self, ledger: Ledger, max_failures: int, next_look: Callable[[], Sequence[Job]]):
        super().__init__(ledger, max_failures)
        self._next_look = next_look
        self._trials: dict[str, None] = {}
        self._unfinished: set[str] = set()
        self._over = False

    @property
    def trial_ids(self) -> list[str]:
        return list(self._trials)

    @property
    def planned(self) -> int:
        """The trials up to the present look."""
        return len(self._trials)

    def has_next(self) -> bool:
        """Whether a trial can start now.  After a look it asks whether there is another one."""
        while not (self._unfinished or self._over or self.stopping):
            self._begin_look()
        return bool(self._queue) and not self.stopping

    def ended(self, trial_id: str) -> None:
        """A trial has its end record."""
        self._given.pop(trial_id, None)
        if trial_id in self._unfinished:
            self._unfinished.remove(trial_id)
            self.done += 1

    def _begin_look(self) -> None:
        new = [job for job in self._next_look() if job.trial_id not in self._trials]
        self._over = not new  # a look without a new trial would be taken for ever
        for job in new:
            self._trials[job.trial_id] = None
            trial = self.ledger.trial(job.trial_id)
            if trial is not None and trial.status != "unfinished":
                self.done += 1
            else:
                self._unfinished.add(job.trial_id)
                self._queue.append(job)
