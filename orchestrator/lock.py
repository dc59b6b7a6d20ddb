"""The lock of a sweep: one driver at a time writes to a sweep's folder.

The lock is a file that names its holder (host, process, start).  It appears complete or not at all:
the content is written beside it and hard-linked into place, which fails if the name is taken.  A
lock whose process is gone on this host is broken; one held on another host never is, because only
that host knows whether the process lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from trainer.store import write_whole


class Locked(Exception):
    """Another driver holds the sweep; the text names it and the way out."""


class SweepLock:
    """Context manager around `path`; raises `Locked` on entry if another driver holds it."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> SweepLock:
        mine = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._content = json.dumps(_holder())
        write_whole(mine, self._content.encode())
        try:
            self._claim(mine)
        finally:
            mine.unlink(missing_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(FileNotFoundError):  # somebody deleted it by hand
            if self.path.read_text(encoding="utf-8") == self._content:
                self.path.unlink()

    def _claim(self, mine: Path) -> None:
        for _ in range(10):  # each round breaks one stale lock; rivals may interleave
            try:
                os.link(mine, self.path)
                return
            except FileExistsError:
                self._break_if_stale()
        raise Locked(f"{self.path}: taken again and again by other drivers; try again later")

    def _break_if_stale(self) -> None:
        """Remove the lock if its process is gone, else raise `Locked`."""
        try:
            content = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return  # its holder has just finished
        holder = _parse(content)
        here = (holder.get("host"), holder.get("pids")) == (socket.gethostname(), _pids())
        if not here or _alive(holder):
            raise Locked(
                f"{self.path}: held by process {holder.get('pid')} on {holder.get('host')} since "
                f"{holder.get('started')}; wait for it, or if that host is lost, delete this file"
            )
        aside = self.path.with_name(f".{self.path.name}.stale.{os.getpid()}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return  # a rival broke it first
        if aside.read_text(encoding="utf-8") != content:
            with contextlib.suppress(FileExistsError):  # a third one holds it now
                os.link(aside, self.path)  # a rival broke it and holds a fresh one: put it back
        aside.unlink()


def _holder() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pids": _pids(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "process_start": _process_start(os.getpid()),
    }


def _pids() -> str:
    """Which numbering of processes this one lives in: containers may share a host's name."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _parse(content: str) -> dict[str, Any]:
    """An unreadable lock names nobody on this host, so that it is never broken."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _alive(holder: dict[str, Any]) -> bool:
    """Whether the very process lives; a process number that was given again does not count."""
    pid = holder.get("pid")
    if not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives and belongs to somebody else
    return holder.get("process_start") == _process_start(pid)


def _process_start(pid: int) -> str | None:
    """Boot and clock tick at which a process began (Linux); None where that is not known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    if fields[0] == "Z":  # killed, not yet collected by its parent
        return None
    return f"{boot}:{fields[19]}"
