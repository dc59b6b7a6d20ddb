"""sha256 of files, computed once for each version of a file."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path


def file_hash(path: Path) -> str:
    """The sha256 of a file's content.  A file with the same time and size is not read again."""
    status = path.stat()
    return _hash_content(str(path.resolve()), status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _hash_content(path: str, modified_ns: int, size: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
