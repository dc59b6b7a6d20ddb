"""A node is announced to go (a spot notice): its trials leave it with their next epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.drivers import SMALL_NODE, SWEEP, Driver, ended_like, undisturbed

pytestmark = pytest.mark.exhaustive(reason="starts a cluster of three nodes and whole sweeps on it")
Start = Callable[..., Driver]
STUB = "tests.faults.chained:train"
#: Seconds that an epoch takes.
EPOCH_S = "1.5"
#: No attempt may be lost: one that is ends the trial as failed.
_STRICT = SWEEP | {
    "base": SWEEP["base"] | {"epochs": 6},
    "search": SWEEP["search"] | {"num_trials": 2},
    "resources": SWEEP["resources"] | {"max_failures": 0},
}


def drain(cluster: Any, node: Any, seconds: int) -> None:
    """As the agent of a cloud does that has been told when the machine goes."""
    import ray
    from ray.core.generated import autoscaler_pb2

    accepted, why = ray._raylet.GcsClient(address=cluster.address).drain_node(
        node.node_id,
        autoscaler_pb2.DRAIN_NODE_REASON_PREEMPTION,
        "the machine is taken away",
        int(1000 * (time.time() + seconds)),
    )
    assert accepted, why


def raylet(node: Any) -> psutil.Process:
    return psutil.Process(next(i.process for i in node.all_processes["raylet"]).pid)


def at_work(daemon: psutil.Process) -> list[psutil.Process]:
    """Processes of a raylet in which a trial is at work."""
    try:
        found = daemon.children(recursive=True)
        return [each for each in found if "TrialTrainable" in " ".join(each.cmdline())]
    except psutil.Error:  # it has left, or one of them has just ended
        return []


def begun(
    start: Start, cluster: Any, tmp_path: Path, cache: Path
) -> tuple[Driver, Path, Any, psutil.Process]:
    """A sweep that has begun, what an undisturbed one leaves, a node at work, its raylet."""
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, _STRICT, STUB)
    driver = start(_STRICT, "--address", cluster.address, train=STUB)
    node = next(iter(cluster.worker_nodes))
    daemon = raylet(node)
    driver.wait_until(lambda: driver.epochs() >= 2 and bool(at_work(daemon)))
    return driver, whole, node, daemon


def test_trials_leave_a_draining_node_with_their_next_epoch_and_lose_none(
    start: Start, cluster: Any, tmp_path: Path, cache: Path
) -> None:
    driver, whole, node, daemon = begun(start, cluster, tmp_path, cache)
    drain(cluster, node, 60)
    cluster.add_node(**SMALL_NODE)
    assert driver.wait() == 0, driver.text
    ended_like(driver, whole)
    assert not at_work(daemon) and "died" not in driver.text
    lines = driver.text.splitlines()
    said = next(n for n, line in enumerate(lines) if line.startswith("1 node drains"))
    left = next(n for n, line in enumerate(lines) if line.endswith("epoch: its node drains"))
    name = lines[left].partition("] ")[2].split()[0]
    assert sum(f"{name} epoch" in line for line in lines[said:left]) == 1, driver.text


def test_what_is_cut_off_on_a_draining_node_is_no_failure(
    start: Start, cluster: Any, tmp_path: Path, cache: Path
) -> None:
    """The machine goes before the epoch is over."""
    driver, whole, node, daemon = begun(start, cluster, tmp_path, cache)
    family = daemon.children(recursive=True)
    drain(cluster, node, 0)
    driver.wait_until(lambda: "1 node drains" in driver.text)
    cluster.remove_node(node, allow_graceful=False)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    cluster.add_node(**SMALL_NODE)
    assert driver.wait() == 0, driver.text
    ended_like(driver, whole)
    assert "its node is gone, as announced" in driver.text
