"""SIGKILL at random moments: to the driver, to all that it started, to a worker, to Ray's daemons.

Whatever dies, the same command again ends the sweep as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.drivers import SWEEP, Driver, ended_like, undisturbed

STUB = "tests.faults.chained:train"
Start = Callable[..., Driver]


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return undisturbed(tmp_path_factory.mktemp("chained"), cache, SWEEP, STUB)


def kill_worker(driver: Driver, moments: random.Random) -> None:
    """SIGKILL to a process in which a trial is at work; the sweep goes on with another."""
    if workers := driver.workers():
        with contextlib.suppress(psutil.NoSuchProcess):
            moments.choice(workers).kill()


def kill_raylet(driver: Driver, moments: random.Random) -> None:
    """SIGKILL to Ray's raylet, which nobody misses as long as the workers live."""
    for process in driver.family():
        with contextlib.suppress(psutil.Error):
            if process.name() == "raylet":
                process.kill()


def kill_daemon(driver: Driver, moments: random.Random) -> None:
    """The raylet and its workers: no trial can run any more, and the driver says so and leaves."""
    kill_raylet(driver, moments)
    for process in driver.workers():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def kill_driver(driver: Driver, moments: random.Random) -> None:
    driver.kill_driver()


def kill_all(driver: Driver, moments: random.Random) -> None:
    driver.kill_all()


KILLS = {
    "driver": kill_driver,
    "tree": kill_all,
    "worker": kill_worker,
    "raylet": kill_raylet,
    "daemon": kill_daemon,
}


def committed_once(commits: Path) -> None:
    """No epoch was trained again after it had been committed."""
    found = Counter(tuple(json.loads(line)[:2]) for line in commits.read_text().splitlines())
    assert not [epoch for epoch, count in found.items() if count > 1]


@pytest.mark.slow(reason="a sweep with three drivers")
def test_a_sweep_whose_driver_tree_and_worker_were_killed_ends_like_one_without(
    start: Start, chained: Path, moments: random.Random, tmp_path: Path
) -> None:
    commits = tmp_path / "commits"
    options = {"train": STUB, "environment": {"EPOCH_S": "0.3", "COMMITS": str(commits)}}
    first = start(SWEEP, **options)
    first.wait_until(lambda: first.epochs() >= moments.randint(2, 5))
    first.kill_driver()

    second = start(SWEEP, **options)  # at once: what the first has started may still be there
    # It ends that before it starts a Ray of its own; until then the first's trials may commit.
    second.wait_until(lambda: " started" in second.text)
    before = second.epochs()
    second.wait_until(lambda: second.epochs() >= before + moments.randint(2, 4))
    assert first.left() == []
    second.kill_all()

    last = start(SWEEP, **options)
    before = last.epochs()
    last.wait_until(lambda: last.epochs() >= before + 1)
    kill_worker(last, moments)
    assert last.wait() == 0, last.text
    ended_like(last, chained)
    assert "is tried again from its last epoch: its process died" in last.text
    committed_once(commits)


@pytest.mark.exhaustive(reason="repeats its fault at random moments")
@pytest.mark.parametrize("kill", KILLS)
def test_killed_at_random_moments_again_and_again(
    start: Start, chained: Path, moments: random.Random, rounds: int, tmp_path: Path, kill: str
) -> None:
    done, sweeps = 0, 0
    while done < rounds:
        sweeps += 1
        commits = tmp_path / f"commits-{sweeps}"
        environment = {"EPOCH_S": "0.5", "COMMITS": str(commits)}
        options: dict[str, Any] = {"train": STUB, "environment": environment, "name": f"{sweeps}"}
        driver = start(SWEEP, **options)
        while done < rounds:
            moment(driver, moments)
            if driver.process.poll() is not None:
                break
            KILLS[kill](driver, moments)
            done += 1
            if kill in ("worker", "raylet"):
                continue
            driver.wait()
            driver = start(SWEEP, **options)
        code = driver.wait()
        assert code == 0, driver.text
        ended_like(driver, chained)
        committed_once(commits)


def moment(driver: Driver, moments: random.Random) -> None:
    """Wait for one of a sweep's moments: its start, or an epoch to come and a bit."""
    if moments.random() < 0.2:
        time.sleep(moments.uniform(0, 8))
        return
    wanted = driver.epochs() + moments.randint(1, 4)
    end = time.monotonic() + 60
    while driver.epochs() < wanted and driver.process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(moments.uniform(0, 0.5))


@pytest.mark.exhaustive(reason="repeats its fault at random moments, with real training")
def test_real_trials_killed_at_random_moments_have_the_same_records(
    start: Start, cache: Path, moments: random.Random, rounds: int, tmp_path: Path
) -> None:
    (tmp_path / "trained").mkdir()
    trained = undisturbed(tmp_path / "trained", cache, SWEEP)
    driver = start(SWEEP)
    for _ in range(rounds):
        moment(driver, moments)
        if driver.process.poll() is not None:
            break
        moments.choice([kill_driver, kill_all])(driver, moments)
        driver = start(SWEEP)
    assert driver.wait() == 0, driver.text
    ended_like(driver, trained)
