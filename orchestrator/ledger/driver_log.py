"""The driver's own log: its warnings and their tracebacks, in a file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path


class _LogFile(logging.FileHandler):
    """A log that cannot be written (a full disk) must not stop a sweep or print a traceback."""

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
