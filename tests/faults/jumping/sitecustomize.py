"""Python imports this at its start: its clock is as far off as the file `$CLOCK_FILE` says (s).

Steady clocks (`time.monotonic`) go on as they are, as when a machine's clock is set.
"""

from __future__ import annotations

import os
import threading
import time

import time_machine

_clock = time_machine.escape_hatch.time


def _follow(path: str, clock: time_machine.Traveller, set_to: float) -> None:
    while True:
        time.sleep(0.05)
        if (wanted := _offset(path)) != set_to:
            clock.move_to(_clock.time() + wanted)
            set_to = wanted


def _offset(path: str) -> float:
    with open(path, encoding="utf-8") as stream:
        return float(stream.read())


if file := os.environ.get("CLOCK_FILE"):
    _now = _offset(file)
    _traveller = time_machine.travel(time.time() + _now, tick=True).start()
    threading.Thread(target=_follow, args=(file, _traveller, _now), daemon=True).start()
