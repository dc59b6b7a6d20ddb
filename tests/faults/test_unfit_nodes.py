"""A cluster whose nodes do not fit together: no trial starts there, and `orch doctor` says why."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from orchestrator import runner  # noqa: F401  (sets what Ray reads when it is imported)
from tests.support.drivers import ROOT, SMALL_NODE, SWEEP, Driver
from tests.support.real_data import REAL, needs_real_data

pytestmark = pytest.mark.exhaustive(reason="starts a cluster whose nodes differ, and sweeps on it")
Start = Callable[..., Driver]
#: Loaded by every process of a node: its clock is late, and one folder is another one there.
_ODD = """
import os, time
now, absolute = time.time, os.path.abspath
time.time = lambda: now() - 7
os.path.abspath = lambda path: absolute(path).replace({shared!r}, {own!r})
"""
_OLD = "Metadata-Version: 2.1\nName: torch\nVersion: 2.10.0\n"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all sweeps."""
    made = tmp_path_factory.mktemp("nodes") / "shared"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def cluster(out: Path) -> Iterator[Any]:
    """A head, a node with an older torch, and one with a late clock and a folder of its own."""
    from ray.cluster_utils import Cluster

    own, odd, old, home = (out.parent / name for name in ("own", "odd", "old", "home"))
    (old / "torch-2.10.0.dist-info").mkdir(parents=True)
    (old / "torch-2.10.0.dist-info" / "METADATA").write_text(_OLD)
    for folder in (own, odd, home):
        folder.mkdir()
    (odd / "sitecustomize.py").write_text(_ODD.format(shared=str(out), own=str(own)))
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("HOME", str(home))
        made = Cluster(
            initialize_head=True,
            head_node_args={**SMALL_NODE, "num_cpus": 0, "include_dashboard": False},
        )
        try:
            for first, theirs in ((old, home), (odd, own)):
                patch.setenv("PYTHONPATH", os.pathsep.join([str(first), str(ROOT)]))
                patch.setenv("HOME", str(theirs))
                made.add_node(**SMALL_NODE)
            patch.undo()
            yield made
        finally:
            made.shutdown()


def orch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from orchestrator.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=240,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def test_another_torch_on_a_node_stops_a_sweep_before_its_first_trial(
    start: Start, cluster: Any
) -> None:
    driver = start(SWEEP, "--address", cluster.address)
    assert driver.wait() == 2, driver.text
    lines = [line for line in driver.text.splitlines() if " has torch " in line]
    assert len(lines) == 1 and " has torch 2.10.0, this machine has " in lines[0], lines
    assert "Traceback" not in driver.text
    assert not list(driver.out.glob("s/trials/*"))


def test_the_doctor_finds_what_is_wrong_with_each_node(cluster: Any, out: Path) -> None:
    answer = orch("doctor", "--address", cluster.address, "--out", str(out), "--json")
    assert answer.returncode == 1, answer.stdout + answer.stderr
    found = json.loads(answer.stdout)["findings"]
    wrong = {f["what"]: f for f in found if f["level"] == "error"}
    assert set(wrong) == {"versions", "clock", "shared out"}, answer.stdout
    assert "torch 2.10.0" in wrong["versions"]["found"]
    assert any(f"off by {seconds}" in wrong["clock"]["found"] for seconds in ("-7.0", "-6.9"))
    alone = [f for f in found if f["what"] == "shared out" and f["node"] == wrong["clock"]["node"]]
    assert "does not see what this machine" in alone[0]["found"]
    good = {(f["what"], f["node"]) for f in found if f["level"] == "ok" and f["node"]}
    assert len({node for what, node in good if what == "clock"}) == 1
    assert not list(out.iterdir()), "nothing of it is left"


@needs_real_data
def test_the_doctor_finds_a_node_without_the_data(cluster: Any, out: Path) -> None:
    home, file = out.parent / "home", out.parent / "real.yaml"
    base = {"data": {"source": "cs224n", "root": "~/data"}, "encoder": "tiny"}
    file.write_text(yaml.safe_dump({"name": "real", "base": base}))
    (home / "data").symlink_to(REAL)
    asked = ("doctor", str(file), "--address", cluster.address, "--out", str(out), "--json")
    answer = orch(*asked, HOME=str(home))
    found = json.loads(answer.stdout)["findings"]
    (without,) = [f for f in found if f["what"] == "data" and f["level"] == "error"]
    late = next(f["node"] for f in found if f["what"] == "clock" and f["level"] == "error")
    assert without["node"] == late and without["found"].startswith("missing")
    same = [f for f in found if f["what"] == "data" and f["found"].startswith("the same files")]
    assert len(same) == 1 and same[0]["level"] == "ok", "the head has them"


def test_a_wrong_or_missing_token_is_one_sentence(cluster: Any, out: Path) -> None:
    for token in ("f" * 64, ""):
        answer = orch(
            "sweep", "search_spaces/arrp.yaml", "--profile", "embedded", "--address",
            cluster.address, "--out", str(out), RAY_AUTH_TOKEN=token, HOME=str(out.parent),
        )  # fmt: skip
        assert answer.returncode == 2, answer.stdout + answer.stderr
        said = "refuses the token" if token else "no token is set for the cluster"
        assert said in answer.stderr and len(answer.stderr.splitlines()) == 1
    assert not list(out.glob("*/trials/*"))


def test_no_secret_stands_in_a_process_list_or_a_log(cluster: Any) -> None:
    token = os.environ["RAY_AUTH_TOKEN"]
    lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert any("raylet" in line for line in lines)
    assert not [line for line in lines if token in line]
    folder = Path(cluster.head_node.get_session_dir_path())
    logs = [path for path in folder.rglob("*") if path.is_file() and not path.is_socket()]
    assert logs
    assert not [path for path in logs if token.encode() in path.read_bytes()]


@pytest.fixture
def open_cluster(tmp_path: Path) -> Iterator[str]:
    """A cluster that asks for no token, in a session of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path("/tmp") / f"ray-open-{os.getpid()}"  # short, for Ray's sockets
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block",
        f"--port={port}", "--num-cpus=1", "--include-dashboard=false",
        "--node-ip-address=127.0.0.1", f"--temp-dir={folder}", "--disable-usage-stats",
        "--object-store-memory=83886080",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    with (tmp_path / "ray.txt").open("w") as log:
        head = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while "block" not in (tmp_path / "ray.txt").read_text():
            assert head.poll() is None and time.monotonic() < end, (
                tmp_path / "ray.txt"
            ).read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        family = psutil.Process(head.pid).children(recursive=True)
        os.killpg(head.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=20)
        for process in alive:
            process.kill()
        head.wait(20)


def test_a_cluster_without_tokens_is_joined_only_by_those_who_say_so(
    open_cluster: str, start: Start, out: Path
) -> None:
    bare = {"RAY_AUTH_TOKEN": "", "HOME": str(out.parent)}
    small = SWEEP | {"search": SWEEP["search"] | {"num_trials": 1, "seeds": [1]}}
    for environment in (bare, {"RAY_AUTH_TOKEN": "a" * 64}):
        refused = start(small, "--address", open_cluster, environment=environment)
        assert refused.wait() == 2, refused.text
        assert "--insecure" in refused.text and "Traceback" not in refused.text
    for environment in (bare, {"RAY_AUTH_TOKEN": "a" * 64}):
        insecure = start(small, "--address", open_cluster, "--insecure", environment=environment)
        assert insecure.wait() == 0, insecure.text
