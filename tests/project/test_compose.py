"""The Compose files: GPUs are given to one worker, and the version of Compose that they need."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
#: What Compose knows since when, by its release notes.
SINCE = {"pre_stop": (2, 30)}


def services(name: str) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load((DOCKER / name).read_text())["services"])


def test_no_two_containers_are_given_the_same_gpu() -> None:
    holders = {
        name: about["deploy"]
        for name, about in services("compose.gpu.yaml").items()
        if "devices" in about.get("deploy", {}).get("resources", {}).get("reservations", {})
    }
    assert set(holders) == {"worker"}
    (worker,) = holders.values()
    (device,) = worker["resources"]["reservations"]["devices"]
    assert worker["replicas"] == 1
    assert device["count"] == "all" and device["capabilities"] == ["gpu"]
    assert "--num-gpus=0" in services("compose.yaml")["head"]["command"]


def test_a_worker_with_several_gpus_has_no_cpus_and_memory_by_default() -> None:
    limits = services("compose.gpu.yaml")["worker"]["deploy"]["resources"]["limits"]
    for name, variable in (("cpus", "ORCH_WORKER_CPUS"), ("memory", "ORCH_WORKER_MEMORY")):
        assert limits[name].startswith(f"${{{variable}:?"), "Compose asks for it"
    assert "--num-cpus=${ORCH_WORKER_CPUS:-2}" in services("compose.yaml")["worker"]["command"]


def test_the_version_of_compose_is_stated_where_it_is_needed() -> None:
    used = {key for about in services("compose.yaml").values() for key in about}
    least = max(since for key, since in SINCE.items() if key in used)
    number = ".".join(map(str, least))
    assert f"\nneeded={number}\n" in (DOCKER / "make-secrets").read_text()
    for file in (DOCKER / "compose.yaml", ROOT / "docs" / "guide" / "cluster.md"):
        assert re.search(rf"Compose {re.escape(number)} or\s+newer", file.read_text()), file


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("2.29.7", True),
        ("2.4.1", True),
        ("2.30.0", False),
        ("v2.38.1-desktop.1", False),
        ("", False),
    ],
)
def test_a_compose_that_is_too_old_is_told(version: str, old: bool, tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho {version}\n")
    docker.chmod(0o755)
    made = subprocess.run(
        [DOCKER / "make-secrets", tmp_path / "secrets"], capture_output=True, text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    assert made.returncode == 0
    said = f"Docker Compose {version} is too old for compose.yaml, which needs 2.30 or newer"
    assert (said in made.stderr) == old and len(made.stderr.splitlines()) == old
