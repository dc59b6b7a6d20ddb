"""A clock that is set forward and back while a sweep runs: nothing is decided by it.

What jumps is Python's clock, in the driver and in every worker (jumping/sitecustomize.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.drivers import ROOT, SWEEP, Driver, ended_like, trials, undisturbed

Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"
FAULTS = Path(__file__).parent
pytest.importorskip("time_machine", reason="the package time-machine is not installed")

#: What decides on trials that were interrupted: rungs, replayed in the order of their commits.
ASHA: dict[str, Any] = SWEEP | {
    "base": SWEEP["base"] | {"epochs": 4},
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "budget": {"hours": 1},
    "resources": {"cpu": 1, "max_concurrent": 1},
}


class Clock:
    """What time it is for a driver and what it starts; steady clocks go on as they are."""

    def __init__(self, folder: Path):
        self.file = folder / "clock"
        self.set(0)

    def set(self, hours: float) -> None:
        """To so many hours from now."""
        later = self.file.with_suffix(".next")
        later.write_text(str(3600 * hours))
        later.replace(self.file)

    @property
    def environment(self) -> dict[str, str]:
        folders = (FAULTS / "jumping", ROOT)
        path = os.pathsep.join(map(str, folders))
        return {"PYTHONPATH": path, "CLOCK_FILE": str(self.file), "EPOCH_S": "0.3"}


def today() -> str:
    return datetime.now(UTC).date().isoformat()


#: Hours.
JUMPS = [3, -5, 48, -24, 0]


@pytest.mark.exhaustive(reason="a whole sweep over a clock that jumps")
def test_a_sweep_over_a_jumping_clock_ends_like_one_without(
    start: Start, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, SWEEP, STUB)
    clock = Clock(tmp_path)
    driver = start(SWEEP, train=STUB, environment={**clock.environment, "EPOCH_S": "1.5"})
    driver.wait_until(lambda: driver.epochs() >= 1)
    clock.set(JUMPS[0])
    second = start(SWEEP, train=STUB, environment=clock.environment)
    for jump in JUMPS[1:]:
        wanted = driver.epochs() + 2
        driver.wait_until(lambda n=wanted: driver.epochs() >= n)  # type: ignore[misc]
        clock.set(jump)
    assert second.wait() == 2, second.text  # the lock holds, whatever time it says
    driver.kill_all()
    clock.set(-7 * 24)
    last = start(SWEEP, train=STUB, environment=clock.environment)
    assert last.wait() == 0, last.text
    ended_like(last, whole)
    assert "Traceback" not in driver.text
    told = [r["finished_at"] for t in trials(last.out).values() for r in t.records]
    assert told and min(told)[:10] < today() < max(told)[:10]  # it did jump


@pytest.mark.exhaustive(reason="three whole sweeps over a clock that jumps")
def test_rungs_decide_the_same_over_a_jumping_clock_and_a_kill(
    start: Start, tmp_path: Path
) -> None:
    """One trial at a time: what is decided depends on the order of the commits alone."""
    steady = start(ASHA, train=STUB, environment={"EPOCH_S": "0"}, name="steady")
    assert steady.wait() == 0, steady.text
    clock = Clock(tmp_path)
    for number, jump in enumerate(JUMPS[:3]):
        driver = start(ASHA, train=STUB, environment=clock.environment)
        wanted = driver.epochs() + 1 + number
        driver.wait_until(lambda n=wanted, d=driver: d.epochs() >= n)  # type: ignore[misc]
        clock.set(jump)
        wanted = driver.epochs() + 2
        driver.wait_until(lambda n=wanted, d=driver: d.epochs() >= n)  # type: ignore[misc]
        driver.kill_all()
    last = start(ASHA, train=STUB, environment=clock.environment)
    assert last.wait() == 0, last.text
    ended_like(last, steady.out)
    assert {t.status for t in trials(last.out).values()} == {"complete", "pruned"}
    assert "budget" not in last.text
