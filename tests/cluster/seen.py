"""Looking at the stack from its hosts, from the machine, and from outside of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster import Cluster
from stack import ROOT

#: A sweep that needs neither data nor a GPU.
SWEEP = ("search_spaces/arrp.yaml", "--profile", "embedded")
#: What `cluster-sweep` adds.
_TRACKING = (
    "--set", "tracking.uri=http://mlflow:5000",
    "--set", "tracking.study=postgresql+psycopg://orch@postgres/optuna",
)  # fmt: skip
_JOB_SERVER = "http://127.0.0.1:8265"


def nodes(cluster: Cluster) -> list[str]:
    """The names of Ray's nodes that are alive."""
    code = (
        "import ray; ray.init('auto', logging_level='critical', log_to_driver=False); "
        "print('nodes', *[n['NodeManagerHostname'] for n in ray.nodes() if n['Alive']])"
    )
    _, text = cluster["head"].run("with-secrets", "python", "-c", code, seconds=120)
    return next(line for line in text.splitlines() if line.startswith("nodes ")).split()[1:]


def scan(cluster: Cluster, host: str, address: str, *ports: str) -> list[int]:
    """The TCP ports of an address that take a connection from a host: of all, if none is named."""
    said = cluster.on(host, sys.executable, "scan.py", address, *ports, seconds=300)
    return [int(line) for line in said.split()]


def asked(cluster: Cluster, url: str, *headers: str) -> int:
    """The status with which a URL answers on the machine itself."""
    words = [word for header in headers for word in ("--header", header)]
    return int(cluster.on("host", sys.executable, "ask.py", url, *words))


def orch(cluster: Cluster, *words: str, **environment: str) -> tuple[int, str]:
    """`orch` on the machine itself, outside of all containers."""
    done = subprocess.run(
        [*cluster.network.inside("host"), sys.executable, "-c", _ORCH, *words],
        cwd=ROOT, env=os.environ | environment, timeout=300, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout


def orch_on_head(cluster: Cluster, *words: str) -> tuple[int, str]:
    """`orch` in the head's container."""
    return cluster["head"].run("with-secrets", "orch", *words, seconds=300)


def submit(cluster: Cluster, *words: str, **environment: str) -> tuple[int, str]:
    """`orch submit` on the machine, through the port that it publishes."""
    token = (cluster.folder / "secrets" / "ray_token").read_text()
    environment = {"RAY_AUTH_TOKEN": token, **environment}
    return orch(cluster, "submit", *words, "--address", _JOB_SERVER, "--out", "/srv/orch/sweeps",
                *_TRACKING, **environment)  # fmt: skip


def job_ends(cluster: Cluster) -> list[int]:
    """The exit codes of all jobs of sweeps that were submitted, first the first."""
    token = (cluster.folder / "secrets" / "ray_token").read_text()
    said = cluster.on("host", sys.executable, "ask.py", f"{_JOB_SERVER}/api/jobs/", "--body",
                      "--header", f"Authorization: Bearer {token}")  # fmt: skip
    jobs = [job for job in json.loads(said.partition("\n")[2]) if job["submission_id"]]
    jobs = [job for job in jobs if job["type"] == "SUBMISSION"]
    return [job["driver_exit_code"] for job in sorted(jobs, key=lambda job: job["start_time"])]


def sweep_folder(cluster: Cluster, sweep: str) -> Path:
    return cluster.folder / "volumes" / "sweeps" / sweep


def commits(cluster: Cluster, sweep: str) -> int:
    """How many epochs are committed."""
    return len(list(sweep_folder(cluster, sweep).glob("trials/*/epochs/*.json")))


def wait_for(
    holds: Callable[[], bool], what: str, process: subprocess.Popen[bytes], seconds: float = 420
) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, f"the sweep has ended before there were {what}"
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.5)


def whole(cluster: Cluster, sweep: str, trials: int, epochs: int) -> None:
    """Every trial is complete with every epoch: in its folder, in MLflow and in Optuna's study."""
    ends = Counter(
        json.loads(end.read_text())["status"]
        for end in sweep_folder(cluster, sweep).glob("trials/*/end.json")
    )
    assert ends == {"complete": trials}, ends
    assert commits(cluster, sweep) == trials * epochs
    said = cluster["head"].run("with-secrets", "python", "-c", _PICTURES, sweep, seconds=120)[1]
    seen: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    assert seen["runs"] == {"FINISHED": trials}, seen
    assert seen["epochs"] == [epochs] * trials, seen
    assert set(seen["study"]) == {"COMPLETE"}, seen


_ORCH = "from orchestrator.cli import main; main()"

#: What MLflow and Optuna know, asked as the head asks.
_PICTURES = """
import collections, json, os, sys
import mlflow, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
client = mlflow.MlflowClient(os.environ["ORCH_TRACKING"])
experiment = client.get_experiment_by_name(sys.argv[1]).experiment_id
runs = [r for r in client.search_runs([experiment], max_results=1000)
        if "mlflow.parentRunId" in r.data.tags]
steps = lambda run: {m.step for m in client.get_metric_history(run.info.run_id, "dev/score")}
epochs = [len(steps(run)) for run in runs]
study = optuna.load_study(study_name=sys.argv[1], storage=os.environ["ORCH_STUDY"])
print(json.dumps({
    "runs": collections.Counter(r.info.status for r in runs), "epochs": epochs,
    "study": collections.Counter(t.state.name for t in study.trials),
}))
"""
