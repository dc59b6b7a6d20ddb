"""A path is not a URL: whatever a folder is called, everything lies in it."""

from __future__ import annotations

import string
from pathlib import Path

import optuna
import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from orchestrator.database_urls import database_file, resolve_uri
from orchestrator.ledger import Ledger
from orchestrator.spec import load_spec
from orchestrator.tracking import MlflowProjection, SweepDescription
from orchestrator.tracking.database import backend
from tests.support.ledgers import write_trial
from tests.support.mlflow_runs import shown
from trainer.config import ConfigError

PRINTABLE = [c for c in string.printable if c not in "/"] + ["é", "語", "\u202e", "\udcff"]
NASTY = ("%2F", "%00", "${HOME}", "{SCHEMA_VERSION}", "?timeout=1", "#x", "a@b:c", ":memory:")


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+pysqlite"])
def test_a_database_lies_in_its_folder_whatever_that_is_called(driver: str, tmp_path: Path) -> None:
    for number, name in enumerate([*PRINTABLE, *NASTY]):
        out = tmp_path / f"{number}" / f"a{name}b"
        out.mkdir(parents=True)
        uri = resolve_uri(f"{driver}:///mlflow.db", out)
        with create_engine(uri, poolclass=NullPool).begin() as connection:
            connection.exec_driver_sql("create table t (x)")
        assert list(out.parent.rglob("*")) == [out, out / "mlflow.db"], name
        assert database_file(uri) == out / "mlflow.db"
        assert resolve_uri(uri, "/elsewhere") == uri


def test_artifacts_lie_in_their_folder_whatever_that_is_called(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for number, name in enumerate([*PRINTABLE[:-1], *NASTY]):  # MLflow takes text only
        out = tmp_path / f"{number}" / f"a{name}b"
        get_artifact_repository(out.as_uri()).log_artifact(str(tmp_path / "file"), "sub")
        assert list(out.parent.rglob("*")) == [out, out / "sub", out / "sub" / "file"], name


def test_what_a_sweep_file_names_is_read_as_sqlalchemy_reads_it(tmp_path: Path) -> None:
    for written in ("my%20db.db", "a?timeout=60", "100%.db", "sub/../m.db", "{x}.db", "%7Bx}.db"):
        named = make_url(f"sqlite:///{written}").database
        uri = resolve_uri(f"sqlite:///{written}", tmp_path)
        assert make_url(uri).database == str(tmp_path / named)
        assert make_url(uri).query == make_url(f"sqlite:///{written}").query
        optuna.storages.RDBStorage._fill_storage_url_template(uri)  # nothing is filled in


def test_a_sweep_with_a_nasty_name_of_its_folder_is_shown(tmp_path: Path, database: bytes) -> None:
    out = tmp_path / "a" / "50%2F?#${HOME} {x}\n'\"é"
    name = write_trial(out / "s", [0.4, 0.5])
    (out / "mlflow.db").write_bytes(database)
    projection = MlflowProjection("sqlite:///mlflow.db", SweepDescription("s"), Ledger(out, "s"))
    projection.finish("FINISHED", [name])
    assert set(shown(backend(projection.uri), "s")) == {name}
    assert list(out.parent.iterdir()) == [out]
    assert {path.name for path in out.iterdir()} == {"s", "mlflow.db"}
    assert "\n" not in projection.name


@pytest.mark.parametrize(
    "address", ["sqlite://", "sqlite:///", "sqlite://host/m.db", "sqlite:///%00"]
)
@pytest.mark.parametrize("key", ["uri", "study"])
def test_an_address_of_sqlite_names_a_file(key: str, address: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        f"name: s\nsearch: {{algorithm: list}}\nenqueue: [{{}}]\ntracking: {{{key}: '{address}'}}\n"
    )
    with pytest.raises(ConfigError, match=f"s.yaml:4: tracking.{key}: .*names no file"):
        load_spec(str(file))
