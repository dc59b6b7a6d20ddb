"""MLflow's run of a whole sweep: answer, tables, figures, and the best model, each once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet as pq
import pytest
import yaml
from mlflow import MlflowClient

from orchestrator.database_urls import resolve_uri
from orchestrator.decision.answer.answer import Answer
from orchestrator.export.chosen_trial import choose_trial
from orchestrator.ledger import Ledger
from orchestrator.ledger.timing_sessions import FOLDER
from orchestrator.spec import TrackingSpec
from orchestrator.tracking import MlflowProjection, SweepArtifacts, SweepDescription
from orchestrator.tracking.projections import sync
from orchestrator.tracking.served_model import _load_pyfunc
from orchestrator.tracking.sweep_artifacts import artifacts_of
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT
from tests.support.servers import MlflowServer, running
from tests.support.simulated import World, write_predicted
from trainer import inference
from trainer.config import TrainConfig
from trainer.data.corpus import prepare
from trainer.storage.trial_directory import StoreError, TrialDirectory, predictions_name
from trainer.train import train

URI = "sqlite:///mlflow.db"
ANSWER = Answer("Is it so?", "score", "dev_score", 0.01, "search", [], "", "")
CONFIG: dict[str, Any] = {
    "data": {"source": "synthetic", "size": 32, "dev_limit": {"sst": 40, "qqp": 40, "sts": 40}},
    "encoder": "tiny", "epochs": 1, "batch_size": 8, "learning_rate": 1e-3,
}  # fmt: skip


@pytest.fixture
def out(tmp_path: Path, database: bytes) -> Path:
    (tmp_path / "mlflow.db").write_bytes(database)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[int, Path]:
    """Trials of two seeds, really trained."""
    found = {}
    for seed in (1, 2):
        folder = tmp_path_factory.mktemp("trained") / f"round_robin-{seed}"
        config = TrainConfig.from_dict(
            CONFIG | {"seed": seed, "data": CONFIG["data"] | {"cache": str(cache)}}
        )
        told = {"trial_id": folder.name, "config_id": "round_robin-c"}
        for _ in train(config, str(folder), identity=told):
            pass
        found[seed] = folder
    return found


@pytest.fixture(autouse=True)
def no_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are tested elsewhere, and each takes seconds."""
    if "report" not in request.node.name:
        monkeypatch.setattr("orchestrator.tracking.sweep_artifacts._add_report", lambda *args: None)


def put(trial: Path, sweep: Path) -> str:
    """A trained trial in a sweep; returns its id."""
    (sweep / "trials").mkdir(parents=True, exist_ok=True)
    shutil.copytree(trial, sweep / "trials" / trial.name)
    return trial.name


def write_sweep(out: Path, **more: Any) -> None:
    (out / "s").mkdir(exist_ok=True)
    spec = {"name": "s", "question": "Is it so?", "base": CONFIG, **more}
    (out / "s" / "sweep.yaml").write_text(yaml.safe_dump(spec))


def synced(out: Path, **more: Any) -> list[str]:
    """`orch sync`; returns what was said."""
    said: list[str] = []
    spec = yaml.safe_load((out / "s" / "sweep.yaml").read_text())
    sync(Ledger(out, "s"), spec, said.append)
    return said


class Shown:
    """What the database has."""

    def __init__(self, uri: str):
        self.client = MlflowClient(uri)
        experiment = self.client.get_experiment_by_name("s").experiment_id
        self.experiment = experiment
        self.runs = list(self.client.search_runs([experiment]))
        (self.parent,) = [run for run in self.runs if run.data.tags["kind"] == "sweep"]

    def artifacts(self, run_id: str) -> set[str]:
        files, folders = set(), [""]
        while folders:
            for each in self.client.list_artifacts(run_id, folders.pop()):
                folders.append(each.path) if each.is_dir else files.add(each.path)
        return files

    def versions(self) -> list[Any]:
        found = self.client.search_model_versions("name = 's'")
        return sorted(found, key=lambda version: int(version.version))


