"""Keeps a sweep's projections up to date while it trains, each in its own thread."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from orchestrator.errors import first_line
from trainer.storage.folder import StoreError

logger = logging.getLogger(__name__)

#: Seconds between updates, because each takes CPU time from the training.
_PAUSE_S = 5.0
#: Seconds before we try a database again that did not answer.
_RETRY_S = 30.0
#: The end of a sweep gives up a projection that makes no progress for so many seconds.
_END_S = 30.0
#: A local database that gets so many seconds of CPU time meanwhile is slow, not dead.
_AT_WORK_S = 0.1


class Projection(Protocol):
    """A view of a sweep in some database, which can be rebuilt from the ledger at any time.

    Methods may raise whatever the database raises.  Another call completes what is missing and
    repeats nothing.
    """

    #: With its address: `MLflow at http://...`.
    name: str
    #: Its database is a file: all the work is done in the projection's own thread.
    is_local: bool

    @property
    def projected(self) -> int:
        """A counter that grows with all progress."""

    def begin(self) -> None:
        """The sweep has started."""

    def update(self, trial_ids: Iterable[str]) -> None:
        """These trials have a new epoch or their end."""

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        """The sweep has ended with these trials: FINISHED, FAILED or KILLED (interrupted)."""


class BackgroundProjection:
    """Updates one projection in its own thread.  Its failures never stop the training.

    Args:
        say: shows a message to the user.
    """

    def __init__(self, projection: Projection, say: Callable[[str], None]):
        self._projection = projection
        self._say = say
        self._changed: set[str] = set()
        self._wake = threading.Condition()
        self._final: Callable[[], None] | None = None
        self._caught_up = False
        self._out_of_order = False
        self._thread = threading.Thread(target=self._run, name=projection.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def changed(self, trial_id: str) -> None:
        """Note that a trial has a new epoch or its end; returns at once."""
        with self._wake:
            self._changed.add(trial_id)
            self._wake.notify()

    def close(self, status: str, trial_ids: Iterable[str]) -> bool:
        """Finish the projection and stop the thread; returns whether that worked.

        Gives up after `_END_S` without progress.  On a busy machine a local database may take
        longer for a single step; it is waited for as long as its thread works.
        """
        ids = list(trial_ids)
        with self._wake:
            self._final = partial(self._projection.finish, status, ids)
            self._wake.notify()
        told = False
        while self._thread.is_alive():
            progress, worked = self._projection.projected, self._cpu_seconds()
            self._thread.join(_END_S)
            if not self._thread.is_alive() or progress != self._projection.projected:
                continue
            if self._cpu_seconds() - worked < _AT_WORK_S:
                self._failed(TimeoutError(f"no answer for {_END_S:g} s"))
                break
            if not told:
                self._say(
                    f"tracking: {self._projection.name} is slow, as this machine is busy; Ctrl-C "
                    "leaves, and the next run or orch sync catches up"
                )
            told = True
        return self._caught_up

    def _cpu_seconds(self) -> float:
        """CPU time of a local projection so far; 0 for a server, and where no system tells it."""
        clock = getattr(time, "pthread_getcpuclockid", None)
        if clock is None or not self._projection.is_local or self._thread.ident is None:
            return 0.0
        with contextlib.suppress(OSError):  # the thread has just ended
            return time.clock_gettime(clock(self._thread.ident))
        return 0.0

    def _run(self) -> None:
        reached = self._try(self._projection.begin)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._final or self._changed)
                # This collects epochs that come close together, and spares a lost server.
                self._wake.wait_for(lambda: self._final, _PAUSE_S if reached else _RETRY_S)
                final, batch = self._final, sorted(self._changed)
                self._changed.clear()
            if final is not None:
                self._caught_up = self._try(final)
                return
            reached = self._try(partial(self._projection.update, batch))
            logger.info("%s: %d changed trials", self._projection.name, len(batch) * reached)
            if not reached:
                with self._wake:
                    self._changed.update(batch)

    def _try(self, action: Callable[[], None]) -> bool:
        """Whether `action` worked.  Only the first failure of a series is reported."""
        try:
            action()
        except Exception as error:  # whatever the database raises
            logger.debug("%s", self._projection.name, exc_info=error)
            self._failed(error)
            return False
        if self._out_of_order:
            self._say(f"tracking: {self._projection.name} answers again")
        self._out_of_order = False
        return True

    def _failed(self, error: Exception) -> None:
        if not self._out_of_order:
            what = f"{self._projection.name} does not answer ({root_cause(error)})"
            cause = innermost(error)
            if isinstance(cause, OSError) and cause.filename:  # a folder for artifacts, mostly
                what = f"{self._projection.name} cannot use {cause.filename} ({cause.strerror})"
            if isinstance(error, StoreError):  # of the trials, not of the projection
                what = f"{self._projection.name} waits for the trials: {error}"
            self._say(
                f"tracking: {what}; training goes on, and the next run or orch sync catches up"
            )
        self._out_of_order = True


def innermost(error: BaseException) -> BaseException:
    """The error below all layers of clients and retries."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def root_cause(error: BaseException) -> str:
    """The message of `innermost`, on one line."""
    return first_line(innermost(error))
