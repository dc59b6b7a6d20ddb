"""Logs that grow: what is new in them, attempt after attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from orchestrator.ledger.trial_log import attempts, log_of
from trainer.storage.trial_directory import TrialDirectory

#: Seconds between two looks at a log.
PAUSE_S = 1.0


def new_lines(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """The lines that a log gained.  It may have lost its oldest ones, as a trial's log does."""
    for lost in range(len(before) + 1):
        kept = before[lost:]
        if list(now[: len(kept)]) == list(kept):
            return list(now[len(kept) :])
    raise AssertionError("nothing of a log is the beginning of every other one")


def trial_lines(directory: TrialDirectory) -> Callable[[], Iterator[str]]:
    """A function that returns the lines since its last call; a new attempt has a line before it.

    The first call returns the logs of all attempts.
    """
    seen: dict[int, list[str]] = {}

    def read() -> Iterator[str]:
        for number in attempts(directory):
            if any(number < later for later in seen):
                continue  # it has ended
            lines = log_of(directory, number)
            if number not in seen and (number > 1 or seen):
                yield f"--- attempt {number} ---"
            yield from new_lines(seen.get(number, []), lines)
            seen[number] = lines

    return read


def follow(
    read: Callable[[], Iterator[str]],
    grows: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """The lines until the log grows no more.

    Args:
        read: returns the lines since its last call.
        grows: whether somebody may still write to the log.
    """
    while True:
        last = not grows()  # asked first: what was written before the end is read after it
        yield from read()
        if last:
            return
        pause(PAUSE_S)
