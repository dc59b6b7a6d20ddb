"""A real Ray head with its job server: a sweep is submitted, cut off, stopped and gone on with."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.drivers import PATIENCE_S, ROOT, SWEEP, trials
from tests.support.servers import Relay, free_port, running

pytestmark = pytest.mark.exhaustive(reason="a Ray head with a job server and whole sweeps on it")
TOKEN = "0123456789abcdef" * 4


@dataclass
class Head:
    port: int
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def head() -> Iterator[Head]:
    """A head of its own with two CPUs; everything listens on loopback or asks for the token."""
    pytest.importorskip("aiohttp_cors", reason="the job server needs ray[default]")
    folder = Path(tempfile.mkdtemp(prefix="orch-head-", dir="/tmp"))  # short, for Ray's sockets
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": os.pathsep.join(path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    made = Head(free_port(), environment)
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block",
        "--node-ip-address", "127.0.0.1", "--port", str(free_port()),
        "--dashboard-host", "127.0.0.1", "--dashboard-port", str(made.port), "--num-cpus", "2",
        "--object-store-memory", str(80 * 2**20), "--temp-dir", str(folder),
    ]  # fmt: skip
    with (folder / "head.txt").open("w") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait(lambda: orch(made, folder, "--status").returncode == 0, "the head does not answer")
        yield made
    finally:
        from orchestrator.runner.local_ray import kill_processes

        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        kill_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)


def wait(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def arguments(folder: Path, address: str, *options: str) -> list[str]:
    file = folder / "sweep.yaml"
    if not file.exists():
        sweep = {**SWEEP, "base": {**SWEEP["base"], "epochs": 20}}
        sweep["base"]["data"] = {**SWEEP["base"]["data"], "size": 200, "cache": str(folder / "c")}
        file.write_text(yaml.safe_dump(sweep, sort_keys=False))
    main = "from orchestrator.cli import main; main()"
    place = ["--address", address, "--out", str(folder / "out")]
    return [sys.executable, "-c", main, "submit", str(file), *place, *options]


def orch(
    head: Head, folder: Path, *options: str, token: str = TOKEN
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments(folder, head.address, *options), capture_output=True, text=True,
        env={**head.environment, "RAY_AUTH_TOKEN": token}, timeout=PATIENCE_S,
    )  # fmt: skip


def test_a_sweep_on_a_head(head: Head, tmp_path: Path) -> None:
    refused = orch(head, tmp_path, token="another")
    assert refused.returncode == 2
    assert "refuses the token" in refused.stderr and refused.stderr.count("\n") == 1

    relay, output = Relay(head.port), tmp_path / "followed.txt"
    with running(relay), output.open("w") as stream:
        follower = subprocess.Popen(
            arguments(tmp_path, f"http://127.0.0.1:{relay.port}"),
            env=head.environment, stdout=stream, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            wait(lambda: " epoch 1/20" in output.read_text(), "nothing is trained")
            relay.kill()
            wait(lambda: "lost the connection" in output.read_text(), "the cut is not noticed")
            relay.start()
            wait(lambda: " again" in output.read_text(), "the connection does not come back")
            attached = orch(head, tmp_path, "--no-follow")
            assert "orch-s-1 of this sweep already runs" in attached.stderr
            stopped = orch(head, tmp_path, "--stop")
            assert stopped.returncode == 0, stopped.stderr
            assert "orch-s-1: STOPPED" in stopped.stderr
            # The sweep's own goodbye: Ray has not killed it behind three seconds.
            assert "interrupted; run the same command again" in stopped.stdout
            assert follower.wait(PATIENCE_S) == 130
        finally:
            follower.kill()
            follower.wait(10)
    lines = [line for line in output.read_text().splitlines() if line.startswith("[")]
    assert lines and len(lines) == len(set(lines)), "a line was repeated"
    begun = {name: len(trial.records) for name, trial in trials(tmp_path / "out").items()}
    assert begun and any(trial.status != "complete" for trial in trials(tmp_path / "out").values())

    resumed = orch(head, tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "submitted orch-s-2" in resumed.stderr
    assert "resume where they stopped" in resumed.stdout
    ended = trials(tmp_path / "out")
    assert len(ended) == 8 and begun.keys() <= ended.keys()
    for trial in ended.values():
        assert trial.status == "complete"
        assert [record["epoch"] for record in trial.records] == list(range(1, 21))
