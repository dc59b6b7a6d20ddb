"""The driver's side of attempts: which trial runs next, and what the end of an attempt means.

Knows no Ray.  An attempt is named by an id of Tune's; a trial has as many as it takes.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.runner.attempt import Order, Report
from orchestrator.scheduling.successive_halving import Halving, stop_reason
from orchestrator.spec.models import METRICS

if TYPE_CHECKING:
    from orchestrator.progress import Progress
    from orchestrator.scheduling.trial_queue import Job, TrialQueue
    from orchestrator.spec import SweepSpec

logger = logging.getLogger(__name__)

#: What the display and the rungs read of an epoch's record.
_TOLD: list[str] = list(METRICS)


class Attempts:
    """Takes trials from the handout and hands back how their attempts ended.

    Nothing here raises: an exception in a callback would end Tune.  It is logged and kept in
    `handout.error`, no more trials are begun, and those that run go on to their end.
    """

    def __init__(
        self,
        spec: SweepSpec,
        handout: TrialQueue,
        halving: Halving | None,
        progress: Progress,
        on_change: Callable[[str], None],
        train: str,
    ):
        self.spec = spec
        self.handout = handout
        self._halving = halving
        self._progress = progress
        self._on_change = on_change
        self._train = train
        #: Attempts that were begun and have not ended, those that wait for a worker included.
        self.active: dict[str, Job] = {}
        #: Attempts whose worker is there.
        self.running: set[str] = set()
        #: Those that are to leave their node, which is about to go.
        self.leaving: set[str] = set()
        self.stopping = False
        self._alone: Job | None = None
        self._errors: dict[str, str] = {}

    def next(self, attempt: str) -> Order | None:
        """What this attempt is to train, or None: nothing can be begun now.

        A trial that is to run alone waits until nothing else runs, and nothing else is begun
        before it has ended.
        """
        order = None
        with self._guard("no trial could be handed out"):
            order = self._take(attempt)
        return order

    def started(self, attempt: str) -> None:
        """Its worker is there.  Once the sweep is stopping that comes too late to be waited for."""
        if attempt in self.active and not self.stopping:
            self.running.add(attempt)
            with self._guard("progress"):
                self._progress.started(self.active[attempt])

    def reported(self, attempt: str, report: Report) -> None:
        """A report has come, the last one included."""
        job = self.active.get(attempt)
        if job is None:
            return
        with self._guard("progress"):
            for text in report.warnings:
                self._progress.warned(job, text)
            if report.epoch is not None:
                self._errors.pop(job.trial_id, None)
                self._progress.epoch(job, report.epoch, report.metrics)
                self._on_change(job.trial_id)

    def stops(self, attempt: str, report: Report) -> bool:
        """Whether the trial stops early behind the epoch of this report."""
        job = self.active.get(attempt)
        if self._halving is None or job is None or report.epoch is None:
            return False
        stops = False
        with self._guard("the rungs"):
            stops = self._halving.result(job.trial_id, report.epoch, report.metrics)
        return stops

    def ended(self, attempt: str, report: Report) -> None:
        """An attempt is over; `report` is its last one.  The trial's directory says the rest."""
        weak = self.stops(attempt, report)  # a last epoch has its place in the rungs too
        if attempt in self.leaving and not (weak or report.ended or report.error):
            report = replace(report, error="its node drains", kind="drained")
        self.running.discard(attempt)
        self.leaving.discard(attempt)
        job = self.active.pop(attempt, None)
        if job is None:
            return
        with self._guard(f"{job.trial_id} could not be closed"):
            self._settle(job, report)

    def leave(self, attempt: str) -> None:
        """Its node is about to go: it goes on elsewhere behind the epoch that it has committed."""
        if attempt in self.active:
            self.leaving.add(attempt)

    def died(self, attempt: str, text: str, *, announced: bool = False) -> None:
        """Its worker is gone; `text` is what Ray says of it.  `announced`: its node had to go."""
        report = Report(error="its process died", kind="died")
        if announced or attempt in self.leaving:
            report = Report(error="its node is gone, as announced", kind="drained")
        elif "running low on memory" in text:
            report = Report(error="Ray's memory monitor ended its process", kind="memory")
        self.ended(attempt, report)

    def stop(self) -> int:
        """Begin nothing more; returns how many attempts may commit the epoch they are in."""
        self.stopping = True
        self.handout.stop()
        return len(self.running)

    def give_up(self, what: str, error: Exception) -> None:
        """Begin no more trials: something has failed that should not."""
        logger.error("%s: %s", what, error, exc_info=error)
        # Tune hands on whole tracebacks as text; what went wrong stands in their last line.
        last = str(error).strip().rpartition("\n")[2] or type(error).__name__
        self.handout.error = self.handout.error or f"{what}: {last}"

    def _take(self, attempt: str) -> Order | None:
        if self.stopping or self.handout.error or any(j.alone for j in self.active.values()):
            return None
        job = self._alone or self.handout.next()
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
            "config": job.config.to_dict(),
            "identity": self._identity(job),
            "directory": job.directory,
            "alone": job.alone,
            "train": self._train,
            "cwd": os.getcwd(),
            "cpus": self.spec.resources.cpu,
            "metrics": _TOLD,
        }

    def _identity(self, job: Job) -> dict[str, Any]:
        """The trial's, with what `precision: auto` became in this sweep."""
        precision = self.spec.resolved.precision
        if job.config.precision != "auto" or precision is None:
            return job.identity
        return {**job.identity, "precision": precision}

    def _settle(self, job: Job, report: Report) -> None:
        """Close the trial, queue it again, or leave it for the sweep's next run."""
        ledger = self.handout.ledger
        end = ledger.end(job.trial_id)
        if end is None and report.error:
            closed = self._failed(job, report.kind, report.error)
        elif end is None and report.ended:
            closed = self._failed(job, "error", "its training ended without an end record")
        elif end is None and self.stopping:
            closed = False
            self._progress.ended(job, "stopped", "goes on when the sweep is run again")
        else:
            if end is None:
                ledger.close(job.trial_id, "pruned", stop_reason(report.epoch))
            self.handout.ended(job.trial_id)
            closed = True
        self._total()
        if closed:
            end = end or ledger.end(job.trial_id) or {}
            self._progress.ended(job, end.get("status", "unfinished"), end.get("reason", ""))
        self._on_change(job.trial_id)

    def _failed(self, job: Job, kind: str, error: str) -> bool:
        """Whether the trial is closed; else it is tried again, now or by the next run."""
        stops_all = kind in ("space", "host")
        if stops_all:  # no trial can go on (here), and none has failed
            self.handout.error = self.handout.error or error
        if stops_all or self.stopping:
            self._progress.ended(job, "stopped", error)
            return False
        if kind == "drained":  # no fault of the trial's
            self.handout.moved(job.trial_id)
            reason = None
        elif kind == "memory":
            reason = self.handout.out_of_memory(job.trial_id, error)
            error = f"out of memory, alone this time: {error}"
        elif kind == "error" and self._errors.get(job.trial_id) == error:
            # The same error twice without an epoch in between is not a passing one.
            self.handout.ledger.close(job.trial_id, "failed", error)
            self.handout.ended(job.trial_id)
            return True
        else:
            self._errors[job.trial_id] = error
            reason = self.handout.lost(job.trial_id, error)
        if reason is None:
            self._progress.retried(job, error)
        return reason is not None

    def _total(self) -> None:
        self._progress.total(self.handout.done, self.handout.planned)

    @contextlib.contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.give_up(what, error)
