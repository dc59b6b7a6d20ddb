"""MLflow shows what the ledger says: once, with its status, and without stopping anybody."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.compare.configurations import compare
from orchestrator.database_urls import resolve_uri, without_password
from orchestrator.ledger import Ledger, listing
from orchestrator.tracking import (
    MlflowProjection,
    SweepDescription,
    mlflow_views,
    projections,
)
from orchestrator.tracking.background import BackgroundProjection
from orchestrator.tracking.metric_names import metric_name
from tests.support.ledgers import epoch, write_trial

URI = "sqlite:///mlflow.db"
DESCRIPTION = SweepDescription("s", "Is it so?")


def runs(out: Path) -> tuple[MlflowClient, Any, dict[str, Any]]:
    """The client, the parent run and the child runs by trial id; fails if one stands twice."""
    client = MlflowClient(resolve_uri(URI, out))
    experiment = client.get_experiment_by_name("s")
    found = list(client.search_runs([experiment.experiment_id]))
    (parent,) = [run for run in found if run.data.tags["kind"] == "sweep"]
    children = [run for run in found if run.data.tags["kind"] == "trial"]
    by_id = {run.data.tags["trial_id"]: run for run in children}
    assert len(by_id) == len(children)
    return client, parent, by_id


def projection(
    out: Path, uri: str = URI, description: SweepDescription = DESCRIPTION
) -> MlflowProjection:
    return MlflowProjection(uri, description, Ledger(out, "s"))


def sync(out: Path) -> None:
    """What `orch sync` does: every trial, then the sweep's own run."""
    projection(out).finish("FINISHED", Ledger(out, "s").trial_ids())


@pytest.fixture
def out(tmp_path: Path, database: bytes) -> Path:
    (tmp_path / "mlflow.db").write_bytes(database)
    return tmp_path


def test_a_trial_becomes_a_child_run_with_its_acting_parameters(out: Path) -> None:
    name = write_trial(out / "s", [0.4, 0.5], sampler="arrp", B=64, seed=7, **{"lambda": 0.5})
    other = write_trial(out / "s", [0.4], sampler="round_robin")
    sync(out)
    client, parent, children = runs(out)
    run = children[name]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {k: run.data.tags[k] for k in ("sampler", "seed")} == {"sampler": "arrp", "seed": "7"}
    assert run.data.params["lambda"] == "0.5" and run.data.params["data.source"] == "synthetic"
    assert "lambda" not in children[other].data.params  # does not act there
    history = client.get_metric_history(run.info.run_id, "dev/score")
    assert [(m.step, m.value) for m in history] == [(1, 0.4), (2, 0.5)]
    names = {"dev/sst_accuracy", "dev/mean", "time/minutes_per_epoch", "train/sst_loss"}
    names |= {"system/examples_per_second", "train/sst_utilisation"}
    assert names <= set(run.data.metrics)
    assert "" not in run.data.params.values() and run.data.params["tasks"] == "sst, qqp, sts"
    assert parent.data.tags["mlflow.note.content"] == "Is it so?"


def test_a_run_is_called_what_orch_compare_calls_its_configuration(out: Path) -> None:
    names = [
        write_trial(out / "s", [0.4], sampler="arrp", B=64, dropout=d, seed=2, **{"lambda": 0.5})
        for d in (0.1, 0.2)
    ]
    description = SweepDescription("s", varied=("sampler", "B", "lambda", "dropout"))
    projection(out, description=description).finish("FINISHED", names)
    labels = {t: row.label for row in compare(Ledger(out, "s").trials()).rows for t in row.trials}
    children = runs(out)[2]
    for name in names:
        assert children[name].info.run_name == f"{labels[name]} · seed 2"
        assert children[name].data.tags["configuration"] == labels[name]
    assert len(set(labels.values())) == 2


