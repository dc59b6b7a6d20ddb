"""Run by Python at its start: files of one kind find the disk full, while a flag is there.

`$FULL_FOR` is a pattern of paths (fnmatch) and `$FULL_WHILE` the flag's path.  Every path that is
opened for writing or renamed into place is compared, in every process that has this folder on its
path.
"""

from __future__ import annotations

import errno
import os
import sys
from fnmatch import fnmatch
from typing import Any

_PATTERN, _FLAG = os.environ.get("FULL_FOR", ""), os.environ.get("FULL_WHILE", "")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def _written(event: str, given: tuple[Any, ...]) -> str:
    """The path that is written to; empty if none is."""
    if event == "open" and isinstance(given[0], str) and given[2] & _WRITES:
        return given[0]
    if event in ("os.rename", "os.link"):
        return str(given[1])
    return str(given[0]) if event == "os.mkdir" else ""


def _hook(event: str, given: tuple[Any, ...]) -> None:
    path = _written(event, given)
    if path and fnmatch(path, _PATTERN) and os.path.exists(_FLAG):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


if _PATTERN:
    sys.addaudithook(_hook)
