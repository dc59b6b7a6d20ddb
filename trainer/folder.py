"""Folders for what must not be lost: a path, or a URI of an object store (`s3://bucket/prefix`).

A file is there whole or not at all: it is written under a temporary name and renamed, on an object
store by one put.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import urllib.parse
from abc import ABC, abstractmethod
from pathlib import Path

#: Begins the name of a file that is being written.
_HALF = ".writing-"
#: What a single read fetches; regular files end where it comes back with less.
_SMALL = 2**16


class StoreError(RuntimeError):
    """A place that cannot be read or written as asked; the text says where and why."""


class OutOfSpace(StoreError):
    """Too little space: `needed` and `free` in bytes (`free` None where it is not known)."""

    def __init__(self, where: str, needed: int, free: int | None):
        super().__init__(where, needed, free)
        self.where, self.needed, self.free = where, needed, free

    def __str__(self) -> str:
        left = "" if self.free is None else f", {in_words(self.free)} are free"
        return f"{self.where}: out of disk space: {in_words(self.needed)} are needed{left}"


class Folder(ABC):
    """One folder, which need not exist yet.  Names may have several parts (`epochs/001.json`).

    Raises `StoreError` if a remote store does not answer or refuses, and for a name that leads
    out of the folder; a local filesystem's own errors are `OSError`.
    """

    def __init__(self, path: str):
        #: As it was given: what `open_folder` takes and what people are shown.
        self.path = path

    @property
    def local(self) -> Path | None:
        """Where it lies on this machine's filesystem; None on a remote store."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """Its path's last part."""

    @property
    @abstractmethod
    def parent(self) -> Folder:
        """The folder that it lies in."""

    @abstractmethod
    def child(self, name: str) -> Folder:
        """The folder of that name in this one."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> str:
        """Write a file whole or not at all; returns its sha256.  Raises `OutOfSpace`."""

    def link(self, name: str, other: Folder) -> None:
        """Have another folder's file too, under the same name, if it is there.

        Files are written once, so one copy may lie in both.
        """
        source = other.local
        if self.local is None or source is None:
            content = other.read(name)
            if content is not None:
                self.write(name, content)
            return
        target = self.local / self._within(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.link(source / other._within(name), target)

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A file's content, or None if there is none."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is a file or a folder of that name."""

    @abstractmethod
    def names(self, name: str = "") -> list[str]:
        """What lies in the folder (or the one below it), sorted; empty if it is not there."""

    @abstractmethod
    def folders(self) -> list[str]:
        """Those of `names()` that are folders."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, or a folder with everything in it, if it is there."""

    @abstractmethod
    def clear_halves(self) -> None:
        """Delete what writers that were killed left half-written, here and below; nobody may be
        writing."""

    @abstractmethod
    def free(self) -> int | None:
        """Bytes that can be written here; None where nobody knows."""

    def _within(self, name: str) -> str:
        if not is_inside(name):
            raise StoreError(f"{self.path}: {name!r} leads out of this folder")
        return name


def open_folder(place: str | os.PathLike[str] | Folder) -> Folder:
    """The folder at a path or URI.  Raises `StoreError` if there can be none."""
    if isinstance(place, Folder):
        return place
    path = str(place)
    if path.startswith("file://"):
        return LocalFolder(urllib.parse.unquote(urllib.parse.urlsplit(path).path))
    if not is_uri(path):
        return LocalFolder(path)
    from trainer.object_store import open_remote  # most folders are local, and pyarrow loads slowly

    return open_remote(path)


def is_uri(place: str) -> bool:
    """Whether `place` is a URI and not a path."""
    return "://" in place


def is_inside(name: str) -> bool:
    """Whether a relative name stays below the folder that it is looked up in."""
    parts = name.split("/")
    return not ("" in parts or "." in parts or ".." in parts or "\0" in name or "\\" in name)


def in_words(size: int) -> str:
    """`1.3 GB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(size) >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def write_whole(path: Path, content: bytes) -> None:
    """Write a local file under a temporary name, then rename: whole or not at all, also when
    several processes write the same file or the power fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{_HALF}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class LocalFolder(Folder):
    """A folder of this machine's filesystem."""

    def __init__(self, path: str):
        super().__init__(path)
        self._root = os.path.abspath(path)

    @property
    def local(self) -> Path:
        return Path(self._root)

    @property
    def name(self) -> str:
        return os.path.basename(self._root)

    @property
    def parent(self) -> LocalFolder:
        return LocalFolder(os.path.dirname(self._root))

    def child(self, name: str) -> LocalFolder:
        return LocalFolder(f"{self.path.rstrip('/')}/{self._within(name)}")

    def write(self, name: str, content: bytes) -> str:
        try:
            write_whole(Path(self._target(name)), content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfSpace(self.path, len(content), self.free()) from error
            raise
        return hashlib.sha256(content).hexdigest()

    def read(self, name: str) -> bytes | None:
        try:
            descriptor = os.open(self._target(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        # A ledger has tens of thousands of small files, and a Python file takes twice as long.
        try:
            if len(content := os.read(descriptor, _SMALL)) < _SMALL:
                return content
            with open(descriptor, "rb", buffering=0, closefd=False) as stream:
                stream.seek(0)
                return stream.read()
        finally:
            os.close(descriptor)

    def has(self, name: str) -> bool:
        return os.path.exists(self._target(name))

    def names(self, name: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self._target(name) if name else self._root))
        except FileNotFoundError:
            return []

    def folders(self) -> list[str]:
        try:
            with os.scandir(self._root) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except FileNotFoundError:
            return []

    def delete(self, name: str) -> None:
        target = self._target(name)
        with contextlib.suppress(FileNotFoundError):
            if os.path.isdir(target) and not os.path.islink(target):
                shutil.rmtree(target)
            else:
                os.unlink(target)

    def clear_halves(self) -> None:
        for half in self.local.rglob(f"{_HALF}*"):
            half.unlink(missing_ok=True)

    def free(self) -> int | None:
        place = self.local
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            return shutil.disk_usage(place).free
        except OSError:
            return None

    def _target(self, name: str) -> str:
        return f"{self._root}/{self._within(name)}"
