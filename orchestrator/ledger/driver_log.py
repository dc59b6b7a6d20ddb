"""The driver's own log, `driver.log`: its warnings and their tracebacks, and how it is read."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path

from trainer.storage.regular_file import Enclosure, open_regular

#: Bytes that a look at a log reads at most: its newest ones.
_MOST = 4 * 2**20


class _LogFile(logging.FileHandler):
    """A log that cannot be written (a full disk) must not stop a sweep or print a traceback."""

    def _open(self) -> TextIOWrapper:
        """As in the base class, but never into a link or a FIFO that somebody put there."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.baseFilename, flags | os.O_CLOEXEC, 0o666)
        return TextIOWrapper(open(descriptor, "ab"), encoding=self.encoding, errors=self.errors)

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # it cannot be opened
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def driver_log(path: Path) -> Iterator[None]:
    """Send the log records of `orchestrator` to a file.  The first record creates it."""
    logger = logging.getLogger("orchestrator")
    handler = _LogFile(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before
        logger.removeHandler(handler)
        handler.close()


class DriverLog:
    """Reads a driver's log as it grows."""

    def __init__(self, path: Path):
        self._path = path
        self._read = 0

    def new_lines(self) -> Iterator[str]:
        """The lines since the last call, without the oldest ones of a very long log.

        Raises `Refused` if the log is no regular file, or elsewhere.
        """
        try:
            descriptor = open_regular(str(self._path), Enclosure(str(self._path.parent)))
        except FileNotFoundError:  # the first warning creates it
            return
        with open(descriptor, "rb") as stream:
            size = os.fstat(descriptor).st_size
            begin = max(self._read if self._read <= size else 0, size - _MOST)
            stream.seek(begin)
            content = stream.read(_MOST)
        if begin != self._read:  # after a cut, the first line is only the end of one
            content = content.partition(b"\n")[2] if begin else content
        self._read = max(size, begin)
        yield from content.decode(errors="replace").splitlines()
