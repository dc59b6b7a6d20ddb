"""Ray for the time of one sweep: started here and gone afterwards, or a cluster that is there."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from orchestrator.runner.stopping import handled

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec

_TEMP_PREFIX = "orch-ray-"
#: Close to Ray's least; nothing of ours travels through its object store.
_OBJECT_STORE_BYTES = 80 * 1024 * 1024

#: Seconds that a start of Ray which was interrupted may take to its end.
_START_S = 10.0
#: The exit code of what was interrupted.
_INTERRUPTED = 130
#: Seconds in which Ray's last processes may hinder the deletion of their folder.
_SWEEP_S = 5.0


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
            folder = temp_folder() if address is None else None
            start = _Start(wanted, address, folder)
            start.finish()
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
                _sweep_away(folder)


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
        self.start()

    @property
    def is_under_way(self) -> bool:
        return not self._up.is_set()

    def run(self) -> None:
        try:
            _init(*self._about)
        except BaseException as error:  # raised again by finish()
            self._error = error
        self._up.set()
        self._over.wait()

    def finish(self) -> None:
        """Wait until Ray is there; raises what it raises.

        Behind a first signal Ray may get up, so that it can be shut down in order; a second one
        does not wait, and neither does anybody for a Ray whose processes the signal has ended.
        """
        try:
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
    if not (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # for this process's Ray alone
    ray.init(
        num_cpus=max(os.cpu_count() or 1, math.ceil(wanted.cpu)),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=_OBJECT_STORE_BYTES,
        _temp_dir=str(folder),
        _node_ip_address="127.0.0.1",
    )


def _sweep_away(folder: Path) -> None:
    """End what is left of the Ray session in `folder`, and delete it.

    Ray asks its processes to end and waits a second or so; a worker in a long computation is
    not always gone then, and one that is just starting makes the folder anew.
    """
    end = time.monotonic() + _SWEEP_S
    while True:
        _kill_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > end:
            return
        time.sleep(0.1)


def _kill_processes(folder: Path) -> None:
    """They are told by the files that they hold open, and by the arguments that Ray gave them.

    Linux only: elsewhere they end by themselves, later.
    """
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = [os.readlink(file) for file in (process / "fd").iterdir()]
            arguments = (process / "cmdline").read_text(errors="replace")
        except OSError:
            continue  # it has just ended, or is somebody else's
        pid, inside = int(process.name), f"{folder}/"
        # The folder's name holds this process's id and six random letters: nobody else has it.
        theirs = inside in arguments or any(name.startswith(inside) for name in held)
        if pid != os.getpid() and theirs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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


def temp_folder() -> Path:
    """A short path (for Ray's sockets); what drivers that were killed left is swept away first,
    the processes included: their workers go on for seconds, Ray's agents for a minute or more."""
    root = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
    for old in root.glob(f"{_TEMP_PREFIX}*"):
        pid = old.name.removeprefix(_TEMP_PREFIX).split("-")[0]
        if pid.isdigit() and Path("/proc/self").exists() and not Path(f"/proc/{pid}").exists():
            _sweep_away(old)
    return Path(tempfile.mkdtemp(prefix=f"{_TEMP_PREFIX}{os.getpid()}-", dir=root))