def test_tags_say_where_a_trial_lies_and_whether_its_minutes_count(out: Path) -> None:
    quiet = write_trial(out / "s", [0.4], seed=1)
    noisy = write_trial(out / "s", [0.4], seed=2, contended=True, status=None)
    blind = write_trial(out / "s", [0.4], seed=3, contended=None)
    sync(out)
    children = runs(out)[2]
    found = {name: run.data.tags["contended"] for name, run in children.items()}
    assert found == {quiet: "false", noisy: "true", blind: "unknown"}
    assert children[quiet].data.tags["trial_directory"] == str(out / "s" / "trials" / quiet)
    assert children[quiet].data.tags["device"] == "cpu: test"


def test_contended_is_of_all_epochs(out: Path) -> None:
    name = write_trial(out / "s", [0.4], status=None)
    sync(out)
    Ledger(out, "s").directory(name).commit(epoch(2, 0.5, 1.0, True), {})
    sync(out)
    assert runs(out)[2][name].data.tags["contended"] == "true"


def test_each_run_names_its_data_sets_once(out: Path) -> None:
    name = write_trial(out / "s", [0.4], status=None)
    data = {"source": "cs224n", "limit": {"qqp": 99}}
    limited = write_trial(out / "s", [0.4], data=data, fingerprint="g")
    sync(out)
    Ledger(out, "s").close(name, "complete", "")
    sync(out)
    children = runs(out)[2]
    found = [each.dataset for each in children[name].inputs.dataset_inputs]
    tasks = [f"{task}-{split}" for task in ("sst", "qqp", "sts") for split in ("train", "dev")]
    assert sorted(each.name for each in found) == sorted(tasks)
    assert {each.digest for each in found} == {"f"}
    inputs = {each.dataset.name: each for each in children[limited].inputs.dataset_inputs}
    assert inputs["qqp-train"].dataset.digest == "g-99" and inputs["qqp-dev"].dataset.digest == "g"
    assert json.loads(inputs["sts-dev"].dataset.source)["uri"] == "data/sts-dev.csv"
    assert [tag.value for tag in inputs["sts-dev"].tags] == ["evaluation"]


def test_the_experiments_page_has_a_view_of_what_varies(out: Path) -> None:
    write_trial(out / "s", [0.4], status=None)
    description = SweepDescription(
        "s", "Is it so?", varied=("sampler", "B"), common=("sampler",),
        task_metrics=("dev/sst_accuracy",),
    )  # fmt: skip
    for _ in range(2):
        projection(out, description=description).finish("FINISHED", [])
    tags = MlflowClient(resolve_uri(URI, out)).get_experiment_by_name("s").tags
    view = json.loads(tags[f"mlflow.sharedViewState.{mlflow_views.VIEW}"])
    assert {"params.`B`", "metrics.`dev/score`"} <= set(view["selectedColumns"])
    parallel = [c for c in view["compareRunCharts"] if c["type"] == "PARALLEL"]
    assert [chart["selectedParams"] for chart in parallel] == [["sampler"], ["sampler", "B"]]
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert mlflow_views.address("http://h:1/", "7").startswith(
        "http://h:1/#/experiments/7/runs?viewState"
    )


def test_the_minutes_of_a_run_are_those_that_orch_show_prints(out: Path) -> None:
    name = write_trial(out / "s", [0.4, 0.5], status=None)
    sync(out)
    ledger = Ledger(out, "s")
    ledger.directory(name).commit(epoch(3, 0.6, 4.0, False), {})
    ledger.close(name, "complete", "")
    sync(out)
    client, _, children = runs(out)
    trial = ledger.trial(name)
    assert trial is not None
    shown = listing.trial_summary(trial)["minutes_per_epoch"]
    assert shown == pytest.approx(2.0)
    assert children[name].data.metrics["time/minutes_per_epoch"] == shown
    history = client.get_metric_history(children[name].info.run_id, "time/epoch_minutes")
    assert [metric.value for metric in history] == [1.0, 1.0, 4.0]


