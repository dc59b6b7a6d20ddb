"""People edit MLflow by hand; the next projection shows every trial once, as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.database_urls import resolve_uri
from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepDescription
from orchestrator.tracking.removal import remove_from_tracking
from tests.support.ledgers import write_trial
from tests.support.servers import MlflowServer, running

#: MLflow sets it at the time of a call.
VOLATILE = {"mlflow.user"}


class Shown:
    """A sweep of three trials in MLflow."""

    def __init__(self, out: Path, uri: str, name: str = "s"):
        self.out, self.uri, self.name = out, uri, name
        self.client = MlflowClient(uri)
        for seed, status in ((1, "complete"), (2, "failed"), (3, None)):
            write_trial(out / name, [0.4, 0.5], seed=seed, status=status)
        (out / name / "origin.json").write_text(f'{{"sweep_id": "id-{name}"}}')
        self.sync()
        self.experiment = self.client.get_experiment_by_name(name).experiment_id
        self.parent, *self.trials = self.active()

    def sync(self, sweep_id: str = "") -> None:
        ledger = Ledger(self.out, self.name)
        described = SweepDescription(self.name, "Is it so?", sweep_id or f"id-{self.name}")
        projection = MlflowProjection(self.uri, described, ledger, patient=True)
        projection.finish("FINISHED", ledger.trial_ids())

    def active(self) -> list[Any]:
        """All runs of the name that are not in the trash, the sweep's own first."""
        numbers = [e.experiment_id for e in self.client.search_experiments()]
        runs = self.client.search_runs(numbers, f"tags.sweep = '{self.name}'")
        return sorted(
            runs, key=lambda run: (run.data.tags.get("kind") != "sweep", run.info.run_name)
        )

    def content(self) -> list[Any]:
        """What MLflow shows, without the ids of runs."""
        runs, found = self.active(), []
        names = {run.info.run_id: run.info.run_name for run in runs}
        for run in runs:
            tags = {k: v for k, v in run.data.tags.items() if k not in VOLATILE}
            named = names.get(tags.pop("mlflow.parentRunId", ""))
            steps = [m.step for m in self.client.get_metric_history(run.info.run_id, "dev/score")]
            experiment = self.client.get_experiment(run.info.experiment_id).name
            found.append((experiment, named, run.info.status, tags, run.data.params, steps,
                          len(run.inputs.dataset_inputs)))  # fmt: skip
        return found


def delete_sweep(shown: Shown) -> None:
    shown.client.delete_run(shown.parent.info.run_id)


def delete_trials(shown: Shown) -> None:
    for run in shown.trials[:2]:
        shown.client.delete_run(run.info.run_id)


def delete_all(shown: Shown) -> None:
    delete_sweep(shown)
    for run in shown.trials:
        shown.client.delete_run(run.info.run_id)


def delete_experiment(shown: Shown) -> None:
    shown.client.delete_experiment(shown.experiment)


def rename_experiment(shown: Shown) -> None:
    shown.client.rename_experiment(shown.experiment, f"my {shown.name}")


def rename_and_delete_experiment(shown: Shown) -> None:
    rename_experiment(shown)
    delete_experiment(shown)


def edit_the_sweeps_tags(shown: Shown) -> None:
    shown.client.set_tag(shown.parent.info.run_id, "sweep_id", "another")
    shown.client.delete_tag(shown.parent.info.run_id, "kind")


def edit_tags(shown: Shown) -> None:
    first, second, third = (run.info.run_id for run in shown.trials)
    shown.client.set_tag(first, "mlflow.parentRunId", "nobody")
    shown.client.set_tag(first, "method", "mine")
    shown.client.delete_tag(second, "trial_id")
    shown.client.set_tag(second, "sweep_id", "another")
    shown.client.set_tag(third, "trial_id", shown.trials[0].data.tags["trial_id"])
    shown.client.delete_tag(third, "mlflow.parentRunId")


def delete_what_names_a_trial(shown: Shown) -> None:
    for key in ("trial_id", "trial_directory"):
        shown.client.delete_tag(shown.trials[0].info.run_id, key)


def edit_statuses(shown: Shown) -> None:
    for run in shown.trials:
        shown.client.update_run(run.info.run_id, status="KILLED")


