"""The lock of a sweep: one driver at a time writes to a sweep's folder.

What locks is a file that names its holder (host, process, start).  In a folder of a filesystem it
is `lock`: it appears complete or not at all, because the content is written beside it and
hard-linked into place, which fails if the name is taken (over NFS too).  An object store knows no
such step: there every driver puts a claim of its own, `lock/<uuid>.json`, and then looks for
others.  Of two that come at the same moment at least one sees the other and withdraws, as listings
show every claim that was put before.

A holder whose process is gone on this host is swept aside; one on another host never is, because
only that host knows whether the process lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
import uuid
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.errors import UserError
from trainer.storage.folder import Folder, StoreError
from trainer.storage.local_folder import write_whole
from trainer.storage.open import open_folder

LOCK = "lock"
#: How often a claim is put anew when others come and go, and the longest pause before that.
_CLAIMS, _PAUSE_S = 6, 0.5


class Locked(UserError):
    """Another driver holds the sweep; the text names it and the way out."""


class SweepLock:
    """Context manager around a sweep's folder; raises `Locked` on entry if a driver holds it."""

    def __init__(self, folder: str | os.PathLike[str] | Folder):
        folder = open_folder(folder)
        content = json.dumps(_holder())
        local = folder.local
        self._held: _Held = _Claim(folder, content) if local is None else _Link(local, content)

    def __enter__(self) -> SweepLock:
        self._held.take()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.release()


class _Held(ABC):
    """A way of holding a folder."""

    @abstractmethod
    def take(self) -> None:
        """Raises `Locked`."""

    @abstractmethod
    def release(self) -> None:
        """Let go; somebody may have deleted the file by hand."""


class _Link(_Held):
    """The file `lock`, hard-linked into place."""

    def __init__(self, folder: Path, content: str):
        self.path = folder / LOCK
        self._content = content

    def take(self) -> None:
        mine = self.path.with_name(f".{LOCK}.{uuid.uuid4()}")
        write_whole(mine, self._content.encode())
        try:
            self._link(mine)
        finally:
            mine.unlink(missing_ok=True)

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.path.read_text(encoding="utf-8") == self._content:
                self.path.unlink()

    def _link(self, mine: Path) -> None:
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
            content = self.path.read_bytes()
        except FileNotFoundError:
            return  # its holder has just finished
        holder = _parse(content)
        if not _gone(holder):
            raise Locked(_refusal(str(self.path), holder))
        aside = self.path.with_name(f".{LOCK}.stale.{uuid.uuid4()}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return  # a rival broke it first
        if aside.read_bytes() != content:
            with contextlib.suppress(FileExistsError):  # a third one holds it now
                os.link(aside, self.path)  # a rival broke it and holds a fresh one: put it back
        aside.unlink()


class _Claim(_Held):
    """A file of one's own in the folder `lock`, beside which there is no other."""

    def __init__(self, folder: Folder, content: str):
        self.folder = folder.child(LOCK)
        self._content = content
        self._mine = ""

    def take(self) -> None:
        rivals: dict[str, dict[str, Any]] = {}
        for attempt in range(_CLAIMS):
            if attempt:
                time.sleep(random.uniform(0, _PAUSE_S))
            seen, rivals = rivals, self._claim()
            if not rivals:
                return
            settled = seen.keys() & rivals.keys()
            if settled:  # it was there before too; one that only came along has withdrawn
                name = min(settled)
                raise Locked(_refusal(self.folder.child(name).path, rivals[name]))
        raise Locked(f"{self.folder.path}: other drivers come and go; try again later")

    def release(self) -> None:
        with contextlib.suppress(StoreError):  # out of reach: this host breaks the claim later
            self.folder.delete(self._mine)

    def _claim(self) -> dict[str, dict[str, Any]]:
        """Put a claim; withdrawn again if there are others that live, which are returned."""
        self._mine = f"{uuid.uuid4()}.json"
        try:
            self.folder.write(self._mine, self._content.encode())
            rivals = self._rivals()
        except BaseException:
            self.release()
            raise
        if rivals:
            self.release()
        return rivals

    def _rivals(self) -> dict[str, dict[str, Any]]:
        found = {}
        for name in self.folder.names():
            content = self.folder.read(name) if name != self._mine else None
            if content is None:
                continue  # it was withdrawn meanwhile
            holder = _parse(content)
            if _gone(holder):
                self.folder.delete(name)
            else:
                found[name] = holder
        return found


def _gone(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this host that has ended."""
    here = (holder.get("host"), holder.get("pids")) == (socket.gethostname(), _pids())
    return here and not _alive(holder)


def _refusal(path: str, holder: dict[str, Any]) -> str:
    return (
        f"{path}: held by process {holder.get('pid')} on {holder.get('host')} since "
        f"{holder.get('started')}; wait for it, or if that host is lost, delete this file"
    )


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


def _parse(content: bytes) -> dict[str, Any]:
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
