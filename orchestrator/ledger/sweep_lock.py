"""The lock of a sweep: one driver at a time writes to a sweep's folder.

A file names the holder (host, process, start).  On a filesystem it is `lock`.  Its content is
written to another file, which is then hard-linked to that name.  So it appears complete or not at
all, and the link fails if the name is taken (also over NFS).  An object store has no such step.
There every driver puts its own claim, `lock/<uuid>.json`, and then looks for others.  A listing
shows all earlier claims, so of two drivers at least one sees the other and withdraws.

A lock whose process on this host is gone is removed.  A lock of another host never is, because only
that host knows whether the process lives.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
import uuid
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError
from trainer.storage.folder import Folder, Refused, StoreError
from trainer.storage.json_reader import JsonError, parse_object
from trainer.storage.local_folder import write_whole
from trainer.storage.open import open_folder

LOCK = "lock"
#: How often a claim is put again if others come and go, and the longest pause before, in seconds.
_CLAIMS, _PAUSE_S = 6, 0.5


class Locked(UserError):
    """Another driver holds the sweep; the text names it and says what to do."""


class SweepLock:
    """Context manager around a sweep's folder; raises `Locked` on entry if a driver holds it."""

    def __init__(self, folder: str | os.PathLike[str] | Folder):
        folder = open_folder(folder)
        content = json.dumps(_holder())
        local = folder.local
        self._lock = _Claim(folder, content) if local is None else _Link(folder, local, content)
        #: Who holds it: `host`, `pid`, `started`.
        self.holder: dict[str, Any] = json.loads(content)

    def __enter__(self) -> SweepLock:
        self._lock.take()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        self._lock.release()


class _Link:
    """The lock of a local folder: the file `lock`, hard-linked into place."""

    def __init__(self, folder: Folder, place: Path, content: str):
        self.path = place / LOCK
        self._folder = folder
        self._content = content

    def take(self) -> None:
        mine = self.path.with_name(f".{LOCK}.{uuid.uuid4()}")
        write_whole(mine, self._content.encode())
        try:
            self._link(mine)
        finally:
            mine.unlink(missing_ok=True)

    def release(self) -> None:
        # Changed by hand, or out of reach: then the next driver finds that its process is gone.
        with contextlib.suppress(OSError, Refused):
            if self._folder.read(LOCK) == self._content.encode():
                self.path.unlink()

    def _link(self, mine: Path) -> None:
        for _ in range(10):  # each round removes one stale lock; rivals may do the same
            try:
                os.link(mine, self.path)
                return
            except FileExistsError:
                self._break_if_stale()
        raise Locked(f"{self.path}: other drivers keep taking the lock; try again later")

    def _break_if_stale(self) -> None:
        """Remove the lock if its process is gone, else raise `Locked`."""
        try:
            content = self._folder.read(LOCK)
        except Refused as error:
            raise Locked(f"{error}; delete it if no driver runs the sweep") from error
        if content is None:
            return  # its holder has just finished
        holder = _parse(content)
        if not gone(holder):
            raise Locked(_refusal(str(self.path), holder))
        aside = self.path.with_name(f".{LOCK}.stale.{uuid.uuid4()}")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return  # a rival broke it first
        if self._folder.read(aside.name) != content:
            # This is the new lock of a rival that also broke the stale one: put it back.
            with contextlib.suppress(FileExistsError):  # a third driver holds the lock now
                os.link(aside, self.path)
        aside.unlink()


class _Claim:
    """The lock of a remote folder: our own file in the folder `lock`, if there is no other."""

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
            if settled:  # a rival that saw us would have withdrawn by now
                name = min(settled)
                raise Locked(_refusal(self.folder.child(name).path, rivals[name]))
        raise Locked(f"{self.folder.path}: other drivers keep taking the lock; try again later")

    def release(self) -> None:
        with contextlib.suppress(StoreError):  # out of reach: this host removes the claim later
            self.folder.delete(self._mine)

    def _claim(self) -> dict[str, dict[str, Any]]:
        """Put a claim, and withdraw it if others live; returns those."""
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
        rivals = {}
        for name in self.folder.names():
            content = _content(self.folder, name) if name != self._mine else None
            if content is None:
                continue  # it has been withdrawn
            holder = _parse(content)
            if gone(holder):
                self.folder.delete(name)
            else:
                rivals[name] = holder
        return rivals


def holders(folder: Folder) -> list[dict[str, Any]]:
    """Who holds or claims the lock of a sweep's folder (`host`, `pid`, `started`); mostly one."""
    if folder.local is not None:
        contents = [_content(folder, LOCK)]
    else:
        claims = folder.child(LOCK)
        contents = [_content(claims, name) for name in claims.names()]
    return [_parse(content) for content in contents if content is not None]


def _content(folder: Folder, name: str) -> bytes | None:
    """A lock's content; None without one, and nothing that names a holder if it is no file."""
    try:
        return folder.read(name)
    except Refused:
        return b""


def is_here(holder: dict[str, Any]) -> bool:
    """Whether the holder's process number is one of this host."""
    return (holder.get("host"), holder.get("pids")) == (socket.gethostname(), _pids())


def gone(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this host that has ended."""
    return is_here(holder) and not _alive(holder)


def _refusal(path: str, holder: dict[str, Any]) -> str:
    return (
        f"{path}: held by process {holder.get('pid')} on {holder.get('host')} since "
        f"{holder.get('started')}; wait for it, or delete this file if that host is lost"
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
    """The namespace of this process's number: containers may share a host's name."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


#: Characters of a value in a lock at most.
_LONGEST = 300
#: Key of a lock -> its type.
_KEYS = {"host": str, "pid": int, "pids": str, "started": str, "process_start": str}


def _parse(content: bytes) -> dict[str, Any]:
    """The holder; empty if the lock cannot be read, which counts as another host's."""
    try:
        holder = parse_object(content)
    except JsonError:
        return {}
    return {
        key: value
        for key, kind in _KEYS.items()
        if type(value := holder.get(key)) is kind and len(str(value)) <= _LONGEST
    }


def _alive(holder: dict[str, Any]) -> bool:
    """Whether the holder's process lives; another process with its number does not count."""
    pid = holder.get("pid")
    if pid is None:
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has such a number
        return False
    except PermissionError:
        pass  # it lives, under another user
    return holder.get("process_start") == _process_start(pid)


def _process_start(pid: int) -> str | None:
    """Boot and clock tick at which a process started (Linux); None if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    if fields[0] == "Z":  # a zombie: dead, but not yet collected by its parent
        return None
    return f"{boot}:{fields[19]}"
