"""A whole node of a Ray cluster dies while trials run on it, and another one comes."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.drivers import SMALL_NODE, SWEEP, Driver, ended_like, undisturbed

pytestmark = pytest.mark.exhaustive(reason="kills nodes of a cluster at random moments")
Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"
#: Seconds that an epoch takes.
EPOCH_S = "0.5"


def kill(cluster: Any, node: Any) -> None:
    """As when its power is cut: SIGKILL to all of a node's processes, the trial's worker too."""
    raylet = next(i.process for i in node.all_processes["raylet"])
    family = psutil.Process(raylet.pid).children(recursive=True)
    cluster.remove_node(node, allow_graceful=False)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_trials_of_a_lost_node_go_on_elsewhere(
    start: Start, cluster: Any, moments: random.Random, rounds: int, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    sweep = SWEEP | {"resources": SWEEP["resources"] | {"max_failures": rounds}}
    whole = undisturbed(tmp_path / "whole", cache, sweep, STUB)
    killed = 0
    for number in range(rounds):
        if killed >= rounds:
            break
        driver = start(sweep, "--address", cluster.address, train=STUB, name=f"{number}")
        while killed < rounds:
            wanted = driver.epochs() + moments.randint(1, 4)
            while driver.epochs() < wanted and driver.process.poll() is None:
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 0.5))
            if driver.process.poll() is not None:
                break
            kill(cluster, moments.choice(list(cluster.worker_nodes)))
            killed += 1
            cluster.add_node(**SMALL_NODE)
        assert driver.wait() == 0, driver.text
        ended_like(driver, whole)
        assert "is tried again from its last epoch" in driver.text


def test_a_killed_driver_leaves_a_cluster_that_its_next_run_can_use(
    start: Start, cluster: Any, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, SWEEP, STUB)
    for epochs in (2, 5):
        driver = start(SWEEP, "--address", cluster.address, train=STUB)
        driver.wait_until(lambda d=driver, n=epochs: d.epochs() >= n)  # type: ignore[misc]
        driver.kill_driver()
    last = start(SWEEP, "--address", cluster.address, train=STUB)
    assert last.wait() == 0, last.text
    ended_like(last, whole)
