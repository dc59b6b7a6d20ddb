"""Limits of time and memory for what a test does with a hostile input."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

#: Of one input: seconds, and bytes beyond what the process has.
SECONDS, BYTES = 5, 2**30


class Beyond(BaseException):
    """It took too long; no `except Exception` catches it."""


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """`SECONDS` and `BYTES` for what the block does.

    Raises `Beyond` or `MemoryError` in it.
    """

    def end(*_: object) -> None:
        raise Beyond(f"more than {SECONDS} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, end)
    # Seconds of this process alone: other programs may keep the machine busy.
    signal.setitimer(signal.ITIMER_REAL, 6 * SECONDS)
    profile = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    most = pages * resource.getpagesize() + BYTES
    hard = before[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.signal(signal.SIGPROF, profile)