def test_runs_of_an_earlier_version_get_the_mean_minutes(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions logged the minutes of each epoch as `time/minutes_per_epoch`."""
    name = write_trial(out / "s", [0.4], minutes=1.0, status=None)
    Ledger(out, "s").directory(name).commit(epoch(2, 0.6, 4.0, False), {})
    Ledger(out, "s").close(name, "complete", "")
    names = "orchestrator.tracking.trial_run"
    with monkeypatch.context() as earlier:
        earlier.setattr(f"{names}.MINUTES", "unused")
        earlier.setattr(
            f"{names}.metric_name",
            lambda *place: metric_name(*place).replace("epoch_minutes", "minutes_per_epoch"),
        )
        sync(out)
    assert runs(out)[2][name].data.metrics["time/minutes_per_epoch"] == 4.0
    sync(out)
    sync(out)
    client, _, children = runs(out)
    assert children[name].data.metrics["time/minutes_per_epoch"] == 2.5
    for metric in ("dev/score", "time/epoch_minutes"):  # nothing stands twice
        history = client.get_metric_history(children[name].info.run_id, metric)
        assert [each.step for each in history] == [1, 2]


def test_pages_that_compare_runs_open_on_the_score_and_on_what_varies(out: Path) -> None:
    """MLflow opens them on a run's first metric and on parameters that differ, by their names."""
    (out / "s").mkdir()
    spec = {
        "name": "s", "space": {"sampler": {"choices": ["arrp", "annealed"]},
                               "lambda": {"low": 0.5, "high": 1.0, "when": {"sampler": "arrp"}}},
        "base": {"epochs": 1, "B": 64, "encoder": "tiny"}, "tracking": {"study": "none",
                                                                        "report": False},
    }  # fmt: skip
    for sampler, values in (("arrp", {"lambda": 0.7}), ("annealed", {})):
        write_trial(out / "s", [0.4], sampler=sampler, B=64, epochs=1, **values)
    projections.sync(Ledger(out, "s"), spec, lambda text: None)
    found = runs(out)[2].values()
    params = [set(run.data.params.items()) for run in found]
    assert {key for key, _ in params[0] ^ params[1]} == {"sampler", "lambda"}
    for run in found:
        assert list(run.data.metrics)[:2] == ["dev/score", "time/minutes_per_epoch"]
        assert list(run.data.params)[0] == "sampler"


@pytest.mark.parametrize(
    ("status", "shown"),
    [("complete", "FINISHED"), ("pruned", "KILLED"), ("failed", "FAILED"), (None, "SCHEDULED")],
)
def test_a_run_has_its_trials_status(out: Path, status: str | None, shown: str) -> None:
    name = write_trial(out / "s", [0.4], status=status)
    sync(out)
    assert runs(out)[2][name].info.status == shown


def test_projecting_again_adds_nothing_and_going_on_adds_the_rest(out: Path) -> None:
    name = write_trial(out / "s", [0.4], status=None)
    ledger = Ledger(out, "s")
    sync(out)
    sync(out)
    ledger.directory(name).commit(epoch(2, 0.6, 1.0, False), {})
    ledger.close(name, "complete", "")
    sync(out)
    sync(out)
    client, parent, children = runs(out)
    assert children[name].info.status == "FINISHED" and parent.info.status == "FINISHED"
    for metric in ("dev/score", "time/minutes_per_epoch", "dev/sts_pearson"):
        history = client.get_metric_history(children[name].info.run_id, metric)
        assert [m.step for m in history] == [1, 2], metric


def test_a_projection_that_died_between_its_calls_is_completed(out: Path) -> None:
    """Every call that MLflow answers may be the last one before a crash."""
    name = write_trial(out / "s", [0.4, 0.5])
    for calls in range(14):
        dying = projection(out)
        left = [calls]
        try:
            client = dying._connect().client
            for method in ("create_run", "log_inputs", "log_batch", "set_terminated", "update_run"):
                setattr(client, method, _dying(getattr(client, method), left))
            dying.finish("FINISHED", [name])
        except ConnectionError:
            continue
    sync(out)
    client, _, children = runs(out)
    run = children[name]
    assert run.info.status == "FINISHED" and run.data.params["encoder"] == "tiny"
    history = client.get_metric_history(run.info.run_id, "dev/score")
    assert [(m.step, m.value) for m in history] == [(1, 0.4), (2, 0.5)]
    assert len(run.inputs.dataset_inputs) == 6


def _dying(method: Any, left: list[int]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if left[0] == 0:
            raise ConnectionError
        left[0] -= 1
        return method(*args, **kwargs)

    return call


def test_an_outage_is_said_once_and_caught_up(out: Path) -> None:
    name = write_trial(out / "s", [0.4, 0.5])
    said: list[str] = []
    background = BackgroundProjection(projection(out, "http://127.0.0.1:9"), said.append)
    started = time.monotonic()
    background.start()
    background.changed(name)
    assert time.monotonic() - started < 0.5  # nobody waits for MLflow
    assert not background.close("FINISHED", [name])
    assert len(said) == 1 and "http://127.0.0.1:9" in said[0] and "catches up" in said[0]
    sync(out)
    assert runs(out)[2][name].info.status == "FINISHED"


def test_a_folder_that_cannot_be_used_is_named(out: Path) -> None:
    (out / "file").write_text("")
    said: list[str] = []
    background = BackgroundProjection(
        projection(out, f"sqlite:///{out}/file/mlflow.db"), said.append
    )
    background.start()
    assert not background.close("FINISHED", [])
    assert len(said) == 1 and f"cannot use {out}/file" in said[0], said


def test_the_tracker_projects_while_the_sweep_runs(out: Path) -> None:
    name = write_trial(out / "s", [0.4], status=None)
    said: list[str] = []
    seen = threading.Event()
    drawn = projection(out)
    background = BackgroundProjection(drawn, said.append)
    background.start()
    background.changed(name)
    for _ in range(100):
        trials = drawn._runs.trials if drawn._runs else {}
        if name in trials and trials[name].status == "RUNNING":
            seen.set()
            break
        time.sleep(0.1)
    assert seen.is_set()
    Ledger(out, "s").close(name, "pruned", "stopped")
    assert background.close("FINISHED", [name]) and said == []
    assert runs(out)[2][name].info.status == "KILLED"


def test_a_relative_database_lies_in_the_folder_of_the_sweeps(tmp_path: Path) -> None:
    assert resolve_uri("sqlite:///mlflow.db", tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    for uri in ("sqlite:////var/mlflow.db", "http://host:5000"):
        assert resolve_uri(uri, tmp_path) == uri


def test_a_sweep_that_was_begun_anew_leaves_the_earlier_ones_runs_alone(out: Path) -> None:
    name = write_trial(out / "s", [0.4])
    for sweep_id in ("one", "two", "two"):
        description = SweepDescription("s", sweep_id=sweep_id)
        projection(out, description=description).finish("FINISHED", [name])
    client = MlflowClient(resolve_uri(URI, out))
    experiment = client.get_experiment_by_name("s")
    found = client.search_runs([experiment.experiment_id])
    parents = {
        r.info.run_id: r.data.tags["sweep_id"] for r in found if r.data.tags["kind"] == "sweep"
    }
    assert sorted(parents.values()) == ["one", "two"]
    children = [r.data.tags for r in found if "trial_id" in r.data.tags]
    assert sorted(tags["mlflow.parentRunId"] for tags in children) == sorted(parents)
    assert all(parents[tags["mlflow.parentRunId"]] == tags["sweep_id"] for tags in children)


def test_an_ended_trial_is_not_asked_for_again(out: Path) -> None:
    name = write_trial(out / "s", [0.4])
    sync(out)
    again = projection(out)
    client = again._connect().client
    for method in ("create_run", "log_batch", "set_terminated", "get_metric_history"):
        setattr(client, method, _dying(None, [0]))
    again.update([name])


def test_an_address_is_shown_without_its_password() -> None:
    shown = without_password("postgresql+psycopg2://orch:secret@db:5432/mlflow")
    assert shown == "postgresql+psycopg2://orch@db:5432/mlflow"
    for plain in ("http://host:5000", "sqlite:////var/mlflow.db"):
        assert without_password(plain) == plain
