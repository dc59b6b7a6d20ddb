"""The driver's side of attempts: which trial runs next, and what the end of an attempt means.

It does not know Ray.  Tune's trial id names an attempt.  A trial may need several attempts.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.ledger.ledger import COST
from orchestrator.runner.attempt import Order, Report, kind_of
from orchestrator.scheduling.successive_halving import Halving, stop_reason
from orchestrator.spec.models import OBJECTIVES

if TYPE_CHECKING:
    from orchestrator.progress import Progress
    from orchestrator.scheduling.job_queue import Job, JobQueue
    from orchestrator.spec import SweepSpec

logger = logging.getLogger(__name__)

#: The values of an epoch's record that progress and successive halving read.
_REPORTED: list[str] = list(dict.fromkeys([*OBJECTIVES, *COST]))


#: Kinds of errors that stop all trials, and what a person does about them.
_STOPPING = {
    "space": "free some space, then run the same command again",
    "folder": "make the folder writable again, then run the same command again",
    "limit": "raise the limit (ulimit -a shows all), then run the same command again",
    "host": "",
}


class Attempts:
    """Takes trials from the queue and reports to it how their attempts end.

    No method raises, because an exception in a callback would end Tune.  It is logged and kept in
    `queue.error`.  Then no more trials start, and those that run finish.

    Args:
        halving: what stops trials early, if anything does.
        on_change: called with the id of a trial that has a new epoch or its end.
        train: the function that trains, `module:name` (runner.attempt).
    """

    def __init__(
        self,
        spec: SweepSpec,
        queue: JobQueue,
        halving: Halving | None,
        progress: Progress,
        on_change: Callable[[str], None],
        train: str,
    ):
        self.spec = spec
        self.queue = queue
        self._halving = halving
        self.progress = progress
        self._on_change = on_change
        self._train = train
        #: Attempts that have started and not ended, also those that wait for a worker.
        self.active: dict[str, Job] = {}
        #: Attempts that have a worker.
        self.running: set[str] = set()
        #: Attempts that must leave their node, because it drains.
        self.leaving: set[str] = set()
        self.stopping = False
        self._alone: Job | None = None
        self._errors: dict[str, str] = {}

    def next(self, attempt: str) -> Order | None:
        """The trial for this attempt; None if nothing can start now.

        A trial that must run alone waits until nothing else runs.  Nothing else starts before it
        has ended.
        """
        order = None
        with self._guard("the next trial cannot be prepared"):
            order = self._take(attempt)
        return order

    def started(self, attempt: str) -> None:
        """The attempt has its worker.  A sweep that is stopping does not wait for it."""
        if attempt in self.active and not self.stopping:
            self.running.add(attempt)
            logger.info("attempt %s of %s has its worker", attempt, self.active[attempt].trial_id)
            with self._guard("progress"):
                self.progress.started(self.active[attempt])

    def reported(self, attempt: str, report: Report) -> None:
        """Show a report, also the last one."""
        job = self.active.get(attempt)
        if job is None:
            return
        with self._guard("progress"):
            for text in report.warnings:
                self.progress.warned(job, text)
            if report.epoch is not None:
                self._errors.pop(job.trial_id, None)
                self.progress.epoch(job, report.epoch, report.metrics, report.host)
                self._on_change(job.trial_id)

    def stops(self, attempt: str, report: Report) -> bool:
        """Whether the trial stops early after the epoch of this report."""
        job = self.active.get(attempt)
        if self._halving is None or job is None or report.epoch is None:
            return False
        stops = False
        with self._guard("successive halving"):
            stops = self._halving.result(job.trial_id, report.epoch, report.metrics)
        return stops

    def ended(self, attempt: str, report: Report) -> None:
        """An attempt is over; `report` is its last.  The trial's directory has the rest."""
        weak = self.stops(attempt, report)  # the last epoch counts in the rungs, too
        if attempt in self.leaving and not (weak or report.ended or report.error):
            report = replace(report, error="its node drains", kind="drained")
        self.running.discard(attempt)
        self.leaving.discard(attempt)
        job = self.active.pop(attempt, None)
        if job is None:
            return
        with self._guard(f"{job.trial_id} cannot be closed"):
            try:
                self._settle(job, report)
            except OSError as error:
                if kind_of(error) in _STOPPING:
                    raise
                # Only its own folder is in a bad way, and the other trials go on.
                self.progress.ended(job, "stopped", self.queue.failed(job, report.error or "ended"))
                self._total()

    def leave(self, attempt: str) -> None:
        """Its node drains: the trial resumes elsewhere after the epoch that it has committed."""
        if attempt in self.active:
            self.leaving.add(attempt)

    def died(self, attempt: str, text: str, *, announced: bool = False) -> None:
        """Its worker is gone; `text` is Ray's message.  `announced`: its node was draining."""
        report = Report(error="its process died", kind="died")
        if announced or attempt in self.leaving:
            report = Report(error="its node is gone, as announced", kind="drained")
        elif "running low on memory" in text:
            report = Report(error="Ray's memory monitor ended its process", kind="memory")
        self.ended(attempt, report)

    def stop(self) -> int:
        """Start nothing more; returns how many attempts are in an epoch that they may commit."""
        self.stopping = True
        self.queue.stop()
        return len(self.running)

    def give_up(self, what: str, error: Exception) -> None:
        """Start no more trials, because something unexpected has failed."""
        logger.error("%s: %s", what, error, exc_info=error)
        # Tune passes on whole tracebacks as text; the message is their last line.
        last = str(error).strip().rpartition("\n")[2] or type(error).__name__
        self.queue.error = self.queue.error or f"{what}: {last}"

    def _take(self, attempt: str) -> Order | None:
        if self.stopping or self.queue.error or any(j.alone for j in self.active.values()):
            return None
        job = self._alone or self.queue.next()
        self._alone = job if job is not None and job.alone and self.active else None
        if job is None or self._alone is not None:
            return None
        self._total()
        order = self._order(job)
        self.active[attempt] = job
        return order

    def _order(self, job: Job) -> Order:
        return {
            "trial_id": job.trial_id,
            "config": job.config.to_dict() | self._device(job),
            "identity": self._identity(job),
            "directory": job.directory,
            "alone": job.alone,
            "train": self._train,
            "cwd": os.getcwd(),
            "cpus": self.spec.resources.cpu,
            "metrics": _REPORTED,
        }

    def _device(self, job: Job) -> dict[str, Any]:
        """What `device: auto` is in this sweep."""
        return {"device": self.spec.device} if job.config.device == "auto" else {}

    def _identity(self, job: Job) -> dict[str, Any]:
        """The trial's identity, with what `precision: auto` became in this sweep."""
        precision = self.spec.resolved.precision
        if job.config.precision != "auto" or precision is None:
            return job.identity
        return {**job.identity, "precision": precision}

    def _settle(self, job: Job, report: Report) -> None:
        """Close the trial, queue it again, or leave it for the sweep's next run."""
        logger.info("attempt of %s is over: %s", job.trial_id, report.error or "no error")
        ledger = self.queue.ledger
        end = ledger.end(job.trial_id)
        if end is None and report.error:
            closed = self._failed(job, report.kind, report.error)
        elif end is None and report.ended:
            closed = self._failed(job, "error", "its training ended without an end record")
        elif end is None and self.stopping:
            closed = False
            self.progress.ended(job, "stopped", "it resumes when you run the sweep again")
        else:
            if end is None:
                ledger.close(job.trial_id, "pruned", stop_reason(report.epoch))
            self.queue.ended(job.trial_id)
            closed = True
        self._total()
        if closed:
            end = end or ledger.end(job.trial_id) or {}
            score = (end.get("summary") or {}).get("dev_score")
            self.progress.ended(job, end.get("status", "unfinished"), end.get("reason", ""), score)
        self._on_change(job.trial_id)

    def _failed(self, job: Job, kind: str, error: str) -> bool:
        """Whether the trial is closed; if not, this run or the next one tries it again."""
        if kind in _STOPPING:  # no trial can continue here, and none has failed
            error = "; ".join(filter(None, (error, _STOPPING[kind])))
            self.queue.error = self.queue.error or error
        if kind in _STOPPING or self.stopping:
            self.progress.ended(job, "stopped", error)
            return False
        if kind == "drained":  # not the trial's fault
            self.queue.moved(job.trial_id)
            reason = None
        elif kind == "memory":
            reason = self.queue.out_of_memory(job.trial_id, error)
            error = f"out of memory, so it runs alone on its device: {error}"
        elif kind == "error" and self._errors.get(job.trial_id) == error:
            # The same error twice without an epoch in between will not pass.
            self.queue.failed(job, error)
            return True
        else:
            self._errors[job.trial_id] = error
            reason = self.queue.lost(job.trial_id, error)
        if reason is None:
            self.progress.retried(job, error)
        return reason is not None

    def _total(self) -> None:
        self.progress.total(self.queue.done, self.queue.planned)

    @contextlib.contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.give_up(what, error)
