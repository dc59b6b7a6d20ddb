"""The sweep is this driver's: its lock, its status, requests to stop, and how it leaves at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from functools import partial

from orchestrator import interrupts
from orchestrator.ledger import Ledger
from orchestrator.ledger.sweep_lock import SweepLock
from orchestrator.progress.events import Progress
from orchestrator.progress.publishing import published
from orchestrator.signals import terminate_is_interrupt

#: Where nothing is committed, an interrupted driver leaves after so many seconds at the latest.
LEAVE_S = 5.0


def signals_for_a_sweep() -> contextlib.AbstractContextManager[None]:
    """SIGTERM is SIGINT, unless the command has its own `Interrupts`."""
    return contextlib.nullcontext() if interrupts.answered() else terminate_is_interrupt()


@contextlib.contextmanager
def owned(ledger: Ledger, progress: Progress) -> Iterator[None]:
    """The sweep is ours: others see its status, and may ask for a stop."""
    in_main_thread = threading.current_thread() is threading.main_thread()

    def stop() -> None:
        if in_main_thread:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            progress.stops_asked += 1

    lock = SweepLock(ledger.folder)
    with (
        lock,
        interrupts.cleanup(lock.release),
        published(progress.state, ledger, lock.holder, stop),
        interrupts.cleanup(partial(_delete_halves, ledger, progress)),
        interrupts.during(f"stopping: no trial is in an epoch; at most {LEAVE_S:g} s", LEAVE_S),
    ):
        yield


def _delete_halves(ledger: Ledger, progress: Progress) -> None:
    """Delete what the killed workers of a driver that leaves at once did not finish."""
    for trial in progress.state.status().trials:
        ledger.trials_folder.child(trial.trial_id).delete_partial_files()
