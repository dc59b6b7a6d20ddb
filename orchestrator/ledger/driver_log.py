"""The driver's own log in a sweep's folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path


class _LogFile(logging.FileHandler):
    """A log that cannot be written (the disk is full) is no reason to stop or to print a trace."""

    def handleError(self, record: logging.LogRecord) -> None:
        return

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def log_to(path: Path) -> Iterator[None]:
    """Our own warnings with their tracebacks go to a file, which is made by the first of them."""
    ours = logging.getLogger("orchestrator")
    handler = _LogFile(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours.addHandler(handler)
    before, ours.propagate = ours.propagate, False
    try:
        yield
    finally:
        ours.propagate = before
        ours.removeHandler(handler)
        handler.close()