def test_the_sweeps_run_has_answer_tables_report_and_counts(
    out: Path, trained: dict[int, Path]
) -> None:
    write_sweep(out)
    for trial in trained.values():
        put(trial, out / "s")
    write_trial(out / "s", [0.1], status="failed", reason="diverged", epochs=1, seed=9)
    assert synced(out) == []
    shown = Shown(resolve_uri(URI, out))
    files = shown.artifacts(shown.parent.info.run_id)
    assert {"sweep.yaml", "compare.md", "compare.csv", "compare.json", "report.html"} <= files
    metrics = shown.parent.data.metrics
    assert (metrics["sweep/complete_trials"], metrics["sweep/failed_trials"]) == (2, 1)
    records = [TrialDirectory(str(t)).records()[-1]["dev_score"] for t in trained.values()]
    assert metrics["sweep/best_dev_score"] == pytest.approx(sum(records) / 2)
    folder = shown.client.download_artifacts(shown.parent.info.run_id, "compare.json")
    answer = json.loads(Path(folder).read_text())["answer"]
    note = shown.parent.data.tags["mlflow.note.content"]
    assert note.startswith(f"{answer}\n") and "Is it so?" in note
    of_run, of_page = shown.parent.data.tags, shown.client.get_experiment(shown.experiment).tags
    assert of_page["mlflow.note.content"] == note
    assert answer.startswith(of_page["verdict"]) and of_run["answer"] == answer
    assert of_run["best_trial"] == artifacts_of(Ledger(out, "s"), TrackingSpec(report=False),
                                                lambda: None).best  # fmt: skip
    (version,) = shown.versions()
    held = shown.artifacts(version.run_id)
    assert {"predictions/dev.parquet", "errors.json", "trial.json"} <= held
    drawn = [name for run in shown.runs for name in shown.artifacts(run.info.run_id)
             if name.startswith("figures/")]  # fmt: skip
    assert drawn  # of the trial that the report shows


