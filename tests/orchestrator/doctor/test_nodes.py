"""`orch doctor` on nodes whose GPUs and containers are made up: each fault is one finding."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.doctor import Finding, container, gpu_driver, machine
from orchestrator.doctor import cluster as nodes
from orchestrator.doctor.container import read_container
from orchestrator.doctor.devices import device_findings, idle_findings
from orchestrator.doctor.gpu_driver import driver_findings, read_driver
from orchestrator.doctor.inputs import encoder_finding
from orchestrator.runner import growing
from orchestrator.runner.nodes import Node
from orchestrator.spec import SweepSpec

T4 = {
    "name": "Tesla T4", "memory": 16 * 10**9, "capability": (7, 5), "native": ["fp16", "fp32"],
}  # fmt: skip
A100 = {
    "name": "NVIDIA A100", "memory": 40 * 10**9, "capability": (8, 0),
    "native": ["bf16", "fp16", "fp32", "tf32"],
}  # fmt: skip
V100 = {**T4, "name": "Tesla V100", "capability": (7, 0)}
#: A node with a GPU, on which everything fits.
DRIVER = {
    "torch": "2.13.0+cu130", "built_for": (13, 0), "supports": (13, 0), "driver": "580.65.06",
    "kernels": [(7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0)], "source": [(12, 0)],
    "devices": 1, "problem": "",
}  # fmt: skip
CONTAINER = {"kuberay": "", "by_kuberay": False, "lost": None}


def spec_of(**parts: Any) -> SweepSpec:
    base = {"data": {"source": "synthetic"}, "encoder": "tiny"} | parts.pop("base", {})
    return SweepSpec.model_validate({"name": "s", "base": base, **parts})


def node(*gpus: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """What a node with these GPUs says about itself."""
    plenty = {"memory_free": 10**12, "cache_free": 10**12, "shm_free": 10**12, "shm_size": 10**12}
    driver = DRIVER if gpus else DRIVER | {"devices": 0, "supports": None, "driver": ""}
    described = machine.describe("~/.cache/orch-mtl") | plenty
    about = {"driver": driver, "container": CONTAINER, "gpus": list(gpus), "cpus": 8}
    return described | about | changed


def found_on(
    machines: dict[str, dict[str, Any]], spec: SweepSpec | None = None, **offers: dict[str, float]
) -> dict[tuple[str, str], Finding]:
    """(what, node) -> the finding that is not `ok`, on nodes that describe themselves so."""

    def answering(described: dict[str, Any]) -> Callable[..., Any]:
        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            return described if function is machine.describe else function(*arguments)

        return call

    calls = {name: answering(described) for name, described in machines.items()}
    found = nodes.node_findings(calls, spec, offers)
    return {(f.what, f.node): f for f in found if f.level != "ok"}


def test_nodes_that_fit_have_no_finding() -> None:
    offer = {"CPU": 8.0, "GPU": 1.0, "object_store_memory": 80e6}
    spec = spec_of(resources={"cpu": 2, "gpu": 0.5, "max_concurrent": 4})
    assert found_on({"a": node(A100), "b": node(A100)}, spec, a=offer, b=offer) == {}


@pytest.mark.parametrize(
    ("changed", "gpus", "text", "remedy"),
    [
        ({"built_for": None, "torch": "2.13.0+cpu"}, [], "a GPU is here, but torch 2.13.0+cpu",
         "CUDA build"),
        ({"supports": None, "devices": 2}, [], "2 GPUs are here, but the driver's library",
         "--gpus all"),
        ({"supports": (12, 2), "driver": "535.104.05"}, [],
         "driver 535.104.05 knows CUDA 12.2, but torch is built for CUDA 13.0", "580.65 or newer"),
        ({"supports": (13, 0), "problem": "CUDA unknown error"}, [], "CUDA unknown error",
         "nvidia-smi"),
        ({"kernels": [(7, 5)], "source": []}, [A100],
         "no kernels for NVIDIA A100 (8.0), only for 7.5", "older CUDA"),
        ({}, [A100, V100], "no kernels for Tesla V100 (7.0), only for 7.5, 8.0", "older CUDA"),
    ],
)  # fmt: skip
def test_a_driver_that_cannot_run_torch_is_an_error_where_a_gpu_is_wanted(
    changed: dict[str, Any], gpus: list[dict[str, Any]], text: str, remedy: str
) -> None:
    for wanted, level in ((True, "error"), (False, "warning")):
        (found,) = driver_findings(DRIVER | changed, gpus, "n1", wanted=wanted)
        assert found.level == level and found.what == "driver" and found.node == "n1"
        assert text in found.found and remedy in found.remedy
    spec = spec_of(resources={"gpu": 1})
    described = node(*gpus or [A100], driver=DRIVER | changed)
    told = found_on({"a": described, "head": described}, spec, a={"CPU": 8, "GPU": 1})
    levels = {place: f.level for (what, place), f in told.items() if what == "driver"}
    assert levels == {"a": "error", "head": "warning"}, "the head offers no GPU"


@pytest.mark.parametrize(
    ("changed", "gpus"),
    [
        ({"supports": (13, 2)}, [A100]),
        ({"supports": (12, 2), "built_for": (12, 8)}, [A100]),  # compatible within CUDA 12
        ({"built_for": (12, 8)}, [A100]),
        ({}, [T4, A100]),
        ({}, [{**A100, "capability": (8, 9)}]),
        ({}, [{**A100, "capability": (13, 0)}]),  # by the source of 12.0
    ],
)
def test_a_driver_that_runs_torch_is_fine(
    changed: dict[str, Any], gpus: list[dict[str, Any]]
) -> None:
    (found,) = driver_findings(DRIVER | changed, gpus, wanted=True)
    assert found.level == "ok" and "580.65.06" in found.found


def test_gpus_that_a_node_only_claims_to_have_are_an_error() -> None:
    offer = {"CPU": 8.0, "GPU": 4.0}
    spec = spec_of(resources={"cpu": 1, "gpu": 1, "max_concurrent": 4})
    told = found_on({"a": node(), "b": node(A100, A100)}, spec, a=offer, b=offer)
    claims = {place: f for (what, place), f in told.items() if what == "driver"}
    assert {place: f.level for place, f in claims.items()} == {"a": "error", "b": "error"}
    assert claims["a"].found == "the node offers 4 GPUs, and torch sees 0 there"
    assert "torch sees 2 there" in claims["b"].found


def test_a_machine_without_a_gpu_needs_no_driver() -> None:
    assert list(driver_findings(DRIVER | {"devices": 0, "supports": None}, [], wanted=True)) == []


def test_a_real_driver_is_read_without_one_being_there() -> None:
    found = read_driver()
    assert found["torch"] == torch.__version__ and set(found) == set(DRIVER)
    if not found["devices"]:
        assert found["problem"] == "" and list(driver_findings(found, [])) == []


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19", "535.104.05"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Rel", "580.65.06"),
        ("something else", ""),
    ],
)  # fmt: skip
def test_the_kernel_module_names_the_driver(
    line: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *asked, **more: line + "\nGCC version: 12\n")
    assert gpu_driver._driver_version() == version


def test_nodes_of_two_kinds_are_named_with_their_precisions() -> None:
    offer = {"CPU": 8.0, "GPU": 1.0}
    spec = spec_of(resources={"gpu": 1})
    machines = {"a": node(A100), "b": node(T4), "c": node(A100), "head": node()}
    offers = {"a": offer, "b": offer, "c": offer, "head": {}}
    (found,) = device_findings(machines, offers, spec)
    assert found.level == "warning" and "one precision must suit all" in found.remedy
    assert found.found == (
        "NVIDIA A100 (bf16, fp16, fp32, tf32) on a, c; Tesla T4 (fp16, fp32) on b"
    )
    del machines["b"]
    (alike,) = device_findings(machines, offers, spec)
    assert alike.level == "ok" and alike.found.endswith(" on a, c")


def test_cpus_are_kinds_where_trials_use_them() -> None:
    old = {"name": "Old CPU", "native": ["fp32"]}
    new = {"name": "New CPU", "native": ["bf16", "fp32"]}
    machines = {"a": node(A100, cpu=old), "b": node(T4, cpu=new)}
    (found,) = device_findings(machines, {}, spec_of(resources={"gpu": 0}))
    assert found.level == "warning"
    assert found.found == "Old CPU (fp32) on a; New CPU (bf16, fp32) on b"


@pytest.mark.parametrize(
    ("cpus", "gpus", "parts", "text"),
    [
        (2, 8, {"cpu": 1, "gpu": 1, "max_concurrent": 8}, "room for 8 trials of 1, but 2 CPUs"),
        (0, 1, {"cpu": 2, "gpu": 0.5}, "room for 2 trials of 0.5, but 0 CPUs for 0 of 2"),
        (2, 8, {"cpu": 1, "gpu": 1, "max_concurrent": 2}, ""),
        (16, 8, {"cpu": 2, "gpu": 1, "max_concurrent": 20}, ""),
        (2, 8, {"cpu": 1, "gpu": 0}, ""),
        (2, 0, {"cpu": 1, "gpu": 1}, ""),
    ],
)  # fmt: skip
def test_gpus_without_cpus_stay_idle(
    cpus: float, gpus: float, parts: dict[str, Any], text: str
) -> None:
    found = list(idle_findings(spec_of(resources=parts), {"CPU": cpus, "GPU": gpus}, "n1"))
    assert [f.level for f in found] == (["warning"] if text else [])
    assert all(text in f.found and f.node == "n1" for f in found)


@pytest.mark.parametrize(("grows", "level"), [(True, "warning"), (False, "error")])
def test_a_cluster_without_room_is_no_error_where_an_autoscaler_adds_nodes(
    grows: bool, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "has_autoscaler", lambda: grows)
    (found,) = nodes._resources(spec_of(resources={"cpu": 2}), [Node("id", "head", {})])
    assert (found.what, found.level) == ("resources", level)
    assert ("autoscaler" in found.remedy) == grows


def test_gpus_without_cpus_are_seen_without_a_sweep() -> None:
    four = node(A100, A100, A100, A100)
    assert found_on({"a": four}, None, a={"GPU": 4.0}).keys() == {("idle gpu", "a")}
    assert found_on({"a": four}, None, a={"CPU": 4.0, "GPU": 4.0}) == {}


def test_an_object_store_larger_than_its_memory_is_told() -> None:
    small = node(shm_size=64 * 2**20)
    told = found_on({"a": small, "b": node()}, None, a={"object_store_memory": 9e9},
                    b={"object_store_memory": 9e9})  # fmt: skip
    assert told.keys() == {("shm", "a")}
    assert "may take 9.0 GB, /dev/shm has 67.1 MB" in told["shm", "a"].found


@pytest.mark.parametrize(
    ("version", "level"),
    [("v1.5.1", "warning"), ("v1.6.0", "ok"), ("v1.10.2", "ok"), ("nightly", "ok")],
)
def test_the_operator_that_started_a_node_is_old_enough(
    version: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = f"other=1;kuberay_version={version};kuberay_crd=RayJob"
    monkeypatch.setenv("RAY_USAGE_STATS_EXTRA_TAGS", tags)
    monkeypatch.setenv("RAY_USAGE_STATS_KUBERAY_IN_USE", "1")
    head, worker = read_container(), CONTAINER | {"by_kuberay": True}
    (found,) = container.operator_findings({"head": head, "worker": worker})
    assert (found.level, found.node) == (level, "head") and version in found.found


def test_an_operator_that_is_not_known_is_no_fault() -> None:
    worker = CONTAINER | {"by_kuberay": True}
    (found,) = container.operator_findings({"worker": worker})
    assert found.level == "ok" and found.found.startswith("not known")
    assert list(container.operator_findings({"a": CONTAINER})) == []


def test_a_login_shell_that_loses_the_path_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "sh"  # as a login shell, which sets PATH anew
    shell.write_text(f'#!/bin/sh\nshift\nPATH={tmp_path / "kept"}; eval "$1"\n')
    shell.chmod(0o755)
    (tmp_path / "kept").mkdir()
    for name in ("orch", "python"):
        (tmp_path / "kept" / name).write_text("#!/bin/sh\n")
        (tmp_path / "kept" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(container, "_MARKS", ())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert read_container()["lost"] == ["ray"]
    (found,) = container.container_findings(read_container(), "n1")
    assert found.level == "warning" and found.found == "a login shell does not find ray"
    (fine,) = container.container_findings(CONTAINER | {"lost": []})
    assert fine.level == "ok"


def test_a_machine_that_is_no_container_has_no_shell_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(container, "_MARKS", ())
    assert read_container()["lost"] is None
    assert list(container.container_findings(read_container())) == []


def test_every_node_is_asked_about_its_container() -> None:
    old = CONTAINER | {"kuberay": "v1.5.1", "by_kuberay": True, "lost": ["ray", "orch"]}
    told = found_on({"head": node(container=old), "worker": node()})
    assert told.keys() == {("shell", "head"), ("kuberay", "head")}


def test_an_encoder_that_a_node_lacks_is_told() -> None:
    spec = spec_of()

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is encoder_finding:
            return Finding("error", "encoder", "there is no folder", "install it")
        return node() if function is machine.describe else function(*arguments)

    bad = [f for f in nodes.node_findings({"n1": call}, spec) if f.level != "ok"]
    assert [(f.what, f.node) for f in bad] == [("encoder", "n1")]
