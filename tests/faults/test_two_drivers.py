"""Two drivers of one sweep at the same moment: one runs, the other says who does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.drivers import SWEEP, Driver

Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"


def contest(start: Start, **options: Any) -> tuple[Driver, Driver]:
    """The driver that runs, and the one that was refused."""
    rivals = [start(SWEEP, **options) for _ in range(2)]
    end = time.monotonic() + 120
    while time.monotonic() < end and all(r.process.poll() is None for r in rivals):
        time.sleep(0.02)
    for refused, winner in (rivals, rivals[::-1]):
        if refused.process.poll() is not None:
            assert refused.wait() == 2, refused.text
            assert f"held by process {winner.process.pid} on " in refused.text
            assert winner.process.poll() is None, winner.text
            return winner, refused
    raise AssertionError("both run: " + rivals[0].text)


@pytest.mark.slow(reason="a sweep with three drivers")
def test_one_of_two_runs_and_a_third_takes_over_when_it_is_killed(start: Start) -> None:
    winner, _ = contest(start, train=STUB, environment={"EPOCH_S": "1"})
    winner.wait_until(lambda: winner.epochs() >= 1)
    winner.kill_driver()
    assert (winner.out / "s" / "lock").exists()
    third = start(SWEEP, train=STUB, environment={"EPOCH_S": "1"})
    before = third.epochs()
    third.wait_until(lambda: third.epochs() > before)


@pytest.mark.exhaustive(reason="repeats its contest of two drivers")
def test_again_and_again_one_runs(start: Start, rounds: int) -> None:
    """Each round begins with the lock of a driver that was killed."""
    for _ in range(rounds):
        winner, _ = contest(start, train=STUB, environment={"EPOCH_S": "100"})
        winner.kill_all()
