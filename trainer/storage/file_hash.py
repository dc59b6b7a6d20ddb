"""sha256 of files, computed once for each version of a file."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from trainer.storage.regular_file import open_regular


def file_hash(path: Path) -> str:
    """The sha256 of a file's content.  A file with the same time and size is not read again.

    Raises `Refused` if it is no regular file.
    """
    status = path.stat()
    return _hash_content(str(path.resolve()), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _hash_content(path: str, modified_ns: int, size: int) -> str:
    with open(open_regular(path), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
