"""A cluster that has no room for a trial yet: whose autoscaler adds a node, and any other one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.runner import growing
from orchestrator.runner.nodes import ClusterError, Node
from orchestrator.spec.models import ResourcesSpec

HEAD = Node("head", "10.0.0.1", {"memory": 1.0})
WORKER = Node("worker", "10.0.0.2", {"CPU": 4.0, "GPU": 1.0})
WANTED = ResourcesSpec(cpu=2, gpu=0.5)


class FakeRay:
    """Ray, to which a node comes after some looks, if one has been asked for."""

    def __init__(self, comes_after: int):
        self.comes_after = comes_after
        self.there = [HEAD]
        self.asked: dict[str, float] = {}
        self.cancelled = False

    def remote(self, function: Any) -> Any:
        def options(**resources: float) -> Any:
            self.asked = resources
            return SimpleNamespace(remote=lambda: "task")

        return SimpleNamespace(options=options)

    def wait(self, tasks: list[str], timeout: float) -> tuple[list[str], list[str]]:
        assert self.asked, "nobody asked for a node"
        self.comes_after -= 1
        if self.comes_after >= 0:
            return [], tasks
        self.there.append(WORKER)
        return tasks, []

    def cancel(self, task: str, force: bool) -> None:
        self.cancelled = True

    def cluster_resources(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for node in self.there:
            for name, value in node.resources.items():
                total[name] = total.get(name, 0.0) + value
        return total


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how the cluster grows; returns Ray."""

    def set_it(autoscaler: bool, comes_after: int = 3, refuses: bool = False) -> FakeRay:
        fake = FakeRay(comes_after)
        monkeypatch.setattr(growing, "ray", fake)
        monkeypatch.setattr(growing, "nodes", lambda: fake.there)
        monkeypatch.setattr(
            growing, "able", lambda wanted: [n for n in fake.there if growing.places_on(n, wanted)]
        )
        monkeypatch.setattr(growing, "has_autoscaler", lambda: autoscaler)
        monkeypatch.setattr(growing, "refuses", lambda wanted: refuses)
        return fake

    return set_it


def test_a_trial_sized_task_asks_the_autoscaler_for_a_node(world: Any) -> None:
    ray, said = world(autoscaler=True), []
    assert growing.await_room(WANTED, said.append) is True
    assert ray.asked == {"num_cpus": 2, "num_gpus": 0.5}
    assert ray.there == [HEAD, WORKER] and ray.cancelled
    assert said == [
        "no node has room for a trial (2 CPUs and 0.5 GPUs) yet: the cluster's autoscaler is asked "
        "for one"
    ]


def test_a_long_wait_is_told(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "_TELL_S", 0.0)
    said: list[str] = []
    world(autoscaler=True)
    growing.await_room(WANTED, said.append)
    assert said[1] == "still waiting for a node with 2 CPUs and 0.5 GPUs: 0 s; Ctrl-C leaves"


def test_where_there_is_room_nothing_is_asked_for(world: Any) -> None:
    ray = world(autoscaler=True)
    ray.there.append(WORKER)
    assert growing.await_room(WANTED, pytest.fail) is False
    assert ray.asked == {}


def test_an_autoscaler_without_such_a_node_is_a_wrong_input(world: Any) -> None:
    ray = world(autoscaler=True, comes_after=100, refuses=True)
    with pytest.raises(ClusterError, match="has no node of that size to add") as caught:
        growing.await_room(WANTED, lambda text: None)
    assert caught.value.exit_code == 2
    assert ray.cancelled, "the task would go on asking for a node"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (ResourcesSpec(cpu=2, gpu=0.5), r"resources.gpu: a trial needs 0.5, but Ray has 0;"),
        (ResourcesSpec(cpu=2, gpu=0), r"resources.cpu: a trial needs 2, but Ray has 0$"),
    ],
)
def test_without_an_autoscaler_too_few_resources_are_a_wrong_input(
    world: Any, wanted: ResourcesSpec, message: str
) -> None:
    ray = world(autoscaler=False)
    with pytest.raises(ClusterError, match=message):
        growing.await_room(wanted, pytest.fail)
    assert ray.asked == {}


def test_resources_of_several_nodes_are_no_room_for_one_trial(world: Any) -> None:
    ray = world(autoscaler=False)
    ray.there += [WORKER, WORKER]
    with pytest.raises(ClusterError, match="on one node, and no node has so many"):
        growing.await_room(ResourcesSpec(cpu=6, gpu=0), pytest.fail)


def test_only_a_request_of_the_trials_size_counts_as_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(growing, "_infeasible", lambda: [{"CPU": 8.0}, {"CPU": 2.0, "GPU": 0.5}])
    assert growing.refuses(WANTED)
    assert growing.refuses(ResourcesSpec(cpu=8, gpu=0))
    assert not growing.refuses(ResourcesSpec(cpu=2, gpu=0))
