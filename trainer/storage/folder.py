"""Folders for data that must not be lost: a path, or an object store's URI (`s3://bucket/prefix`).

A file is complete or not there: it is written under a temporary name and renamed, or on an object
store written by one put.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from pathlib import Path


class StoreError(RuntimeError):
    """A place cannot be read or written; the text says where and why."""


class OutOfSpace(StoreError):
    """Too little disk space.  `needed` and `free` are in bytes; `free` is None if unknown."""

    def __init__(self, where: str, needed: int, free: int | None):
        super().__init__(where, needed, free)
        self.where, self.needed, self.free = where, needed, free

    def __str__(self) -> str:
        left = "" if self.free is None else f", {in_words(self.free)} are free"
        return f"{self.where}: out of disk space: {in_words(self.needed)} are needed{left}"


class Folder(ABC):
    """A folder, which need not exist yet.  Names can have several parts (`epochs/001.json`).

    Methods raise `StoreError` if a remote store does not answer or refuses, and for a name that
    leads out of the folder.  Errors of a local filesystem are `OSError`.
    """

    def __init__(self, path: str):
        #: As given: what `open_folder` takes and what messages show.
        self.path = path

    @property
    def local(self) -> Path | None:
        """Its path on this machine; None for a remote store."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """Its path's last part."""

    @property
    @abstractmethod
    def parent(self) -> Folder:
        """The folder that contains this one."""

    @abstractmethod
    def child(self, name: str) -> Folder:
        """The folder of that name in this one."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> str:
        """Write a file completely or not at all; returns its sha256.  Raises `OutOfSpace`."""

    def link(self, name: str, other: Folder) -> None:
        """Add a file of another folder under the same name, if it exists.

        Local folders share one copy by a hard link, because files are written only once.
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
        """A file's content; None if it does not exist."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether there is a file or a folder of that name."""

    @abstractmethod
    def names(self, name: str = "") -> list[str]:
        """The sorted content of this folder or of one below it; empty if it does not exist."""

    @abstractmethod
    def folders(self) -> list[str]:
        """Those of `names()` that are folders."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, or a folder with everything in it, if it exists."""

    @abstractmethod
    def clear_halves(self) -> None:
        """Delete incomplete files of killed writers, here and below.  Nobody may be writing."""

    @abstractmethod
    def free(self) -> int | None:
        """Free bytes; None if unknown."""

    def _within(self, name: str) -> str:
        if not is_inside(name):
            raise StoreError(f"{self.path}: {name!r} leads out of this folder")
        return name


def is_uri(place: str) -> bool:
    """Whether `place` is a URI, not a path."""
    return "://" in place


def is_inside(name: str) -> bool:
    """Whether a relative name stays below its folder."""
    parts = name.split("/")
    return not ("" in parts or "." in parts or ".." in parts or "\0" in name or "\\" in name)


def in_words(size: int) -> str:
    """`1.3 GB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(size) >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
