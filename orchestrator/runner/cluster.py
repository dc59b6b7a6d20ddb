"""Ray for the time of one sweep: started here and gone afterwards, or a cluster that is there."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.exceptions import AuthenticationError

from orchestrator.errors import UserError
from orchestrator.runner import auth_token, local_ray, nodes
from orchestrator.signals import handled

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec

#: Seconds that a start of Ray which was interrupted may take to its end.
_START_S = 10.0
#: The exit code of what was interrupted.
_INTERRUPTED = 130


class ClusterError(UserError):
    """Ray does not start or answer, or has no room for one trial; the text says which."""


@contextlib.contextmanager
def cluster(wanted: ResourcesSpec, address: str | None, insecure: bool = False) -> Iterator[int]:
    """Ray, and how many trials are given out at the same time.

    Raises `ClusterError` if not even one does, if there is no Ray to be had, or if the nodes of
    the cluster at `address` differ in what a trial's numbers depend on.

    Args:
        insecure: join a cluster that runs anybody's code, too.
    """
    with joined(wanted, address, insecure):
        if address is not None:
            _check_nodes(address, insecure)
        yield _at_once(wanted, growing=address is not None)


@contextlib.contextmanager
def joined(wanted: ResourcesSpec, address: str | None, insecure: bool = False) -> Iterator[None]:
    """Ray alone, whatever its nodes are like.  Raises `ClusterError`."""
    require_token(address, insecure)
    if address is not None and not auth_token.is_set():
        auth_token.do_without()
    for name in ("ray", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder, start = None, None
    try:
        try:
            folder = local_ray.temp_folder() if address is None else None
            start = _Start(wanted, address, folder)
            start.begin()
        except Exception as error:  # ray raises what its processes and sockets give it
            where = "on this machine" if address is None else f"at {address}"
            what = f"Ray does not start or answer {where}: {first_line(error)}"
            if _refused(error):
                what = f"the cluster at {address} refuses this machine's token: {auth_token.REMEDY}"
            raise ClusterError(what) from error
        yield
    finally:
        with handled(signal.SIG_IGN):  # one signal more must not leave half of Ray behind
            if start is not None and start.is_under_way:
                atexit.register(_leave)
                start.quiet.__exit__()  # what is said now is ours
            else:
                ray.shutdown()
            if start is not None:
                start.let_go()
            if folder is not None:
                local_ray.sweep_away(folder)


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def require_token(address: str | None, insecure: bool) -> None:
    """Raise `ClusterError` if a cluster would be joined without a token."""
    if address is None or insecure or auth_token.is_set():
        return
    raise ClusterError(
        f"no token is set for the cluster at {address}: {auth_token.REMEDY}; a cluster that "
        "asks for none runs anybody's code, and is joined with --insecure only"
    )


class _Start(threading.Thread):
    """Starts or joins Ray in a thread of its own, and holds it until `let_go`.

    In the main thread Ray would take SIGTERM from us, and what a signal raises deep in its imports
    is lost; here signals find a thread that waits.  Ray's processes die with the thread that has
    started them (PR_SET_PDEATHSIG), so that it stays.
    """

    def __init__(self, wanted: ResourcesSpec, address: str | None, folder: Path | None):
        super().__init__(name="ray.init", daemon=True)
        self._about = wanted, address, folder
        self.quiet = _Quiet()
        self._error: BaseException | None = None
        self._up, self._over = threading.Event(), threading.Event()

    @property
    def is_under_way(self) -> bool:
        return self.is_alive() and not self._up.is_set()

    def run(self) -> None:
        try:
            _init(self.quiet, *self._about)
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


def _init(quiet: _Quiet, wanted: ResourcesSpec, address: str | None, folder: Path | None) -> None:
    if address is not None:
        with quiet:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        return
    assert folder is not None
    local_ray.start(wanted, folder)


class _Quiet:
    """Nothing on this process's stderr: Ray's core writes a line there every second while a cluster
    does not let it in, which no setting prevents.  Any thread may end it."""

    def __init__(self) -> None:
        self._kept: list[int] = []

    def __enter__(self) -> None:
        self._kept.append(os.dup(2))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    def __exit__(self, *error: object) -> None:
        while self._kept:
            kept = self._kept.pop()
            os.dup2(kept, 2)
            os.close(kept)


def _refused(error: BaseException | None) -> bool:
    """Whether the cluster did not take our token; Ray wraps that into what does not say so."""
    while error is not None:
        if isinstance(error, AuthenticationError) or "AuthenticationError" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_nodes(address: str, insecure: bool) -> None:
    """No node runs anybody's code, and all run the same."""
    ours = nodes.versions()()["versions"]
    there = [node for node in nodes.nodes() if not node.draining]
    problems, open_ = [], []
    for node, answer in nodes.ask(there, nodes.versions()).items():
        if isinstance(answer, Exception):
            problems.append(f"node {node.name} does not answer: {first_line(answer)}")
            continue
        problems += nodes.differences(node.name, answer["versions"], ours)
        open_ += [] if answer["token"] else [node.name]
    if open_ and not insecure:
        raise ClusterError(
            f"the cluster at {address} asks for no token and runs anybody's code (nodes "
            f"{', '.join(open_)}): start it with RAY_AUTH_MODE=token, or join with --insecure"
        )
    if problems:
        lines = "\n".join(problems)
        raise ClusterError(f"{lines}\ninstall the same versions on all nodes (constraints.txt)")


def _at_once(wanted: ResourcesSpec, growing: bool) -> int:
    """What fits here; in a cluster as many as are wanted: trials that wait are what its autoscaler
    adds nodes for, and nodes that join later have work."""
    found = ray.cluster_resources()
    cpus, gpus = found.get("CPU", 0.0), found.get("GPU", 0.0)
    if wanted.gpu > gpus:
        raise ClusterError(
            f"resources.gpu: a trial wants {wanted.gpu:g}, {gpus:g} found; "
            "use a machine with a GPU or --set resources.gpu=0"
        )
    if wanted.cpu > cpus:
        raise ClusterError(f"resources.cpu: a trial wants {wanted.cpu:g}, {cpus:g} found")
    if growing:
        return wanted.max_concurrent
    return max(1, min(wanted.max_concurrent, wanted.places(cpus, gpus)))
