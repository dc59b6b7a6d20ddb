"""Whether this user may start as many processes and threads as Ray needs.

Where they run out while Ray starts, its core ends the whole driver without a word, so that is
checked before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import SweepError
from orchestrator.spec.models import ResourcesSpec

#: Threads of the driver and of Ray's daemons, and those of each trial that trains at a time.
#: Measured on a machine of 2 CPUs; more CPUs take more.
_DAEMONS, _TRIAL = 170, 20
#: Where control groups are.
_ROOT = Path("/sys/fs/cgroup")


def check_processes(wanted: ResourcesSpec, proc: Path = Path("/proc")) -> None:
    """Check the limits on processes and threads (Linux).

    Args:
        proc: the folder of processes; another one in tests.

    Raises `SweepError`, with the limit to raise.
    """
    at_once = max(1, int((os.cpu_count() or 1) / wanted.cpu))
    at_once = min(at_once, wanted.max_concurrent or at_once)
    needed = _DAEMONS + _TRIAL * at_once
    for name, limit, used in _limits(proc):
        if limit - used < needed:
            trials = "1 trial" if at_once == 1 else f"{at_once} trials"
            raise SweepError(
                f"{name}: {limit} processes and threads are allowed and {used} are there, but a "
                f"sweep with {trials} at once needs about {needed} more; raise the limit"
            )


def _limits(proc: Path) -> Iterator[tuple[str, int, int]]:
    """What limits processes here: its name, how many it allows, and how many there are."""
    if sys.platform != "linux":
        return
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if limit != resource.RLIM_INFINITY and os.getuid() != 0:  # it does not bind root
        yield "ulimit -u", limit, _threads(proc)
    for group in _groups(proc):
        allowed, used = _number(group / "pids.max"), _number(group / "pids.current")
        if allowed is not None and used is not None:
            yield str(group / "pids.max"), allowed, used


def _threads(proc: Path) -> int:
    """How many threads this user has."""
    count = 0
    for status in proc.glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue  # it has just ended
        values = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        if values.get("Uid", "").split("\t")[0] == str(os.getuid()):
            count += int(values.get("Threads", "1"))
    return count


def _groups(proc: Path) -> Iterator[Path]:
    """The control groups of this process, each with those that contain it (versions 1 and 2)."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "pids"):
            continue
        root = _ROOT / controllers
        group = root / path.lstrip("/")
        yield from [each for each in (group, *group.parents) if each.is_relative_to(root)]


def _number(file: Path) -> int | None:
    """The number in a file; None without one (`max`)."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
