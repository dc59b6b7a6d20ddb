"""What MLflow's database shows of a sweep."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

from tests.support.paths import ROOT

Shown = dict[str, tuple[str, list[int], int]]


def shown(uri: str, name: str) -> Shown:
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    trials = [run for run in runs if "trial_id" in run.data.tags]
    assert len(runs) == len(trials) + 1, [run.data.tags for run in runs]
    assert len({run.data.tags["trial_id"] for run in trials}) == len(trials)
    parents = {run.info.run_id for run in runs} - {run.info.run_id for run in trials}
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} <= parents
    found = {}
    for run in trials:
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "dev/score")]
        found[run.data.tags["trial_id"]] = (run.info.status, sorted(steps), len(run.data.params))
    return found


def orch(*arguments: str, cwd: Path) -> str:
    root = str(ROOT)
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
