"""How a run of a sweep ended, from its queues and what their trials left in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.ledger import Ledger
from orchestrator.scheduling.job_queue import JobQueue
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.sweep_outcome import SweepOutcome
from trainer.storage.folder import StoreError

_LOST = "its end record is gone; was its folder deleted? The same command trains it again"


def outcome_of(ledger: Ledger, queues: Sequence[JobQueue], interrupted: bool) -> SweepOutcome:
    """The outcome of a run.  A trial that left no readable end counts as failed: it did not vanish
    unseen, and the next run trains it.

    Args:
        queues: of the search, and of the confirming stage if there was one.
    """
    names = [name for queue in queues for name in queue.trial_ids]
    stopped = next((queue.error for queue in queues if queue.error), "")
    try:
        ends = {name: _end(ledger, name) for name in names}
    except StoreError as error:  # the store is lost; a later run resumes what it holds
        return SweepOutcome(len(names), {}, interrupted, stopped or str(error))
    failed = {n: e.get("reason", "") for n, e in ends.items() if e.get("status") == "failed"}
    if not (stopped or interrupted):
        failed |= {name: end.get("problem", _LOST) for name, end in ends.items() if len(end) < 2}
        failed |= {name: why for queue in queues for name, why in queue.unkept.items()}
    search = queues[0]
    cut_short = isinstance(search, TrialQueue) and search.cut_short
    left_out = search.planned - search.done if cut_short else 0
    return SweepOutcome(len(ends), failed, interrupted, stopped, left_out)


def _end(ledger: Ledger, name: str) -> dict[str, Any]:
    """A trial's end record; empty if there is none, and only a `problem` if it cannot be read."""
    try:
        return ledger.end(name) or {}
    except OSError as error:
        return {"problem": f"{error.filename or ledger.path(name)}: {error.strerror or error}"}
