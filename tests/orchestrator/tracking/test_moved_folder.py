"""A folder that was moved, renamed, copied or linked: MLflow reads and writes in the new place."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.cli import ui
from orchestrator.database_urls import database_file, resolve_uri
from orchestrator.decision.answer.answer import Answer
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.tracking import MlflowProjection, SweepArtifacts, SweepDescription
from orchestrator.tracking.database import connect
from orchestrator.tracking.moved_folder import follow
from orchestrator.tracking.removal import remove_from_tracking
from tests.support.ledgers import write_trial

INSIDE = "sqlite:///mlflow.db"
ANSWER = Answer("Is it so?", "score", "dev_score", 0.01, "search", [], "", "")


@pytest.fixture
def out(tmp_path: Path, database: bytes) -> Path:
    out = tmp_path / "a %41" / "sweeps"
    for name in ("s", "t"):
        write_trial(out / name, [0.4], seed=1)
        (out / name / "origin.json").write_text(f'{{"sweep_id": "id-{name}"}}')
        (out / name / "sweep.yaml").touch()
    (out / "mlflow.db").write_bytes(database)
    (tmp_path / "outside.db").write_bytes(database)
    return out


def sync(out: Path, text: str, uri: str = INSIDE, name: str = "s", sweep_id: str = "") -> list[str]:
    """`orch sync` of a sweep whose run and whose trial's run have a file; returns what it says."""
    ledger, said = Ledger(out, name), list[str]()
    (trial_id,) = ledger.trial_ids()
    made = SweepArtifacts(
        ANSWER, {}, {"a.txt": text.encode()}, {trial_id: {"b/b.txt": text.encode()}}
    )
    description = SweepDescription(name, "Is it so?", sweep_id or f"id-{name}")
    projection = MlflowProjection(
        uri, description, ledger, artifacts=lambda progress: made, patient=True, say=said.append
    )
    projection.finish("FINISHED", [trial_id])
    return said


def register(out: Path) -> None:
    """A model in MLflow's registry, as the end of a sweep leaves it."""
    client = MlflowClient(resolve_uri(INSIDE, out))
    experiment = client.get_experiment_by_name("s").experiment_id
    run = client.search_runs([experiment], "tags.kind = 'trial'")[0].info.run_id
    model = client.create_logged_model(experiment, name="m", source_run_id=run)
    client.create_registered_model("s")
    client.create_model_version("s", model.artifact_location, run, model_id=model.model_id)


def read(out: Path, uri: str = INSIDE, name: str = "s") -> list[str]:
    """The files of the sweep's runs, as MLflow reads them."""
    client = connect(resolve_uri(uri, out))
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    found = []
    for run in sorted(runs, key=lambda run: run.data.tags["kind"]):
        path = {"sweep": "a.txt", "trial": "b/b.txt"}[run.data.tags["kind"]]
        found.append(Path(client.download_artifacts(run.info.run_id, path)).read_text())
    return found


def values(file: Path) -> list[str]:
    """Every text in a database."""
    with sqlite3.connect(file) as connection:
        names = connection.execute("select name from sqlite_master where type = 'table'")
        rows = [connection.execute(f'select * from "{n}"').fetchall() for (n,) in names.fetchall()]
    return [value for table in rows for row in table for value in row if isinstance(value, str)]


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_moved_folder_is_read_and_written_in_its_new_place(out: Path, tmp_path: Path) -> None:
    for name in ("s", "t"):
        sync(out, "first", name=name)
    register(out)
    new = tmp_path / "b %42" / "other"
    new.parent.mkdir()
    out.rename(new)
    assert sync(new, "second") == []
    assert read(new) == ["second", "second"] and read(new, name="t") == ["first", "first"]
    assert not out.exists()
    left = [text for text in values(new / "mlflow.db") if out.parent.name in text]
    left += [text for text in values(new / "mlflow.db") if out.parent.as_uri() in text]
    assert left == []


def test_a_copy_follows_and_leaves_the_original_alone(out: Path, tmp_path: Path) -> None:
    sync(out, "first")
    register(out)
    new = tmp_path / "copy"
    shutil.copytree(out, new)
    before = hashes(out)
    sync(new, "second")
    assert read(new) == ["second", "second"]
    assert remove_from_tracking(Ledger(new, "s"), {})
    assert hashes(out) == before and read(out) == ["first", "first"]


def test_a_link_leads_to_the_folder_that_it_names_now(out: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(out)
    sync(link, "first")
    assert read(out) == ["first", "first"]
    new = out.rename(tmp_path / "new")
    link.unlink()
    link.symlink_to(new)
    sync(link, "second")
    assert read(new) == read(link) == ["second", "second"] and not out.exists()


def test_a_sweep_begun_in_the_old_place_keeps_what_it_has(out: Path, tmp_path: Path) -> None:
    sync(out, "first")
    new = tmp_path / "new"
    shutil.copytree(out, new)  # and then another sweep of the name began there
    (out / "s" / "origin.json").write_text('{"sweep_id": "later"}')
    sync(out, "later", sweep_id="later")
    before = hashes(out)
    sync(new, "second")
    assert read(new) == ["second", "second"] and hashes(out) == before


def test_a_database_elsewhere_follows_a_moved_folder_but_not_a_copy(
    out: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/outside.db"
    sync(out, "first", uri)
    copy, new = tmp_path / "copy", tmp_path / "new"
    shutil.copytree(out, copy)
    before = hashes(out)
    (said,) = sync(copy, "second", uri)
    assert f"this is a copy of {out / 's'}" in said and hashes(out) == before
    assert not (copy / "mlartifacts" / "x").exists() and read(out, uri) == ["first", "first"]
    with pytest.raises(UserError, match="this is a copy of .*; --keep-tracking"):
        remove_from_tracking(Ledger(copy, "s"), {"tracking": {"uri": uri}})
    shutil.rmtree(copy)
    out.rename(new)
    assert sync(new, "third", uri) == [] and not out.exists()
    assert read(new, uri) == ["third", "third"]


def test_mlflows_page_reads_a_moved_folder_in_its_new_place(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("s", "t"):
        sync(out, "first", name=name)
    new = out.rename(tmp_path / "new")
    ui._follow(resolve_uri(INSIDE, new), None, str(new))
    assert read(new) == read(new, name="t") == ["first", "first"]
    assert not any(out.parent.name in text for text in values(new / "mlflow.db"))
    (new / "mlflow.db").write_bytes(b"no database")
    ui._follow(resolve_uri(INSIDE, new), None, str(new))
    assert "artifacts may be shown from elsewhere: " in capsys.readouterr().err


def test_folders_that_share_a_database_keep_their_places(out: Path, tmp_path: Path) -> None:
    """One of them holds it."""
    uri, other = resolve_uri(INSIDE, out), tmp_path / "other"
    write_trial(other / "s", [0.4], seed=2)
    (other / "s" / "origin.json").write_text('{"sweep_id": "other"}')
    (other / "s" / "sweep.yaml").touch()
    sync(other, "theirs", uri, sweep_id="other")
    sync(out, "ours")
    before = set(values(out / "mlflow.db"))
    for _ in range(2):
        follow(uri, Ledger(out, "s"))
        follow(uri, Ledger(other, "s"))
    assert set(values(out / "mlflow.db")) == before


def test_a_database_that_is_not_made_yet_is_left_alone(tmp_path: Path, out: Path) -> None:
    uri: Any = resolve_uri("sqlite:///none.db", out)
    follow(uri, Ledger(out, "s"))
    assert not database_file(uri).exists()  # type: ignore[union-attr]
