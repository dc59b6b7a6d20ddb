"""No text is too long or too strange for MLflow: it is shortened there, and nothing is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.database_urls import resolve_uri
from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepDescription
from tests.support.ledgers import write_trial

URI = "sqlite:///mlflow.db"


def task(name: str = "rev", root: str = "data", **changes: Any) -> dict[str, Any]:
    """The keys of a config with a task of its own."""
    declared = {
        "train": "a.tsv", "dev": "b.tsv", "columns": ["x"], "label": "y", "metric": "accuracy",
        "loss": "cross_entropy", "labels": ["a", "b"],
    }  # fmt: skip
    data = {"source": "cs224n", "root": root}
    return {"task_declarations": {name: declared | changes}, "tasks": [name], "data": data}


HOSTILE = {
    "a label with signs": task(labels={"so so!": 0, "§$%`/../x": 1, "..": 2}),
    "a long label": task(labels=["x" * 9_000, "b"]),
    "a long column": task(columns=["x" * 1_100_000]),
    "a long task": task(name="r" * 600),
    "a long root": task(root="d/" * 40_000),
    "a long file": task(train="ä" * 70_000 + ".tsv"),
    "many files": task(train=[f"a{n:05}.tsv" for n in range(9_000)]),
    "a huge limit": {"data": {"source": "synthetic", "limit": {"sst": 10**17}}},
    "a long reason": {"status": "failed", "reason": "r" * 20_000},
}


def projected(out: Path, description: SweepDescription, **options: Any) -> list[Any]:
    write_trial(out / "s", [0.4], **options)
    ledger = Ledger(out, "s")
    MlflowProjection(URI, description, ledger).finish("FINISHED", ledger.trial_ids())
    client = MlflowClient(resolve_uri(URI, out))
    experiment = client.get_experiment_by_name("s")
    runs = client.search_runs([experiment.experiment_id])
    return [experiment, *(run for run in runs if run.data.tags["kind"] == "trial")]


@pytest.fixture
def out(tmp_path: Path, database: bytes) -> Path:
    (tmp_path / "mlflow.db").write_bytes(database)
    return tmp_path


@pytest.mark.parametrize("options", HOSTILE.values(), ids=HOSTILE)
def test_a_trial_is_shown_whatever_its_config_says(out: Path, options: dict[str, Any]) -> None:
    _, run = projected(out, SweepDescription("s", "q"), **options)
    assert run.data.metrics["dev/score"] == 0.4
    assert run.inputs.dataset_inputs and len(run.data.params) > 5
    for each in run.inputs.dataset_inputs:
        json.loads(each.dataset.source)


def test_a_long_question_and_many_columns_are_shortened(out: Path) -> None:
    many = tuple("k" * 200 + str(n) for n in range(300))
    sweep = SweepDescription("s", "q" * 30_000, varied=many, task_metrics=many)
    experiment, _ = projected(out, sweep)
    note = experiment.tags["mlflow.note.content"]
    assert len(note) == 20_000 and note.endswith("q…")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
