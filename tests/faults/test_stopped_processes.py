"""Processes that are stopped for more than a minute (SIGSTOP, a laptop's lid) and go on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.drivers import SWEEP, Driver, ended_like, undisturbed

STUB = "tests.faults.chained:train"
Start = Callable[..., Driver]
#: Longer than any patience of Ray's daemons with each other.
SECONDS = 70.0


def named(name: str) -> Callable[[Driver], list[psutil.Process]]:
    return lambda driver: [each for each in driver.family() if each.name() == name]


#: What is stopped.
STOPPED: dict[str, Callable[[Driver], list[psutil.Process]]] = {
    "driver": lambda driver: [psutil.Process(driver.process.pid)],
    "a worker": lambda driver: driver.workers()[:1],
    "raylet": named("raylet"),
    "Ray's server": named("gcs_server"),
    "all": Driver.family,
}


@pytest.mark.exhaustive(reason="a process is stopped for more than a minute")
@pytest.mark.parametrize("what", STOPPED)
def test_a_sweep_goes_on_after_a_process_was_stopped(
    start: Start, tmp_path: Path, cache: Path, what: str
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, SWEEP, STUB)
    driver = start(SWEEP, train=STUB, environment={"EPOCH_S": "1"})
    driver.wait_until(lambda: driver.epochs() >= 4 and bool(driver.workers()))
    processes = STOPPED[what](driver)
    assert processes
    for process in processes:
        process.suspend()
    time.sleep(SECONDS)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
    assert driver.wait() == 0, driver.text
    assert "Traceback" not in driver.text
    ended_like(driver, whole)
