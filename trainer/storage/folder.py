"""Folders for files that must not be lost, on a path or in an object store (`s3://bucket/prefix`).

A file exists completely or not at all.  It is written under a temporary name and then renamed.  In
an object store it is written by one put.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path


class StoreError(RuntimeError):
    """A place that cannot be read or written.  The message says where and why."""


class Refused(StoreError):
    """A file that is not read, because of what it is: no regular file, too large, or elsewhere.

    `where` is its path or URI, `why` continues it: `is a FIFO, not a regular file`.
    """

    def __init__(self, where: str, why: str):
        super().__init__(where, why)
        self.where, self.why = where, why

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


class OutOfSpace(StoreError):
    """Too little space.  `needed` and `free` are in bytes; `free` is None if it is unknown."""

    def __init__(self, where: str, needed: int, free: int | None):
        super().__init__(where, needed, free)
        self.where, self.needed, self.free = where, needed, free

    def __str__(self) -> str:
        free = "" if self.free is None else f", {in_words(self.free)} are free"
        return f"{self.where}: out of disk space: {in_words(self.needed)} are needed{free}"


class Folder(ABC):
    """A folder, which may not exist yet.  Names may have several parts (`epochs/001.json`).

    Raises:
        StoreError: a remote store does not answer or refuses, or a name leads out of the folder.
        Refused: of a file that cannot be read safely; others in the folder can be.
        OSError: an error of the local filesystem.
    """

    def __init__(self, path: str):
        #: As the user gave it.  `open_folder` takes it, and messages show it.
        self.path = path

    @property
    def local(self) -> Path | None:
        """Its path on this machine's filesystem; None in a remote store."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of its path."""

    @property
    @abstractmethod
    def parent(self) -> Folder:
        """The folder that contains it."""

    @abstractmethod
    def child(self, name: str) -> Folder:
        """The folder of that name within this one."""

    def enclosed(self) -> Folder:
        """The same folder, out of which no link leads: what is elsewhere is refused."""
        return self

    @abstractmethod
    def write(self, name: str, content: bytes) -> str:
        """Write a file completely or not at all; returns its sha256.  Raises `OutOfSpace`."""

    def link(self, name: str, other: Folder) -> None:
        """Share another folder's file under the same name, if that file exists.

        Files never change once they are written, so both folders can hold the same copy.
        """
        content = other.read(name)
        if content is not None:
            self.write(name, content)

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is no such file.

        Raises `Refused` if it is no regular file or larger than `trainer.storage.limits` says.
        """

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is a file or a folder of that name."""

    @abstractmethod
    def names(self, name: str = "") -> list[str]:
        """Sorted names of what is in the folder, or in the one below it; empty if it is missing."""

    @abstractmethod
    def folders(self) -> list[str]:
        """Those of `names()` that are folders."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, or a folder with everything in it, if it exists."""

    @abstractmethod
    def delete_partial_files(self) -> None:
        """Delete files that a killed writer did not finish, here and below.

        Nothing may be writing to the folder.
        """

    @abstractmethod
    def free(self) -> int | None:
        """Bytes that can still be written; None if that is unknown."""

    def _within(self, name: str) -> str:
        if not is_inside(name):
            raise StoreError(f"{self.path}: {name!r} leads out of this folder")
        return name


def is_uri(place: str) -> bool:
    """Whether `place` is a URI rather than a path."""
    return "://" in place


def is_inside(name: str) -> bool:
    """Whether a relative name stays within its folder."""
    parts = name.split("/")
    return not ("" in parts or "." in parts or ".." in parts or "\0" in name or "\\" in name)


def in_words(size: int) -> str:
    """A size in bytes as text: `1.3 GB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(size) >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