EDITS = (
    delete_sweep, delete_trials, delete_all, delete_experiment, rename_experiment,
    rename_and_delete_experiment, edit_the_sweeps_tags, edit_tags, delete_what_names_a_trial,
    edit_statuses,
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    started = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    with running(started):
        yield started


@pytest.fixture
def shown(tmp_path: Path, database: bytes) -> Shown:
    (tmp_path / "mlflow.db").write_bytes(database)
    return Shown(tmp_path, resolve_uri("sqlite:///mlflow.db", tmp_path))


def edited_and_restored(shown: Shown, edit: Callable[[Shown], None]) -> None:
    before = shown.content()
    assert len(before) == 4
    edit(shown)
    assert shown.content() != before
    for _ in range(2):
        shown.sync()
        assert shown.content() == before


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_trial_is_shown_once_as_before(shown: Shown, edit: Callable[[Shown], None]) -> None:
    edited_and_restored(shown, edit)


def test_what_mlflow_has_forgotten_is_shown_anew(shown: Shown) -> None:
    """`mlflow gc` empties the trash."""

    def purge(shown: Shown) -> None:
        store = shown.client._tracking_client.store
        for run in (shown.parent, shown.trials[0]):
            shown.client.delete_run(run.info.run_id)
            store._hard_delete_run(run.info.run_id)

    edited_and_restored(shown, purge)
    kept = {run.info.run_id for run in shown.active()}
    assert {run.info.run_id for run in shown.trials[1:]} < kept


def test_what_was_shown_twice_by_an_earlier_version_is_shown_once(shown: Shown) -> None:
    """Earlier versions did not write the sweep's id, and drew all trials below a new run."""
    before = shown.content()
    for run in shown.active():
        if run.data.tags["kind"] == "trial":
            shown.client.delete_tag(run.info.run_id, "sweep_id")
            tags = run.data.tags | {"mlflow.parentRunId": shown.parent.info.run_id}
            shown.client.create_run(shown.experiment, tags=tags)
    assert len(shown.active()) == 7
    shown.client.delete_run(shown.parent.info.run_id)
    shown.sync()
    assert shown.content() == before


def test_what_was_removed_stays_away(shown: Shown) -> None:
    """A trial that is trained again after `orch rm` gets a run of its own."""
    removed, ledger = shown.trials[0], Ledger(shown.out, "s")
    trial_id = removed.data.tags["trial_id"]
    assert remove_from_tracking(ledger, {}, trial_id) == ["1 run in MLflow"]
    delete_experiment(shown)
    shown.sync()
    assert len(shown.active()) == 4
    assert removed.info.run_id not in {run.info.run_id for run in shown.active()}
    delete_trials(shown)  # whatever is in the trash already goes with a sweep, too
    rename_experiment(shown)
    assert remove_from_tracking(ledger, {}) == ["3 runs in MLflow"]
    assert shown.active() == [] and remove_from_tracking(ledger, {}) == []
    shown.sync("new")
    assert len(shown.active()) == 4


def test_a_copy_under_another_name_has_an_experiment_of_its_own(shown: Shown) -> None:
    before = shown.content()
    shutil.copytree(shown.out / "s", shown.out / "copy")
    described = SweepDescription("copy", "Is it so?", "id-s")
    ledger = Ledger(shown.out, "copy")
    for _ in range(2):
        MlflowProjection(shown.uri, described, ledger).finish("FINISHED", ledger.trial_ids())
        shown.sync()
    assert shown.content() == before
    copied = shown.client.get_experiment_by_name("copy").experiment_id
    assert len(shown.client.search_runs([copied])) == 4


def test_an_earlier_sweep_whose_folder_was_renamed_is_removed_alone(shown: Shown) -> None:
    """As `--fresh` renames it."""
    (shown.out / "s").rename(shown.out / "s.20260101Z")
    write_trial(shown.out / "s", [0.4], seed=1)
    shown.sync("new")
    assert len(shown.active()) == 6
    ledger = Ledger(shown.out, "s.20260101Z")
    assert remove_from_tracking(ledger, {"name": "s"}) == ["4 runs in MLflow"]
    assert {run.data.tags["sweep_id"] for run in shown.active()} == {"new"}


def test_what_people_write_stays(shown: Shown) -> None:
    number = shown.trials[0].info.run_id
    for key in ("mlflow.note.content", "mlflow.runName", "mine"):
        shown.client.set_tag(number, key, "look here")
    shown.client.create_run(shown.experiment, run_name="my plot", tags={
        "mlflow.parentRunId": shown.parent.info.run_id})  # fmt: skip
    shown.sync()
    tags = shown.client.get_run(number).data.tags
    assert {tags["mlflow.note.content"], tags["mlflow.runName"], tags["mine"]} == {"look here"}
    runs = shown.client.search_runs([shown.experiment])
    assert "my plot" in {run.info.run_name for run in runs} and len(runs) == 5


@pytest.mark.slow(reason="a server")
def test_a_server_shows_every_trial_once_as_before(tmp_path: Path, server: MlflowServer) -> None:
    for edit in EDITS:
        edited_and_restored(Shown(tmp_path, server.uri, edit.__name__.replace("_", "-")), edit)
