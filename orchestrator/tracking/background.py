"""Keeps pictures of a sweep up to date while it runs, each in a thread that nobody waits for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from trainer.storage.folder import StoreError

logger = logging.getLogger(__name__)

#: Seconds between rounds: each takes CPU time from the training that it reports.
_PAUSE_S = 5.0
#: Seconds before a server that did not answer is asked again.
_RETRY_S = 30.0
#: Seconds without a trial drawn after which the end of a sweep does not wait for a picture.
_END_S = 30.0


class Projection(Protocol):
    """What can be thrown away and drawn again from the ledger.

    Every method may raise whatever its database raises, at any point; called again it completes
    what is missing and repeats nothing.
    """

    #: What a user calls it, with its address: `MLflow at http://...`.
    name: str

    @property
    def drawn(self) -> int:
        """Grows with what is drawn: a picture in which it stands still for long is stuck."""

    def begin(self) -> None:
        """The sweep runs."""

    def update(self, trial_ids: Iterable[str]) -> None:
        """These trials have a new epoch or their end."""

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        """All of the sweep's trials; `status` is FINISHED, FAILED or KILLED (interrupted)."""


class BackgroundProjection:
    """Draws one picture in a thread of its own; nothing here can stop training."""

    def __init__(self, picture: Projection, say: Callable[[str], None]):
        self._picture = picture
        self._say = say
        self._changed: set[str] = set()
        self._wake = threading.Condition()
        self._final: Callable[[], None] | None = None
        self._caught_up = False
        self._out_of_order = False
        self._thread = threading.Thread(target=self._run, name=picture.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def changed(self, trial_id: str) -> None:
        """Note that a trial has a new epoch or its end; returns at once."""
        with self._wake:
            self._changed.add(trial_id)
            self._wake.notify()

    def close(self, status: str, trial_ids: Iterable[str]) -> bool:
        """Draw everything once more and stop the thread; False if the database is out of reach.

        A database that hangs is left alone `_END_S` after the last trial that it took.
        """
        ids = list(trial_ids)
        with self._wake:
            self._final = partial(self._picture.finish, status, ids)
            self._wake.notify()
        drawn = -1
        while self._thread.is_alive() and drawn != self._picture.drawn:
            drawn = self._picture.drawn
            self._thread.join(_END_S)
        if self._thread.is_alive():
            self._failed(TimeoutError(f"no answer for {_END_S:g} s"))
        return self._caught_up

    def _run(self) -> None:
        reached = self._try(self._picture.begin)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._final or self._changed)
                # Lets epochs that come close together go in one round, and a lost server rest.
                self._wake.wait_for(lambda: self._final, _PAUSE_S if reached else _RETRY_S)
                final, batch = self._final, sorted(self._changed)
                self._changed.clear()
            if final is not None:
                self._caught_up = self._try(final)
                return
            reached = self._try(partial(self._picture.update, batch))
            if not reached:
                with self._wake:
                    self._changed.update(batch)

    def _try(self, action: Callable[[], None]) -> bool:
        """Whether `action` went through; the first failure of a series is said."""
        try:
            action()
        except Exception as error:  # whatever the picture's database raises
            logger.debug("%s", self._picture.name, exc_info=error)
            self._failed(error)
            return False
        if self._out_of_order:
            self._say(f"tracking: {self._picture.name} answers again")
        self._out_of_order = False
        return True

    def _failed(self, error: Exception) -> None:
        if not self._out_of_order:
            what = f"{self._picture.name} does not answer ({root_cause(error)})"
            cause = innermost(error)
            if isinstance(cause, OSError) and cause.filename:  # a folder for artifacts, mostly
                what = f"{self._picture.name} cannot use {cause.filename} ({cause.strerror})"
            if isinstance(error, StoreError):  # the trials lie elsewhere than the picture
                what = f"{self._picture.name} waits for the trials: {error}"
            self._say(
                f"tracking: {what}; training goes on, it is caught up by the next run or orch sync"
            )
        self._out_of_order = True


def innermost(error: BaseException) -> BaseException:
    """What lies below the layers of clients and retries."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def root_cause(error: BaseException) -> str:
    """What `innermost` says, on one line."""
    error = innermost(error)
    return str(error).strip().partition("\n")[0] or type(error).__name__
