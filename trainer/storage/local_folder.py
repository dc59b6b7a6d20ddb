"""Folders on this machine's filesystem, whose files appear completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from pathlib import Path

from trainer.storage.folder import Folder, OutOfSpace, Refused, in_words
from trainer.storage.limits import most_bytes
from trainer.storage.regular_file import Enclosure, open_regular

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
    """A folder of this machine's filesystem.

    An `enclosed` one and its children refuse links that lead out of it, for reading, writing and
    deleting.  Links within it are followed.
    """

    def __init__(self, path: str, inside: Enclosure | None = None, root: str = ""):
        super().__init__(path)
        self._root = root or os.path.abspath(path)
        self._inside = inside

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
        path = f"{self.path.rstrip('/')}/{self._within(name)}"
        return LocalFolder(path, self._inside, f"{self._root}/{name}")

    def enclosed(self) -> LocalFolder:
        return self if self._inside else LocalFolder(self.path, Enclosure(self._root), self._root)

    def write(self, name: str, content: bytes) -> str:
        try:
            write_whole(Path(self._target(name)), content)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfSpace(self.path, len(content), self.free()) from error
            raise
        return hashlib.sha256(content).hexdigest()

    def link(self, name: str, other: Folder) -> None:
        if not isinstance(other, LocalFolder):
            super().link(name, other)
            return
        target = Path(self._target(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            os.link(other._target(name), target, follow_symlinks=False)

    def read(self, name: str) -> bytes | None:
        try:
            descriptor = open_regular(self._target(name), self._inside)
        except FileNotFoundError:
            return None
        # A ledger has tens of thousands of small files, and Python's `open` takes twice as long.
        try:
            if len(content := os.read(descriptor, _SMALL)) < _SMALL:
                return content
            return self._rest(name, descriptor, content)
        finally:
            os.close(descriptor)

    def _rest(self, name: str, descriptor: int, beginning: bytes) -> bytes:
        """A file's content, of which the beginning has been read."""
        most = most_bytes(name)
        if os.fstat(descriptor).st_size <= most:
            with open(descriptor, "rb", buffering=0, closefd=False) as stream:
                content = beginning + stream.read(most + 1 - len(beginning))
                while more := stream.read(most + 1 - len(content)):  # it grows, or a read is short
                    content += more
            if len(content) <= most:
                return content
        raise Refused(f"{self._root}/{name}", f"is larger than {in_words(most)}")

    def has(self, name: str) -> bool:
        return os.path.exists(self._target(name))

    def names(self, name: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self._checked(self._target(name) if name else self._root)))
        except FileNotFoundError:
            return []

    def folders(self) -> list[str]:
        try:
            with os.scandir(self._checked(self._root)) as entries:
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
        """A file's path, whose folder is not elsewhere."""
        target = f"{self._root}/{self._within(name)}"
        if self._inside:
            self._inside.check_folder(target.rpartition("/")[0])
        return target

    def _checked(self, folder: str) -> str:
        if self._inside:
            self._inside.check_folder(folder)
        return folder
