"""Ray for the time of one sweep: started here and gone afterwards, or a cluster that is there."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from orchestrator.runner import here
from orchestrator.runner.stopping import handled

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec

#: Seconds that a start of Ray which was interrupted may take to its end.
_START_S = 10.0
#: The exit code of what was interrupted.
_INTERRUPTED = 130


class ClusterError(Exception):
    """Ray does not start or answer, or has no room for one trial; the text says which."""


@contextlib.contextmanager
def cluster(wanted: ResourcesSpec, address: str | None) -> Iterator[int]:
    """Ray, and how many trials fit into it at the same time.

    Raises `ClusterError` if not even one does, or if there is no Ray to be had.
    """
    for name in ("ray", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder, start = None, None
    try:
        try:
            folder = here.temp_folder() if address is None else None
            start = _Start(wanted, address, folder)
            start.begin()
        except Exception as error:  # ray raises what its processes and sockets give it
            first = str(error).strip().partition("\n")[0]
            where = "on this machine" if address is None else f"at {address}"
            raise ClusterError(f"Ray does not start or answer {where}: {first}") from error
        yield _fitting(wanted)
    finally:
        with handled(signal.SIG_IGN):  # one signal more must not leave half of Ray behind
            if start is not None and start.is_under_way:
                atexit.register(_leave)
            else:
                ray.shutdown()
            if start is not None:
                start.let_go()
            if folder is not None:
                here.sweep_away(folder)


class _Start(threading.Thread):
    """Starts or joins Ray in a thread of its own, and holds it until `let_go`.

    In the main thread Ray would take SIGTERM from us, and what a signal raises deep in its imports
    is lost; here signals find a thread that waits.  Ray's processes die with the thread that has
    started them (PR_SET_PDEATHSIG), so that it stays.
    """

    def __init__(self, wanted: ResourcesSpec, address: str | None, folder: Path | None):
        super().__init__(name="ray.init", daemon=True)
        self._about = wanted, address, folder
        self._error: BaseException | None = None
        self._up, self._over = threading.Event(), threading.Event()

    @property
    def is_under_way(self) -> bool:
        return self.is_alive() and not self._up.is_set()

    def run(self) -> None:
        try:
            _init(*self._about)
        except BaseException as error:  # raised again by begin()
            self._error = error
        self._up.set()
        self._over.wait()

    def begin(self) -> None:
        """Have Ray there; raises what it raises.

        Behind a first signal Ray may get up for `_START_S`, so that it can be shut down in order;
        if the signal has ended its processes, it does not.  A second one does not wait.
        """
        try:
            self.start()
            self._up.wait()
        except KeyboardInterrupt:
            self._up.wait(_START_S)
            raise
        if self._error is not None:
            raise self._error

    def let_go(self) -> None:
        """Ray is not needed any more."""
        self._over.set()


def _leave() -> None:
    """Leave without Ray's goodbye, which waits a minute for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def _init(wanted: ResourcesSpec, address: str | None, folder: Path | None) -> None:
    if address is not None:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        return
    assert folder is not None
    here.start(wanted, folder)


def _fitting(wanted: ResourcesSpec) -> int:
    found = ray.cluster_resources()
    cpus, gpus = found.get("CPU", 0.0), found.get("GPU", 0.0)
    if wanted.gpu > gpus:
        raise ClusterError(
            f"resources.gpu: a trial wants {wanted.gpu:g}, {gpus:g} found; "
            "use a machine with a GPU or --set resources.gpu=0"
        )
    if wanted.cpu > cpus:
        raise ClusterError(f"resources.cpu: a trial wants {wanted.cpu:g}, {cpus:g} found")
    limits = [wanted.max_concurrent or math.inf]
    limits += [cpus // wanted.cpu] if wanted.cpu else []
    limits += [gpus // wanted.gpu] if wanted.gpu else []
    fits = min(limits)
    return max(1, int(fits)) if math.isfinite(fits) else 1
