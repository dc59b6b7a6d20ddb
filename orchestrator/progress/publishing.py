"""Writes a sweep's status beside its trials, and hears requests to stop it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from orchestrator.interrupts import cleanup
from orchestrator.ledger import Ledger
from orchestrator.ledger.driver_status import STATUS, DriverStatus, write_status
from orchestrator.ledger.stop_request import STOP, requested
from orchestrator.progress.state import SweepState
from trainer.storage.folder import StoreError

#: Seconds between two looks, in a folder and in an object store, and between heartbeats.
_EVERY_S, _REMOTE_S, _HEARTBEAT_S = 1.0, 5.0, 10.0


@contextlib.contextmanager
def published(
    state: SweepState, ledger: Ledger, holder: dict[str, Any], stop: Callable[[], None]
) -> Iterator[None]:
    """Publish the state while the sweep's lock is held; afterwards remove the files.

    Args:
        holder: of the lock.
        stop: called once for a request to stop, and twice for one to stop at once.
    """
    state.belongs_to(holder)
    _remove(ledger)
    publisher = _Publisher(state, ledger, holder, stop)
    publisher.start()
    try:
        with cleanup(partial(_remove, ledger)):
            yield
    finally:
        publisher.end()
        _remove(ledger)


def _remove(ledger: Ledger) -> None:
    with contextlib.suppress(OSError, StoreError):
        ledger.folder.delete(STOP)
        ledger.folder.delete(STATUS)


class _Publisher(threading.Thread):
    def __init__(
        self,
        state: SweepState,
        ledger: Ledger,
        holder: dict[str, Any],
        stop: Callable[[], None],
    ):
        super().__init__(name="status", daemon=True)
        self._state, self._ledger, self._holder, self._stop_sweep = state, ledger, holder, stop
        self._over = threading.Event()
        self._pause = _EVERY_S if ledger.folder.local is not None else _REMOTE_S
        self._written: DriverStatus | None = None
        self._asked = 0

    def run(self) -> None:
        while True:
            self._write()
            if self._over.wait(self._pause):
                return
            self._hear()

    def end(self) -> None:
        """Stop; a write that hangs is not waited for."""
        self._over.set()
        self.join(2 * self._pause)

    def _write(self) -> None:
        status = self._state.status()
        before = self._written
        if before is not None and status.heartbeat - before.heartbeat < _HEARTBEAT_S:
            clocks = {key: getattr(before, key) for key in ("heartbeat", "elapsed", "seconds_left")}
            if replace(status, **clocks) == before:
                return
        if write_status(self._ledger.folder, status):
            self._written = status

    def _hear(self) -> None:
        with contextlib.suppress(OSError, StoreError):
            wanted = requested(self._ledger.folder, self._holder)
            while self._asked < wanted and not self._over.is_set():
                if self._asked:
                    time.sleep(0.5)  # signals that come together count as one
                self._asked += 1
                self._stop_sweep()
