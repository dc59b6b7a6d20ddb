"""How long the rest of a stage will take."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Before so many trials and seconds there is no estimate, because parallel trials end together.
_FEW_ENDED = 3
_SHORT = 60.0


class Pace:
    """Estimates the rest of a stage from its trials that have ended in this run.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._begun = clock()
        self._before: int | None = None
        self.done = self.planned = 0

    def total(self, done: int, planned: int) -> None:
        """Set the number of ended trials; those of the first call ended in earlier runs."""
        if self._before is None:
            self._before, self._begun = done, self._clock()
        self.done, self.planned = done, planned

    def seconds_left(self) -> float | None:
        """The estimate; None if nothing is left or it is too early."""
        seconds = self._clock() - self._begun
        ended = self.done - (self._before or 0)
        left = self.planned - self.done
        if left <= 0 or ended < _FEW_ENDED or seconds < _SHORT:
            return None
        return seconds / ended * left
