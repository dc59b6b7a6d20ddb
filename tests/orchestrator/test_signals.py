"""Signals are heard again after a library has taken their handlers away."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import pytest

from orchestrator.signals import handled, renew

STATUS = Path("/proc/self/status")


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux: it tells which signals are caught")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_handler_that_was_lost_below_python_is_renewed(number: signal.Signals) -> None:
    def is_caught() -> bool:
        caught = next(x for x in STATUS.read_text().splitlines() if x.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)

    heard: list[int] = []
    with handled(lambda number, frame: heard.append(number)):
        # What the end of `ray.shutdown` does to SIGTERM.
        ctypes.CDLL(None).signal(int(number), None)
        assert not is_caught() and signal.getsignal(number) not in (signal.SIG_DFL, None)
        renew()
        assert is_caught()
        os.kill(os.getpid(), number)
        assert heard == [number]
