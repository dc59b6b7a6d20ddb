"""What the driver makes of a cluster's nodes: which it joins, which it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import runner
from orchestrator.runner import auth_token, draining, nodes
from orchestrator.runner.attempt import Report
from orchestrator.runner.cluster import _check_nodes
from orchestrator.runner.draining import Draining
from orchestrator.runner.nodes import Node
from orchestrator.runner.stopping import Stopping
from orchestrator.runner.trainable import TrialTrainable
from orchestrator.scheduling.successive_halving import Halving
from tests.support.attempts import Driver

HERE = nodes.versions()()["versions"]


class Weak(Halving):
    """Every trial is too weak behind its first epoch."""

    def __init__(self) -> None:
        pass

    def result(self, trial_id: str, epoch: int, metrics: Any) -> bool:
        return True


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt sets their number."""
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Address of a node -> its answer about versions and token; what is set here is found."""
    given: dict[str, Any] = {}

    def ask(where: list[Node], question: Callable[[], Any]) -> dict[Node, Any]:
        return {node: given[node.address] for node in where}

    monkeypatch.setattr(nodes, "ask", ask)
    monkeypatch.setattr(nodes, "nodes", lambda: [Node(a * 8, a, {}, a == "going") for a in given])
    return given


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(auth_token, "is_set", lambda: False)


def test_a_cluster_is_not_joined_without_a_token(no_token: None) -> None:
    with pytest.raises(runner.ClusterError) as problem:
        runner.require_token("head:6379", insecure=False)
    assert "no token is set for the cluster at head:6379" in str(problem.value)
    assert "RAY_AUTH_TOKEN_PATH" in str(problem.value) and "--insecure" in str(problem.value)
    runner.require_token("head:6379", insecure=True)
    runner.require_token(None, insecure=False)  # a cluster of one's own makes its token


def test_an_empty_or_missing_token_file_is_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    auth_token.ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
    try:
        assert not auth_token.is_set()
        (tmp_path / "token").write_text("")
        assert not auth_token.is_set()
        (tmp_path / "token").write_text("0123456789abcdef")
        auth_token.ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
        assert auth_token.is_set()
    finally:
        auth_token.ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def test_a_node_with_another_torch_is_named_with_both_versions(answers: dict[str, Any]) -> None:
    answers["10.0.0.1"] = {"versions": HERE, "token": True}
    _check_nodes("head:6379", insecure=False)
    answers["10.0.0.2"] = {"versions": HERE | {"torch": "2.10.0"}, "token": True}
    answers["10.0.0.3"] = {"versions": HERE | {"orch-mtl": ""}, "token": True}
    answers["10.0.0.4"] = OSError("no worker starts there\nmore")
    answers["going"] = {"versions": {}, "token": False}  # nothing is placed on it
    with pytest.raises(runner.ClusterError) as problem:
        _check_nodes("head:6379", insecure=False)
    assert str(problem.value).splitlines() == [
        f"node 10.0.0.2 (10.0.0) has torch 2.10.0, this machine has {HERE['torch']}",
        f"node 10.0.0.3 (10.0.0) does not have orch-mtl, this machine has {HERE['orch-mtl']}",
        "node 10.0.0.4 (10.0.0) does not answer: no worker starts there",
        "install the same versions on all nodes (constraints.txt)",
    ]


def test_a_cluster_that_asks_for_no_token_is_joined_by_those_who_say_so(
    answers: dict[str, Any],
) -> None:
    answers["10.0.0.1"] = {"versions": HERE, "token": False}
    with pytest.raises(runner.ClusterError, match=r"demands no token.*10\.0\.0\.1.*--insecure"):
        _check_nodes("head:6379", insecure=False)
    _check_nodes("head:6379", insecure=True)


def test_a_trial_on_a_draining_node_goes_on_elsewhere_and_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, "nothing", max_failures=0)
    monkeypatch.setattr(draining, "draining_nodes", lambda: {"n1": 0})
    stopping = Stopping(driver.attempts, Draining(driver.queue._say))
    first = driver.begin("a")
    assert first
    report = first.epoch()
    assert not stopping("a", {"node": "n2"}), "another node"
    assert stopping("a", {"node": "n1"})
    driver.attempts.ended("a", report)
    assert driver.status(first) is None
    assert "is tried again from its last epoch: its node drains" in driver.said.getvalue()
    again = driver.begin("b")
    assert again and again._order["trial_id"] == first._order["trial_id"]
    assert not stopping("b", {"node": "n2"})
    report = again.epoch()
    assert report.epoch == 2
    driver.attempts.ended("b", report)
    assert driver.status(again) == "complete"


def test_a_trial_that_ends_on_a_draining_node_has_ended(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", epochs=1)
    attempt = driver.begin("a")
    assert attempt
    report = attempt.epoch()
    driver.attempts.leave("a")
    driver.attempts.ended("a", report)
    assert driver.status(attempt) == "complete" and driver.begin("b") is None


def test_a_training_without_an_end_is_no_move(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", max_failures=0)
    attempt = driver.begin("a")
    assert attempt
    driver.attempts.leave("a")
    driver.attempts.ended("a", Report(ended=True))
    assert "without an end record" in driver.said.getvalue()


def test_a_weak_trial_is_pruned_on_a_draining_node_too(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", halving=Weak())
    attempt = driver.begin("a")
    assert attempt
    driver.attempts.leave("a")
    driver.attempts.ended("a", attempt.epoch())
    assert driver.status(attempt) == "pruned"


@pytest.mark.parametrize("known", [True, False])
def test_a_worker_that_goes_with_its_announced_node_is_no_failure(
    tmp_path: Path, known: bool
) -> None:
    """Known by its results, or by what Ray says of its death."""
    driver = Driver(tmp_path, "nothing", max_failures=0)
    attempt = driver.begin("a")
    assert attempt
    if known:
        driver.attempts.leave("a")
    driver.attempts.died("a", "the node was preempted", announced=not known)
    assert driver.status(attempt) is None and driver.begin("b")
    assert "its node is gone, as announced" in driver.said.getvalue()


def test_a_failure_on_a_draining_node_is_one(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "nothing", max_failures=0)
    attempt = driver.begin("a")
    assert attempt
    attempt.epoch()
    driver.attempts.leave("a")
    driver.attempts.ended("a", Report(ended=True, error="OSError: a fault"))
    assert driver.status(attempt) == "failed"


def test_nodes_that_drain_are_said_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, there, said = [0.0], dict[str, int](), list[str]()
    monkeypatch.setattr(draining.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(draining, "draining_nodes", lambda: dict(there))
    seen = Draining(said.append)
    seen.placed("a", "n1")
    seen.placed("b", "n2")
    seen.placed("c", None)
    assert not seen.leaves("a") and not seen.any
    there["n1"] = 0
    assert not seen.leaves("a"), "Ray is not asked at every result"
    clock[0] += 2
    assert [name for name in "abcd" if seen.leaves(name)] == ["a"] and seen.any
    assert len(said) == 1 and said[0].startswith("1 node drains")
    there.clear()  # it is gone
    there["n2"] = 0
    clock[0] += 2
    assert seen.leaves("a") and seen.leaves("b") and len(said) == 2


def test_a_node_that_is_gone_before_an_epoch_is_over_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(tmp_path, "nothing", max_failures=0)
    there = {"n1": 0}
    monkeypatch.setattr(draining, "draining_nodes", lambda: dict(there))
    monkeypatch.setattr(draining, "_EVERY_S", 0)
    seen = Draining(print)
    stopping = Stopping(driver.attempts, seen)
    seen.placed("a", "n1")
    stopping.stop_all()  # asked by Tune again and again
    there.clear()
    stopping.stop_all()
    assert seen.leaves("a")


def test_a_ray_that_does_not_say_what_drains_costs_no_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def away() -> dict[str, int]:
        asked.append(1)
        raise ConnectionError("no answer")

    monkeypatch.setattr(draining, "draining_nodes", away)
    seen = Draining(print)
    seen.placed("a", draining.node_of(None))
    assert not seen.leaves("a") and not seen.leaves("a")
    assert len(asked) == 1, "not at every result"


def test_after_a_drain_no_process_is_used_for_a_second_trial() -> None:
    config = {"cpu": 1, "gpu": 0, "alone": False, "own": ""}
    request = TrialTrainable.default_resource_request
    assert request(config) == request(config)
    assert request(config | {"own": "a"}) != request(config | {"own": "b"})
    alone = request({"cpu": 1, "gpu": 0.5, "alone": True, "own": "a"})
    assert alone.bundles == [{"CPU": 1, "GPU": 1}]
