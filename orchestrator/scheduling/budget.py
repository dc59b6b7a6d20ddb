"""The time limit of a sweep's run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class Budget:
    """Whether another configuration may start: `budget.hours` of this run are not over.

    Args:
        hours: None for no limit.
        say: shows a message to the user when the time is over.
    """

    def __init__(self, hours: float | None, say: Callable[[str], None]):
        self._hours = hours
        self._say = say
        self._end = math.inf if hours is None else time.monotonic() + 3600 * hours
        self._reported = False

    def allows_another(self) -> bool:
        if time.monotonic() < self._end:
            return True
        if not self._reported:
            self._say(f"budget: {self._hours:g} h are over, no more configurations start")
        self._reported = True
        return False
