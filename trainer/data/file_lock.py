"""Files that several processes want at the same time and one of them makes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from trainer.storage.local_folder import write_whole

#: One for a whole folder: who makes one file of a corpus makes the others too.
_LOCK = ".lock"


def make_once(path: Path, content: Callable[[], bytes | None]) -> bool:
    """Have `path` there: written whole by the first that asks, the others wait for it.

    Args:
        content: makes the file's bytes, or None if there can be no such file; it must not ask for
            another file of the same folder.

    Returns whether the file is there.
    """
    if path.is_file():
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent / _LOCK):
        if path.is_file():
            return True
        made = content()
        if made is not None:
            write_whole(path, made)
    return made is not None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with its process, however that ends."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        # A filesystem without locks costs work that is done twice, and nothing else.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
