"""Timing within a sweep: a task on a device of the trials' kind."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.runner import nodes as runner_nodes
from orchestrator.runner import timing_task
from orchestrator.runner.nodes import Node
from orchestrator.runner.timing_task import TimingError, TimingOrder
from orchestrator.spec import ResourcesSpec

WANTED = ResourcesSpec(cpu=2, gpu=0.5)


def node(name: str, draining: bool = False, cpus: float = 4.0) -> Node:
    return Node(name * 56, f"10.0.0.{name}", {"CPU": cpus, "GPU": 1.0}, draining)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], float]]:
    """Three nodes: one drains, one has another device, one does not answer."""
    devices: dict[str, Any] = {
        "10.0.0.1": "cuda: H200", "10.0.0.2": "cuda: T4", "10.0.0.3": RuntimeError("no room"),
        "10.0.0.4": "cuda: H200",
    }  # fmt: skip
    asked: list[tuple[list[str], float]] = []

    def ask(where: list[Node], question: Any, gpus: float = 0) -> dict[Node, Any]:
        asked.append(([each.address for each in where], gpus))
        return {each: devices[each.address] for each in where}

    present = [node("1", draining=True), node("5", cpus=0.0), node("2"), node("3"), node("4")]
    monkeypatch.setattr(runner_nodes, "nodes", lambda: present)
    monkeypatch.setattr(timing_task, "ask", ask)
    return asked


def test_a_cluster_times_on_a_node_with_the_trials_device(
    cluster: list[tuple[list[str], float]],
) -> None:
    strategy = timing_task._node_with("cuda: H200", WANTED)
    assert strategy.node_id == "4" * 56 and not strategy.soft
    assert cluster == [(["10.0.0.2", "10.0.0.3", "10.0.0.4"], 1)]  # one drains, one has no room


def test_a_cluster_without_such_a_device_says_so(cluster: list[Any]) -> None:
    with pytest.raises(TimingError, match=r"no node has a free device.*cuda: A100"):
        timing_task._node_with("cuda: A100", WANTED)


def test_an_error_of_the_task_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Remote:
        def options(self, **options: Any) -> Remote:
            assert options == {"num_cpus": 2, "num_gpus": 1, "max_retries": 0}
            return self

        def remote(self, order: TimingOrder) -> str:
            return "task"

    def get(task: str) -> str:
        raise RuntimeError("Traceback ...\norchestrator.errors.UserError: the data have changed")

    monkeypatch.setattr(timing_task.ray, "remote", lambda function: Remote())
    monkeypatch.setattr(timing_task.ray, "get", get)
    order = TimingOrder("out", "s", ["a"], {}, 20.0, "cuda: H200", "/")
    with pytest.raises(TimingError) as error:
        timing_task.time_on_ray(WANTED, order, joined=False)
    assert "\n" not in str(error.value) and "the data have changed" in str(error.value)
