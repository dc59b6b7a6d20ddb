"""A cluster that at first is a head without CPUs and an autoscaler, as docker/k8s has it.

The autoscaler is Ray's own (version 2).  Its cloud is a program of Ray's tests, which starts each
node as processes on this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator import runner  # noqa: F401  (sets what Ray reads when it is imported)
from tests.support.drivers import PATIENCE_S, SMALL_NODE, SWEEP, Driver, trials
from tests.support.paths import ROOT

pytestmark = pytest.mark.exhaustive(reason="Ray's autoscaler starts nodes: a minute")

Start = Callable[..., Driver]
_MEMORY = SMALL_NODE["object_store_memory"]
#: Ray reads them, although no machine is set up.
_UNUSED = (
    "setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files",
    "rsync_exclude", "rsync_filter",
)  # fmt: skip


def _config(address: str, head: str) -> dict[str, Any]:
    """A cloud with machines of one CPU, at most two of them, and none at first."""
    provider = {
        "type": "external", "launch_multiple": True, "disable_node_updaters": True,
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": head, "gcs_address": address,
    }  # fmt: skip
    return {
        **{key: [] for key in _UNUSED}, "file_mounts": {}, "file_mounts_sync_continuously": False,
        "cluster_name": "growing", "max_workers": 2, "provider": provider, "auth": {},
        "idle_timeout_minutes": 5, "upscaling_speed": 1.0, "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {
                "resources": {"CPU": 0, "object_store_memory": _MEMORY},
                "node_config": {}, "max_workers": 0,
            },
            "small": {
                "resources": {"CPU": 1, "object_store_memory": _MEMORY},
                "node_config": {}, "min_workers": 0, "max_workers": 2,
            },
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the cluster's head."""
    from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
    from ray.util import get_node_ip_address

    folder = tmp_path_factory.mktemp("growing")
    # The paths of Ray's sockets have at most 107 characters.
    short = Path(tempfile.mkdtemp(prefix="growing-", dir="/tmp"))
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    at = f"{get_node_ip_address()}:{port}"
    (folder / "cloud.json").write_text(json.dumps(_config(at, FAKE_HEAD_NODE_ID)))
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    log = folder / "head.log"
    with log.open("w") as stream:
        head = subprocess.Popen(
            [
                Path(sys.executable).parent / "ray", "start", "--head", "--block", "--num-cpus=0",
                f"--port={port}", f"--object-store-memory={_MEMORY}", "--include-dashboard=false",
                "--min-worker-port=0", "--max-worker-port=0", f"--temp-dir={short}",
                f"--autoscaling-config={folder / 'cloud.json'}",
            ],
            env={
                **os.environ, "PYTHONPATH": str(ROOT), "RAY_FAKE_CLUSTER": "1",
                "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1",
                "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            },
            stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE_S
        while "Ray runtime started" not in log.read_text():
            assert head.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.5)
        yield at
    finally:
        family = []
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(head.pid).children(recursive=True)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.kill()
        head.wait()
        shutil.rmtree(short, ignore_errors=True)


def _nodes(address: str) -> int:
    """How many nodes live, as Ray's own command says."""
    code = (
        "import orchestrator.runner, ray, sys\n"
        "ray.init(address=sys.argv[1], log_to_driver=False)\n"
        "print(sum(node['Alive'] for node in ray.nodes()))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, address],
        capture_output=True, text=True, cwd=ROOT, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    return int(answer.stdout)


def test_wrong_inputs_end_before_a_node_is_asked_for(start: Start, address: str) -> None:
    missing = {**SWEEP["base"], "data": {"source": "cs224n", "root": "/nowhere"}}
    driver = start({**SWEEP, "base": missing}, "--address", address)
    assert driver.wait() == 2, driver.text
    assert "/nowhere" in driver.text and "Traceback" not in driver.text
    assert _nodes(address) == 1


def test_the_doctor_finds_no_fault_in_a_cluster_that_will_grow(
    address: str, tmp_path: Path
) -> None:
    code = "from orchestrator.cli import main; main()"
    asked = ("search_spaces/arrp.yaml", "--profile", "embedded", "--address", address)
    answer = subprocess.run(
        [sys.executable, "-c", code, "doctor", *asked, "--out", tmp_path, "--json"],
        capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (room,) = [f for f in json.loads(answer.stdout)["findings"] if f["what"] == "resources"]
    assert room["level"] == "warning" and "autoscaler is asked for a node" in room["remedy"]
    assert _nodes(address) == 1


def test_a_size_that_no_machine_of_the_cloud_has_is_a_wrong_input(
    start: Start, address: str
) -> None:
    driver = start({**SWEEP, "resources": {"cpu": 64}}, "--address", address)
    assert driver.wait() == 2, driver.text
    assert "has no node of that size to add" in driver.text and "Traceback" not in driver.text
    assert _nodes(address) == 1
    assert not list(driver.out.glob("s/trials/*"))


def test_trials_that_wait_bring_the_nodes(start: Start, address: str) -> None:
    driver = start(SWEEP, "--address", address)
    assert driver.wait() == 0, driver.text
    assert "no node has room for a trial (1 CPUs and 0 GPUs) yet" in driver.text
    assert {trial.status for trial in trials(driver.out).values()} == {"complete"}
    assert _nodes(address) == 3
