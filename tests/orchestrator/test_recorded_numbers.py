"""A number that is added to an epoch's record is seen everywhere, without another line of code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.compare.configurations import compare
from orchestrator.compare.output.configuration_table import configurations_table
from orchestrator.database_urls import resolve_uri
from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepDescription
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT
from trainer.metrics import EPOCH, TASK, Field

URI = "sqlite:///mlflow.db"


def write_with_norms(out: Path, seed: int, norm: float, **changes: Any) -> str:
    """A trial of two epochs whose records have gradient norms too; `changes` go into both."""
    name = write_trial(out / "s", [0.4, 0.5], seed=seed)
    for number in (1, 2):
        path = out / "s" / "trials" / name / "epochs" / f"{number:03d}.json"
        record = json.loads(path.read_text()) | changes
        record["gradient_norm"] = norm + number
        record["tasks"]["sst"]["gradient_norm"] = 10 * norm
        path.write_text(json.dumps(record))
    return name


def orch(*arguments: str, out: Path) -> str:
    answer = CliRunner().invoke(app, [*arguments, "--out", str(out)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_mlflow_has_it(tmp_path: Path, database: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(database)
    name = write_with_norms(tmp_path, 1, 0.5, worst=float("inf"))
    MlflowProjection(URI, SweepDescription("s"), Ledger(tmp_path, "s")).finish("FINISHED", [name])
    client = MlflowClient(resolve_uri(URI, tmp_path))
    experiment = client.get_experiment_by_name("s")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.trial_id = '{name}'")
    assert run.data.metrics["epoch/gradient_norm"] == 2.5
    assert run.data.metrics["tasks/sst/gradient_norm"] == 5.0
    assert "epoch/worst" not in run.data.metrics  # not a finite number
    history = client.get_metric_history(run.info.run_id, "epoch/gradient_norm")
    assert [(each.step, each.value) for each in history] == [(1, 1.5), (2, 2.5)]


def test_show_has_it(tmp_path: Path) -> None:
    name = write_with_norms(tmp_path, 1, 0.5)
    text = orch("show", "s", name, out=tmp_path)
    (line,) = [line.split() for line in text.splitlines() if "gradient_norm" in line]
    assert line == ["gradient_norm", "2.5", "5"]
    shown = json.loads(orch("show", "s", name, "--json", out=tmp_path))
    assert shown["records"][1]["tasks"]["sst"]["gradient_norm"] == 5.0


def test_compare_has_it(tmp_path: Path) -> None:
    for seed, norm in ((1, 0.5), (2, 1.5)):
        write_with_norms(tmp_path, seed, norm)
    shown = json.loads(orch("compare", "s", "--json", out=tmp_path))
    (row,) = shown["rows"]
    expected = {"mean": 3.0, "sd": pytest.approx(0.5**0.5)}
    assert row["numbers"]["gradient_norm"] == expected
    assert row["numbers"]["tasks.sst.gradient_norm"]["mean"] == 10.0


def test_one_line_makes_it_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_with_norms(tmp_path, 1, 0.5)
    norm = Field("gradient_norm", show="norm", compare="norm/step", digits=2)
    monkeypatch.setitem(EPOCH, norm.name, norm)
    monkeypatch.setitem(TASK, norm.name, Field("gradient_norm", show="{task} norm"))
    heading, one, two = orch("show", "s", name, out=tmp_path).splitlines()[3:6]
    assert heading.split()[-1] == "norm" and "sst norm" in heading
    assert (one.split()[-1], two.split()[-1]) == ("1.50", "2.50")
    sheet = configurations_table(compare(Ledger(tmp_path, "s").trials()))
    assert sheet.rows[0][sheet.columns.index("norm/step")].text == "2.50"


#: In a process of its own: what may be an objective is settled when the sweep file's model is made.
OBJECTIVE = """
import sys
from trainer import metrics
if sys.argv[2] == "with":
    metrics.EPOCH["gradient_norm"] = metrics.Field("gradient_norm", better="min", objective=True)
from orchestrator.ledger import Ledger
from orchestrator.runner import attempts
from orchestrator.scheduling.successive_halving import Halving
from orchestrator.spec import load_spec
from orchestrator.spec.json_schema import sweep_schema
from trainer.config import ConfigError
try:
    spec = load_spec(
        sys.argv[1], None, ["search.objectives={gradient_norm: min}",
                            "scheduler={name: asha, metric: gradient_norm}"])
except ConfigError as error:
    sys.exit(str(error))
assert "gradient_norm" in str(sweep_schema())
assert "gradient_norm" in attempts._REPORTED
(trial,) = Ledger(sys.argv[3], "s").trials()
print(trial.value("gradient_norm"), Halving(spec)._signs)
"""


@pytest.mark.parametrize("entry", ["without", "with"])
def test_one_line_makes_it_an_objective(tmp_path: Path, entry: str) -> None:
    write_with_norms(tmp_path, 1, 0.5)
    (tmp_path / "sweep.yaml").write_text(
        "name: s\nbase: {data: {source: synthetic}, encoder: tiny, epochs: 2}\n"
        "space: {sampler: {choices: [arrp, annealed]}}\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", OBJECTIVE, str(tmp_path / "sweep.yaml"), entry, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if entry == "with":
        assert answer.stdout == "2.5 {'gradient_norm': -1.0}\n", answer.stderr
    else:
        assert answer.returncode == 1 and "search.objectives" in answer.stderr, answer.stderr
