"""Ray for the time of one sweep: started here and stopped afterwards, or an existing cluster."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import AuthenticationError

from orchestrator.errors import first_line
from orchestrator.interrupts import cleanup
from orchestrator.runner import auth_token, local_ray, nodes
from orchestrator.runner.growing import await_room, check_room
from orchestrator.runner.nodes import ClusterError
from orchestrator.signals import handled, renew

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec

logger = logging.getLogger(__name__)

#: Seconds after which we say that Ray is still starting.
_TELL_S = 60.0
#: Seconds that an interrupted start of Ray may take to finish.
_START_S = 10.0
#: The exit code after an interrupt.
_INTERRUPTED = 130


class StartError(ClusterError):
    """Ray does not start on this machine, which may be too busy or too full: no wrong input."""

    exit_code = 1


@contextlib.contextmanager
def cluster(
    wanted: ResourcesSpec,
    address: str | None,
    insecure: bool = False,
    say: Callable[[str], None] = logger.info,
) -> Iterator[int]:
    """Ray, and how many trials are started at the same time.

    Args:
        address: of a cluster to join; None starts Ray on this machine.
        insecure: also join a cluster that demands no token.
        say: shows a message to the user while Ray takes long.

    On a cluster whose autoscaler adds nodes, this waits for one with room for a trial.

    Raises `ClusterError` if Ray does not start or answer, if not one trial fits, or if the
    cluster's nodes have different versions of what a trial's numbers depend on.
    """
    with joined(address, insecure, say):
        if address is None:
            yield _at_once(wanted)
            return
        _check_nodes(address, insecure)
        if await_room(wanted, say):
            _check_nodes(address, insecure)  # also the node that has come
        yield wanted.max_concurrent  # an autoscaler adds nodes for trials that wait


@contextlib.contextmanager
def joined(
    address: str | None,
    insecure: bool = False,
    say: Callable[[str], None] = logger.info,
) -> Iterator[None]:
    """Ray without any check of its nodes.  Arguments and errors as of `cluster`."""
    require_token(address, insecure)
    if address is not None and not auth_token.is_set():
        auth_token.do_without()
    for name in ("ray", "ray.tune", "ray.train", "ray._private"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    folder, start = None, None
    leaving = contextlib.ExitStack()
    try:
        try:
            folder = local_ray.temp_folder() if address is None else None
            start = _Start(address, folder)
            leaving.enter_context(cleanup(start.quiet.__exit__))
            if folder is not None:
                leaving.enter_context(cleanup(partial(local_ray.end_session, folder)))
            start.begin(say)
        except Exception as error:  # Ray passes on whatever its processes and sockets raise
            raise _explained(error, address) from error
        yield
    finally:
        # Another signal must not leave half of Ray behind.  It is heard, see `interrupts`.
        with handled(lambda number, frame: None):
            if start is not None and start.is_under_way:
                atexit.register(_leave)
                start.quiet.__exit__()  # from now on stderr is ours
            else:
                _shut_down()
            if start is not None:
                start.finish()
            if folder is not None:
                local_ray.sweep_away(folder)
                auth_token.forget()  # a cluster that is joined later has another one
            leaving.close()


def _shut_down() -> None:
    """`ray.shutdown`, over which SIGTERM is still heard.

    Its first half gives SIGTERM its default action, behind Python's back.  Its second half ends
    Ray's processes, which takes a second, so the handlers come back before it.
    """
    node: Any = ray._private.worker._global_node
    if node is not None:
        end_processes = node.kill_all_processes

        def heard(*args: Any, **kwargs: Any) -> None:
            renew()
            end_processes(*args, **kwargs)

        node.kill_all_processes = heard
    ray.shutdown()
    renew()


def require_token(address: str | None, insecure: bool) -> None:
    """Raise `ClusterError` if a cluster would be joined without a token."""
    if address is None or insecure or auth_token.is_set():
        return
    raise ClusterError(
        f"no token is set for the cluster at {address}: {auth_token.REMEDY}; a cluster that "
        "demands no token runs anybody's code, so joining it takes --insecure"
    )


class _Start(threading.Thread):
    """Starts or joins Ray in its own thread, which lives until `finish`.

    In the main thread Ray would replace our SIGTERM handler, and an exception that a signal raises
    inside Ray's imports is lost.  Here the main thread only waits.  Ray's processes die with the
    thread that started them (PR_SET_PDEATHSIG), so the thread stays alive.
    """

    def __init__(self, address: str | None, folder: Path | None):
        super().__init__(name="ray.init", daemon=True)
        self._about = address, folder
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

    def begin(self, say: Callable[[str], None]) -> None:
        """Start and wait until Ray is up; raises what Ray raises.

        After a first signal Ray has `_START_S` to come up, so that it can be shut down in order.
        A second signal does not wait.
        """
        try:
            begun = time.monotonic()
            self.start()
            while not self._up.wait(_TELL_S):
                say(f"Ray is still starting: {time.monotonic() - begun:.0f} s; Ctrl-C leaves")
        except KeyboardInterrupt:
            self._up.wait(_START_S)
            raise
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Ray is no longer needed."""
        self._over.set()


def _explained(error: Exception, address: str | None) -> ClusterError:
    """What a user can do about a Ray that does not start or answer."""
    if address is None:
        return StartError(
            f"Ray does not start on this machine: {first_line(error)}; orch doctor checks memory, "
            "/dev/shm and folders; then run the same command again"
        )
    if _refused(error):
        refusal = "refuses the token of this machine"
        return ClusterError(f"the cluster at {address} {refusal}: {auth_token.REMEDY}")
    return ClusterError(f"Ray does not start or answer at {address}: {first_line(error)}")


def _leave() -> None:
    """Exit without Ray's own exit handler, which waits a minute for processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_INTERRUPTED)


def _init(quiet: _Quiet, address: str | None, folder: Path | None) -> None:
    if address is not None:
        with quiet:
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        return
    assert folder is not None
    local_ray.start(folder)


class _Quiet:
    """Silences this process's stderr.  Any thread may end it.

    While a cluster refuses to let Ray in, Ray's core writes a line there every second, and no
    setting prevents it.
    """

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
    """Whether the cluster refused our token; Ray wraps that error into others."""
    while error is not None:
        if isinstance(error, AuthenticationError) or "AuthenticationError" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _check_nodes(address: str, insecure: bool) -> None:
    """Every node demands a token and has this machine's versions."""
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
            f"the cluster at {address} demands no token and so runs anybody's code (nodes "
            f"{', '.join(open_)}): start it with RAY_AUTH_MODE=token, or join with --insecure"
        )
    if problems:
        lines = "\n".join(problems)
        raise ClusterError(f"{lines}\ninstall the same versions on all nodes (constraints.txt)")


def _at_once(wanted: ResourcesSpec) -> int:
    """How many trials train at the same time on this machine: as many as fit."""
    check_room(wanted)
    there = ray.cluster_resources()
    places = wanted.places(there.get("CPU", 0.0), there.get("GPU", 0.0))
    return max(1, min(wanted.max_concurrent, places))
