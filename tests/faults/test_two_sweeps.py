"""Two different sweeps at once, on one machine and in one folder with one MLflow database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.database_urls import resolve_uri
from orchestrator.ledger import Ledger
from tests.support.drivers import PATIENCE_S, SWEEP, Driver, ended_like, trials, undisturbed
from tests.support.resuming import untimed

STUB = "tests.faults.chained:train"
Start = Callable[..., Driver]


@pytest.mark.exhaustive(reason="two whole sweeps at once")
def test_both_end_as_if_alone_and_neither_waits_for_the_other(
    start: Start, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "whole").mkdir()
    whole = undisturbed(tmp_path / "whole", cache, SWEEP, STUB)
    one = start(SWEEP, train=STUB, environment={"EPOCH_S": "1"})
    one.wait_until(lambda: "reading the trials" in one.text)  # it has read its file
    two = start({**SWEEP, "name": "t"}, train=STUB, environment={"EPOCH_S": "1"})
    end = time.monotonic() + PATIENCE_S
    while all(each.process.poll() is None for each in (one, two)) and time.monotonic() < end:
        time.sleep(0.1)
    epochs = sorted(len(list(one.out.glob(f"{name}/trials/*/epochs/*.json"))) for name in "st")
    assert epochs[0] >= epochs[1] / 3, epochs
    for driver in (one, two):
        assert driver.wait() == 0, driver.text
        assert "Traceback" not in driver.text and "does not answer" not in driver.text
    ended_like(one, whole)
    second = {trial.trial_id: trial for trial in Ledger(one.out, "t").trials()}
    for name, trial in trials(whole).items():
        assert second[name].status == trial.status
        assert [*map(untimed, second[name].records)] == [*map(untimed, trial.records)]
    client = MlflowClient(resolve_uri("sqlite:///mlflow.db", one.out))
    experiment = client.get_experiment_by_name("t")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    shown = sorted(run.data.tags["trial_id"] for run in runs if "trial_id" in run.data.tags)
    assert shown == sorted(second) and len(runs) == len(shown) + 1
