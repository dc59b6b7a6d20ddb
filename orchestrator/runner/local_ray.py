"""Ray on this machine only: its folder, its start on 127.0.0.1, and the removal of its remains."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import ray
from ray._private import ray_constants

from orchestrator.environment import without
from orchestrator.runner import auth_token

_TEMP_PREFIX = "orch-ray-"
#: Short, because a socket's path has at most 107 characters.
_RAYS_OWN = "r"
#: Close to Ray's minimum; we send nothing through its object store.
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
#: Seconds for which we retry while Ray's last processes block the deletion of their folder.
_SWEEP_S = 5.0

#: Ray gives its own processes 30 s to start, which a busy machine may exceed; a user's value wins.
_PATIENCE = {"RAY_gcs_server_port_wait_time_s": "180", "RAY_raylet_start_wait_time_s": "180"}

_IS_LINUX = Path("/proc/self").exists()


def start(folder: Path) -> None:
    """Start Ray for this process only, whatever the environment says about clusters.

    Args:
        folder: of this user alone.  Ray opens its own folder and its sockets to everybody, so they
            are below it.
    """
    with (
        without("Ray", "Ray Tune"), _with_patience(), _loopback_only(), auth_token.of_our_own()
    ):  # fmt: skip
        ray.init(
            address="local",
            num_cpus=os.cpu_count() or 1,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=str(folder / _RAYS_OWN),
        )


def temp_folder() -> Path:
    """A new folder of this user alone, with a short path, as Ray's sockets need it.

    First removes what killed drivers left, with its processes: workers live on for seconds, Ray's
    agents for a minute or more.
    """
    root = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
    for old in root.glob(f"{_TEMP_PREFIX}*"):
        pid = old.name.removeprefix(_TEMP_PREFIX).split("-")[0]
        if not (_IS_LINUX and pid.isdigit()) or Path(f"/proc/{pid}").exists():
            continue
        with contextlib.suppress(FileNotFoundError):  # another driver has just deleted it, too
            if old.stat().st_uid == os.getuid():
                sweep_away(old)
    return Path(tempfile.mkdtemp(prefix=f"{_TEMP_PREFIX}{os.getpid()}-", dir=root))


def sweep_away(folder: Path) -> None:
    """End the remaining processes of the Ray session in `folder`, and delete it.

    Ray itself waits a second or so for its processes.  A worker in a long computation may outlive
    that, and one that is just starting creates the folder again.
    """
    end = time.monotonic() + _SWEEP_S
    while True:
        kill_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > end:
            return
        time.sleep(0.1)


def end_session(folder: Path) -> None:
    """The same at once, for a driver that is leaving: it waits for nothing."""
    for _ in range(3):
        kill_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


def kill_processes(folder: Path) -> None:
    """Kill the processes of the Ray session in `folder` (Linux; elsewhere they end by themselves).

    We recognise them by their open files and by their arguments.  A process that has only the
    folder itself open is another sweep, which is deleting it, too.
    """
    for process in Path("/proc").glob("[0-9]*"):
        try:
            held = [name for file in (process / "fd").iterdir() if (name := _held_file(file))]
            arguments = (process / "cmdline").read_text(errors="replace")
        except OSError:
            continue  # it has just ended, or belongs to somebody else
        pid, inside = int(process.name), f"{folder}/"
        # The folder's name has the driver's id and random letters, so nobody else uses it.
        theirs = inside in arguments or any(name.startswith(inside) for name in held)
        if pid != os.getpid() and theirs:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _held_file(file: Path) -> str:
    """The path of a descriptor in /proc; empty for a folder, or if it was just closed."""
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(file.stat().st_mode):
            return os.readlink(file)
    return ""


@contextlib.contextmanager
def _with_patience() -> Iterator[None]:
    added = {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ |= added
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextlib.contextmanager
def _loopback_only() -> Iterator[None]:
    """Let Ray listen on 127.0.0.1, as it does on Windows and macOS.

    On Linux it always listens on all interfaces, so that other nodes could join.
    """
    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(name)
    ray_constants.ENABLE_RAY_CLUSTER = False  # Ray read the variable at its import
    os.environ[name] = "0"  # for the processes that Ray starts
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before[0]
        os.environ.pop(name)
        if before[1] is not None:
            os.environ[name] = before[1]
