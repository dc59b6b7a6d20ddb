"""Folders on this machine's filesystem, whose files appear completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from pathlib import Path

from trainer.storage.folder import Folder, OutOfSpace

#: How a file's name begins while it is being written.
PARTIAL = ".writing-"
#: Bytes of a first read.  A read that returns fewer has reached the end of the file.
_SMALL = 2**16


def write_whole(path: Path, content: bytes) -> None:
    """Write a local file under a temporary name, then rename it.

    It appears completely or not at all, also if several processes write it or the power fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PARTIAL}{os.getpid()}-{secrets.token_hex(4)}")
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
        # A ledger has tens of thousands of small files, and Python's `open` takes twice as long.
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

    def delete_partial_files(self) -> None:
        for file in self.local.rglob(f"{PARTIAL}*"):
            file.unlink(missing_ok=True)

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
