"""SIGINT and SIGTERM of `orch sweep`: what is being trained is committed, the rest can go on."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.drivers import SWEEP, Driver, ended_like, nothing_left, trials, undisturbed

Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return undisturbed(tmp_path_factory.mktemp("whole"), cache, SWEEP, STUB)


def lengths(driver: Driver) -> dict[str, int]:
    return {name: len(trial.records) for name, trial in trials(driver.out).items()}


@pytest.mark.slow(reason="two whole sweeps")
def test_a_signal_to_the_group_commits_what_runs_and_a_second_one_leaves_at_once(
    start: Start,
) -> None:
    slow: dict[str, Any] = {"train": STUB, "environment": {"EPOCH_S": "1.5"}}
    first = start(SWEEP, **slow)
    first.wait_until(lambda: sum(n >= 1 for n in lengths(first).values()) == 2)
    first.family()
    before = lengths(first)
    first.signal_group(signal.SIGINT)
    assert first.wait() == 130, first.text
    after = lengths(first)
    assert set(after) == set(before)
    assert all(after[name] == n + 1 for name, n in before.items() if n < 3), first.text
    assert "run the same command again" in first.text and "Traceback" not in first.text
    nothing_left(first)

    stuck = start(SWEEP, train=STUB, environment={"EPOCH_S": "100"})
    stuck.wait_until(lambda: stuck.text.count(" started") >= 2)
    time.sleep(0.5)
    stuck.family()
    stuck.process.send_signal(signal.SIGTERM)
    stuck.wait_until(lambda: "a second signal stops at once" in stuck.text)
    time.sleep(0.5)
    assert stuck.process.poll() is None
    stuck.process.send_signal(signal.SIGTERM)
    assert stuck.wait() == 130, stuck.text
    assert lengths(stuck) == after
    nothing_left(stuck)


@pytest.mark.exhaustive(reason="a whole Ray is started to be interrupted")
def test_a_signal_to_the_group_while_ray_starts_leaves_nothing(start: Start) -> None:
    """It ends Ray's first processes, for which Ray would wait a minute and then end the driver."""
    driver = start(SWEEP, train=STUB)
    begun = f"orch-ray-{driver.process.pid}-*/r/session_*/logs/gcs_server.err"
    driver.wait_until(lambda: any(Path("/tmp").glob(begun)))
    driver.family()
    driver.signal_group(signal.SIGTERM)
    assert driver.wait() == 130, driver.text
    assert "Traceback" not in driver.text and "run the same command again" in driver.text
    nothing_left(driver)


@pytest.mark.exhaustive(reason="repeats its fault at random moments")
def test_interrupted_at_random_moments_again_and_again(
    start: Start, whole: Path, moments: random.Random, rounds: int
) -> None:
    options: dict[str, Any] = {"train": STUB, "environment": {"EPOCH_S": "0.5"}}
    for number in range(rounds):
        driver = start(SWEEP, **options, name=f"{number // 5}")
        lock = driver.out / "s" / "lock"
        driver.wait_until(lock.exists)
        end = time.monotonic() + moments.uniform(0, 12)
        while time.monotonic() < end and driver.process.poll() is None:
            driver.family()
            time.sleep(0.1)
        for _ in range(moments.choice([1, 1, 2, 3])):
            if driver.process.poll() is None:
                to = moments.choice([driver.process.send_signal, driver.signal_group])
                to(moments.choice([signal.SIGINT, signal.SIGTERM]))
                time.sleep(moments.uniform(0, 0.8))
        assert driver.wait() in (0, 130), driver.text
        assert "Traceback" not in driver.text, driver.text
        nothing_left(driver)
    for number in range((rounds + 4) // 5):
        last = start(SWEEP, train=STUB, environment={"EPOCH_S": "0"}, name=f"{number}")
        assert last.wait() == 0, last.text
        ended_like(last, whole)