@pytest.mark.slow(reason="loads the model in a process of its own")
def test_a_registered_model_predicts_in_another_process_what_its_trial_did(
    out: Path, trained: dict[int, Path], cache: Path
) -> None:
    write_sweep(out)
    for trial in trained.values():
        put(trial, out / "s")
    synced(out)
    shown = Shown(resolve_uri(URI, out))
    (version,) = shown.versions()
    aliases = shown.client.get_registered_model("s").aliases
    assert aliases == {"best": int(version.version)}
    rows, expected = dev_rows(trained[int(version.tags["trial_id"].split("-")[1])])
    rows.to_json(out / "rows.json", orient="records")
    code = (
        "import sys, pandas, mlflow\n"
        "mlflow.set_tracking_uri(sys.argv[1])\n"
        f"model = mlflow.pyfunc.load_model('models:/s/{version.version}')\n"
        "print(model.metadata.signature.to_dict()['inputs'], model.input_example)\n"
        "rows = pandas.read_json(sys.argv[2], orient='records')\n"
        "model.predict(rows).to_json(sys.argv[3], orient='records', double_precision=15)\n"
    )
    command = [sys.executable, "-c", code, resolve_uri(URI, out), out / "rows.json"]
    done = subprocess.run(
        [*map(str, command), str(out / "made.json")],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sentence2" in done.stdout and "swim" in done.stdout
    made = pandas.read_json(out / "made.json", orient="records")
    for task, found in expected.items():
        mine = made[(rows["task"] == task).to_numpy()]
        np.testing.assert_allclose(mine["score"], found["score"], atol=1e-5)
        np.testing.assert_allclose(mine["prediction"], found["prediction"], atol=1e-5)


def dev_rows(trial: Path) -> tuple[pandas.DataFrame, dict[str, Any]]:
    """The dev sentences in a shuffled order of tasks, and what the trial said of each."""
    store = TrialDirectory(str(trial))
    stored = store.config()
    assert stored is not None
    corpus = prepare(TrainConfig.from_dict(stored["config"]))
    table = pq.read_table(trial / predictions_name(1)).to_pandas()
    rows = []
    for task, splits in corpus.splits.items():
        dev = splits["dev"]
        second = dev.column("text2") if dev.task.is_pair else [""] * len(dev)
        pairs = zip(dev.column("text1"), second, strict=True)
        rows += [{"task": task, "sentence1": a, "sentence2": b, "n": n} for n, (a, b) in
                 enumerate(pairs)]  # fmt: skip
    frame = pandas.DataFrame(rows).sort_values("n", kind="stable").drop(columns="n")
    return frame, {task: table[table["task"] == task] for task in corpus.splits}


def test_a_model_is_registered_anew_only_when_another_trial_is_best(
    out: Path, trained: dict[int, Path]
) -> None:
    write_sweep(out)
    scores = {s: TrialDirectory(str(t)).records()[-1]["dev_score"] for s, t in trained.items()}
    worse, better = sorted(scores, key=lambda seed: scores[seed])
    put(trained[worse], out / "s")
    synced(out)
    synced(out)
    assert len(Shown(resolve_uri(URI, out)).versions()) == 1
    put(trained[better], out / "s")
    synced(out)
    shown = Shown(resolve_uri(URI, out))
    found = [v.tags["trial_id"] for v in shown.versions()]
    assert found == [trained[worse].name, trained[better].name]
    assert shown.client.get_registered_model("s").aliases == {"best": 2}
    assert len(shown.client.search_logged_models([shown.experiment])) == 2


def test_a_model_that_people_changed_is_registered_as_before(
    out: Path, trained: dict[int, Path]
) -> None:
    write_sweep(out)
    put(trained[1], out / "s")
    synced(out)

    def logged() -> list[str]:
        return [model.model_id for model in shown.client.search_logged_models([shown.experiment])]

    shown = Shown(resolve_uri(URI, out))
    (first,), client = logged(), shown.client
    edits: list[tuple[Callable[[], Any], bool]] = [  # and whether it is made anew
        (lambda: client.delete_registered_model("s"), False),
        (lambda: client.rename_registered_model("s", "mine"), False),
        (lambda: client.delete_registered_model_alias("s", "best"), False),
        (lambda: client.delete_model_version("s", "1"), False),
        (lambda: client.delete_logged_model(logged()[0]), True),
        (lambda: shutil.rmtree(out / "mlartifacts"), True),
        (lambda: client.delete_run(shown.versions()[0].run_id), False),
    ]  # fmt: skip
    for edit, anew in edits:
        edit()
        for _ in range(2):
            assert synced(out) == []
        (version,), (now,) = shown.versions(), logged()
        assert version.source.endswith(f"/{now}/artifacts") and (now != first) == anew
        (model,) = client.search_registered_models()
        assert model.name == "s" and {"best": int(version.version)} == model.aliases
        assert "MLmodel" in {each.path for each in client.list_logged_model_artifacts(now)}
        assert "compare.json" in shown.artifacts(shown.parent.info.run_id)
        first = now


def test_the_registered_trial_is_the_one_that_commands_call_the_best(out: Path) -> None:
    write_trial(out / "s", [0.9], seed=1, sampler="arrp")
    write_trial(out / "s", [0.2], seed=2, sampler="arrp")
    for seed, score in ((1, 0.7), (2, 0.6)):
        write_trial(out / "s", [score], seed=seed, sampler="round_robin")
    made = artifacts_of(Ledger(out, "s"), TrackingSpec(), lambda: None)
    assert made.best == choose_trial("s@best", str(out)).trial.trial_id
    assert made.best.startswith("round_robin") and "seed 1, dev_score 0.7000" in made.best_label
    assert made.metrics["sweep/best_dev_score"] == pytest.approx(0.65)


def test_no_model_is_registered_where_none_is_wanted(out: Path, trained: dict[int, Path]) -> None:
    write_sweep(out, tracking={"registered_model": "none"})
    put(trained[1], out / "s")
    assert synced(out) == []
    assert Shown(resolve_uri(URI, out)).versions() == []


def test_a_model_without_its_checkpoint_is_said_and_costs_nothing_else(out: Path) -> None:
    write_sweep(out)
    write_trial(out / "s", [0.4], epochs=1)
    (line,) = synced(out)
    assert "the best model is not registered" in line
    shown = Shown(resolve_uri(URI, out))
    assert shown.versions() == [] and shown.parent.info.status == "FINISHED"
    assert "compare.json" in shown.artifacts(shown.parent.info.run_id)


def made(text: str) -> SweepArtifacts:
    return SweepArtifacts(ANSWER, {"sweep/complete_trials": 1.0}, {"figures/a.svg": text.encode()})


def show(
    out: Path, make: Callable[[Callable[[], None]], SweepArtifacts], status: str = "FINISHED",
    patient: bool = False, uri: str = URI,
) -> tuple[MlflowProjection, list[str]]:  # fmt: skip
    said: list[str] = []
    ledger = Ledger(out, "s")
    projection = MlflowProjection(
        uri, SweepDescription("s", "Is it so?"), ledger, artifacts=make, patient=patient,
        say=said.append,
    )  # fmt: skip
    projection.finish(status, ledger.trial_ids())
    return projection, said


def test_artifacts_are_logged_again_only_if_they_changed(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_trial(out / "s", [0.4])
    logged: list[str] = []
    real = MlflowClient.log_artifact
    monkeypatch.setattr(
        MlflowClient, "log_artifact",
        lambda self, *a, **k: (logged.append(Path(a[1]).name), real(self, *a, **k)),
    )  # fmt: skip
    for text, count in (("one", 1), ("one", 1), ("two", 2)):
        show(out, lambda progress, text=text: made(text), patient=True)
        assert len(logged) == count
    shown = Shown(resolve_uri(URI, out))
    path = shown.client.download_artifacts(shown.parent.info.run_id, "figures/a.svg")
    assert Path(path).read_text() == "two"
    history = shown.client.get_metric_history(shown.parent.info.run_id, "sweep/complete_trials")
    assert len(history) == 1


def test_the_reports_frontier_is_shown_where_minutes_compare(
    tmp_path: Path, database: bytes
) -> None:
    (tmp_path / "mlflow.db").write_bytes(database)
    world = World.of(np.random.default_rng(0))
    for number, sampler in enumerate(("annealed", "arrp")):
        for seed in (1, 2):
            made = world.predictions(np.random.default_rng([seed, number]), 0.7)
            write_predicted(tmp_path / "s", world, made, sampler=sampler, seed=seed,
                            minutes=1.0 + number)  # fmt: skip
    report = artifacts_of(Ledger(tmp_path, "s"), TrackingSpec(), lambda: None)
    assert report.problem == "" and b"<svg" in report.files["frontier.svg"]


def test_what_was_unfinished_is_not_counted_for_ever(out: Path) -> None:
    write_sweep(out, tracking={"registered_model": "none"})
    name = write_trial(out / "s", [], status=None, epochs=1)
    synced(out)
    assert Shown(resolve_uri(URI, out)).parent.data.metrics["sweep/unfinished_trials"] == 1
    Ledger(out, "s").close(name, "pruned", "enough")
    synced(out)
    metrics = Shown(resolve_uri(URI, out)).parent.data.metrics
    assert (metrics["sweep/unfinished_trials"], metrics["sweep/pruned_trials"]) == (0, 1)


def test_a_failed_trial_that_is_tried_again_is_shown_as_it_ended(out: Path) -> None:
    write_sweep(out, tracking={"registered_model": "none"})
    name = write_trial(out / "s", [0.4], status="failed", reason="diverged", epochs=2)
    synced(out)
    trial = TrialDirectory(out / "s" / "trials" / name)
    trial.folder.delete("end.json")
    record = trial.records()[0]
    trial.commit({k: v for k, v in record.items() if k != "files"} | {"epoch": 2}, {})
    trial.write_end("complete", "", {"dev_score": 0.4})
    synced(out)
    shown = Shown(resolve_uri(URI, out))
    (run,) = [run for run in shown.runs if run.data.tags.get("trial_id") == name]
    assert (run.info.status, run.data.tags["reason"]) == ("FINISHED", "complete")
    history = shown.client.get_metric_history(run.info.run_id, "dev/score")
    assert sorted(metric.step for metric in history) == [1, 2]


def test_a_sweep_that_is_run_again_with_nothing_new_makes_none(out: Path) -> None:
    asked: list[bool] = []

    def make(progress: Callable[[], None]) -> SweepArtifacts:
        asked.append(True)
        return made("one")

    write_trial(out / "s", [0.4])
    for _ in range(2):
        show(out, make)
    assert len(asked) == 1
    write_trial(out / "s", [0.5], seed=2)
    show(out, make)
    assert len(asked) == 2
    (out / "s" / FOLDER).mkdir()
    (out / "s" / FOLDER / "1.json").write_text("{}")
    show(out, make)
    assert len(asked) == 3


def test_an_upload_that_broke_off_is_made_whole(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_trial(out / "s", [0.4])
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifact", _lost)
        with pytest.raises(ConnectionError):
            show(out, lambda progress: made("one"))
    shown = Shown(resolve_uri(URI, out))
    assert (
        shown.parent.info.status == "FINISHED"
        and shown.artifacts(shown.parent.info.run_id) == set()
    )
    show(out, lambda progress: made("one"))
    assert Shown(resolve_uri(URI, out)).artifacts(shown.parent.info.run_id) == {"figures/a.svg"}


def _lost(*args: object, **kwargs: object) -> None:
    raise ConnectionError


def test_artifacts_that_cannot_be_made_are_said_once_and_cost_no_run(out: Path) -> None:
    name = write_trial(out / "s", [0.4])
    _, said = show(out, lambda progress: 1 / 0)  # type: ignore[arg-type, return-value]
    assert len(said) == 1 and "division by zero" in said[0]
    shown = Shown(resolve_uri(URI, out))
    assert {r.data.tags.get("trial_id"): r.info.status for r in shown.runs} == {
        name: "FINISHED", None: "FINISHED",
    }  # fmt: skip


def test_an_interrupted_sweep_does_not_wait_for_its_artifacts_but_sync_makes_them(
    out: Path,
) -> None:
    write_trial(out / "s", [0.4], status=None)
    asked: list[bool] = []

    def make(progress: Callable[[], None]) -> SweepArtifacts:
        asked.append(True)
        return made("one")

    show(out, make, "KILLED")
    assert asked == []
    show(out, make, "KILLED", patient=True)
    assert asked == [True]


def test_making_artifacts_and_their_report_counts_as_progress(out: Path) -> None:
    write_trial(out / "s", [0.4, 0.5])
    counted: list[bool] = []
    artifacts_of(Ledger(out, "s"), TrackingSpec(), lambda: counted.append(True))
    assert len(counted) >= 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    started = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    with running(started):
        yield started


def test_a_server_takes_tables_and_model_too(
    tmp_path: Path, server: MlflowServer, trained: dict[int, Path]
) -> None:
    write_sweep(tmp_path, tracking={"uri": server.uri})
    name = put(trained[1], tmp_path / "s")
    for _ in range(2):
        assert synced(tmp_path) == []
    shown = Shown(server.uri)
    assert "compare.md" in shown.artifacts(shown.parent.info.run_id)
    (version,) = shown.versions()
    assert version.tags["trial_id"] == name and version.status == "READY"


# -- the model itself -------------------------------------------------------------------------


def test_an_exported_model_takes_single_rows_and_refuses_what_it_cannot_read(
    trained: dict[int, Path], tmp_path: Path
) -> None:
    inference.export(TrialDirectory(str(trained[1])), tmp_path)
    served = _load_pyfunc(str(tmp_path))
    one = pandas.DataFrame([{"task": "sst", "sentence1": "a film"}])
    assert 0 <= served.predict(one)["prediction"].iloc[0] <= 4
    assert len(served.predict(one.iloc[:0])) == 0
    for row, word in (
        ({"task": "nli", "sentence1": "a"}, "allowed: sst, qqp, sts"),
        ({"task": "qqp", "sentence1": "a"}, "two sentences"),
        ({"task": "qqp", "sentence1": "a", "sentence2": None}, "missing"),
        ({"sentence1": "a"}, "no column task"),
    ):
        with pytest.raises(inference.InferenceError, match=word):
            served.predict(pandas.DataFrame([row]))


def test_a_damaged_checkpoint_is_not_exported(trained: dict[int, Path], tmp_path: Path) -> None:
    store = TrialDirectory(str(tmp_path / "t"))
    source = TrialDirectory(str(trained[1]))
    for name in ("config.json", "epochs/001.json", "checkpoints/001/weights.safetensors"):
        content = source.read(name) or b""
        store.write(name, content if name.endswith("json") else content[:-8] + b"12345678")
    (tmp_path / "to").mkdir()
    with pytest.raises(StoreError, match="sha256"):
        inference.export(store, tmp_path / "to")
