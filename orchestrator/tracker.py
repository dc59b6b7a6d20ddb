"""Keeps MLflow up to date while a sweep runs: one thread beside it, which nothing waits for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial

from orchestrator.ledger import Ledger
from orchestrator.tracking import Projection, project_all

logger = logging.getLogger(__name__)

#: Seconds between rounds: each takes CPU time from the training that it reports.
_PAUSE_S = 5.0
#: Seconds before a server that did not answer is asked again.
_RETRY_S = 30.0


class Tracker:
    """Projects in a thread of its own while a sweep runs; nothing here can stop training."""

    def __init__(self, projection: Projection, ledger: Ledger, say: Callable[[str], None]):
        self._projection = projection
        self._ledger = ledger
        self._say = say
        self._changed: set[str] = set()
        self._wake = threading.Condition()
        self._closing = False
        self._out_of_order = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def changed(self, trial_id: str) -> None:
        """Note that a trial has a new epoch or its end; returns at once."""
        with self._wake:
            self._changed.add(trial_id)
            self._wake.notify()

    def close(self, status: str, trial_ids: Iterable[str]) -> bool:
        """Stop the thread and project everything once more; False if MLflow is out of reach."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        return self._try(lambda: project_all(self._projection, self._ledger, trial_ids, status))

    def _run(self) -> None:
        reached = self._try(lambda: self._projection.parent("RUNNING"))
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._changed)
                # Lets epochs that come close together go in one round, and a lost server rest.
                if self._wake.wait_for(lambda: self._closing, _PAUSE_S if reached else _RETRY_S):
                    return
                batch = sorted(self._changed)
            reached = self._try(partial(self._project, batch))

    def _project(self, trial_ids: list[str]) -> None:
        for trial_id in trial_ids:
            with self._wake:
                self._changed.discard(trial_id)
            trial = self._ledger.trial(trial_id)
            try:
                if trial is not None:
                    self._projection.trial(trial, running=True)
            except Exception:
                self.changed(trial_id)
                raise

    def _try(self, action: Callable[[], None]) -> bool:
        """Whether `action` went through; the first failure of a series is said."""
        try:
            action()
        except Exception as error:  # whatever MLflow or its database raises
            logger.debug("tracking", exc_info=error)
            if not self._out_of_order:
                self._say(
                    f"tracking: {self._projection.uri} does not answer ({_root(error)}); "
                    "training goes on, MLflow is caught up later"
                )
            self._out_of_order = True
            return False
        if self._out_of_order:
            self._say("tracking: MLflow answers again")
        self._out_of_order = False
        return True


def _root(error: BaseException) -> str:
    """What lies below the layers of clients and retries, on one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error).strip().partition("\n")[0] or type(error).__name__
