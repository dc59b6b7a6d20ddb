"""Looking at the stack from its hosts, from the machine, and from outside of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from cluster import Cluster
from stack import ROOT


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


def commits(cluster: Cluster, sweep: str) -> int:
    """How many epochs are committed."""
    trials = cluster.folder / "volumes" / "sweeps" / sweep / "trials"
    return len(list(trials.glob("*/epochs/*.json")))


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
    folder = cluster.folder / "volumes" / "sweeps" / sweep / "trials"
    ends = Counter(json.loads(end.read_text())["status"] for end in folder.glob("*/end.json"))
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
(name,) = optuna.get_all_study_names(os.environ["ORCH_STUDY"])
study = optuna.load_study(study_name=name, storage=os.environ["ORCH_STUDY"])
print(json.dumps({
    "runs": collections.Counter(r.info.status for r in runs), "epochs": epochs,
    "study": collections.Counter(t.state.name for t in study.trials),
}))
"""
