"""Files that several processes need at the same time, and that one of them writes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.data.readers.rows import DataError
from trainer.storage.local_folder import write_whole

#: One lock per folder, because a process that writes one file of a corpus writes the others too.
_LOCK = ".lock"
#: What is wrong with a folder for good: a home that is not there, not ours, or no folder.
_UNUSABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST,
    errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
)  # fmt: skip


def make_once(path: Path, content: Callable[[], bytes | None]) -> bool:
    """Write the file unless it exists, and return whether it exists now.

    The first process that calls this writes the file completely.  The others wait for it.

    Args:
        content: makes the file's bytes, or None if there is no such file.  It must not call
            `make_once` for the same folder.

    Raises `DataError` if the folder cannot be used; the message says how to choose another one.
    """
    if path.is_file():
        return True
    with _locked(path.parent / _LOCK):
        if path.is_file():
            return True
        data = content()
        if data is not None:
            write_whole(path, data)
    return data is not None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock, which the system releases if the process dies.  Creates its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        raise DataError(
            f"the cache {path.parent} cannot be used ({error.strerror}); the variable ORCH_CACHE, "
            "or data.cache in the config, names another folder"
        ) from error
    try:
        # On a filesystem without locks, processes may do the same work twice, which does no harm.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
