"""Folders for what must not be lost: a path, or a URI of an object store (`s3://bucket/prefix`).

A file is there whole or not at all: it is written under a temporary name and renamed, on an object
store by one put.
"""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from pathlib import Path


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
