"""A database's password: named in the sweep file, looked up when it is opened, shown nowhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.database_urls import UnsetVariable, expanded, holds_password, without_password
from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.spec import load_spec
from orchestrator.tracking.projections import projections_of
from tests.support.command import orch
from trainer.config import ConfigError

FILE = "name: s\nsearch: {algorithm: list}\nenqueue: [{}]\ntracking: {%s: '%s'}\n"
NAMED = "postgresql://orch:${ORCH_DB_PASSWORD}@db:5432/mlflow"
#: Addresses that would send a variable of the shell to their host.
ELSEWHERE = (
    "postgresql://127.0.0.1:18099/${AWS_SECRET_ACCESS_KEY}", "postgresql://h/${ORCH_X}",
    "postgresql://${ORCH_X}/d", "postgresql://${ORCH_X}:p@h/d", "postgresql://h/d?user=${ORCH_X}",
    "postgresql://u:${AWS_SECRET_ACCESS_KEY}@h/d", "postgresql://h/d?password=${HOME}",
)  # fmt: skip


def test_a_variable_is_looked_up_and_encoded_where_a_uri_needs_it() -> None:
    environment = {"ORCH_DB_PASSWORD": "a/b@c:d", "AWS_SECRET_ACCESS_KEY": "k", "ORCH_X": "x"}
    assert expanded(NAMED, environment) == "postgresql://orch:a%2Fb%40c%3Ad@db:5432/mlflow"
    assert expanded("postgresql://u@h/d?password=${ORCH_DB_PASSWORD}", environment).endswith(
        "password=a%2Fb%40c%3Ad"
    )
    unnamed = ("sqlite:///mlflow.db", "sqlite:////a:${ORCH_X}@b/m.db", "http://host:5000")
    for plain in (*unnamed, "postgresql://u@h/$HOME", *ELSEWHERE):
        assert expanded(plain, environment) == plain
    with pytest.raises(UnsetVariable, match="ORCH_DB_PASSWORD is not set"):
        expanded(NAMED, {})


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql+psycopg://orch:secret@db/m", "postgresql+psycopg://orch@db/m"),
        ("http://orch:secret@host:5000", "http://orch@host:5000"),
        ("postgresql://orch:se@cret@db/m", "postgresql://orch@db/m"),
        ("postgresql://orch:a${X}secret@db/m", "postgresql://orch@db/m"),
        ("postgresql://db/m?user=o&password=secret", "postgresql://db/m?user=o&password=***"),
        ("mysql://db/m?passwd=secret&x=1", "mysql://db/m?passwd=***&x=1"),
    ],
)
def test_a_written_password_is_found_and_left_out(uri: str, shown: str) -> None:
    assert holds_password(uri) and without_password(uri) == shown and not holds_password(NAMED)


@pytest.mark.parametrize("plain", [NAMED, "sqlite:////home/a:b@c/m.db", "http://host:5000"])
def test_what_holds_no_password_is_shown_as_it_is(plain: str) -> None:
    assert not holds_password(plain) and without_password(plain) == plain


@pytest.mark.parametrize("key", ["uri", "study"])
def test_a_password_in_a_sweep_file_is_refused_and_not_repeated(key: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    for scheme in ("postgresql", "mssql"):
        file.write_text(FILE % (key, f"{scheme}://orch:secret@db/m"))
        with pytest.raises(ConfigError) as caught:
            load_spec(str(file))
        assert f"tracking.{key}" in str(caught.value) and "secret" not in str(caught.value)
    file.write_text(FILE % (key, "postgresql://orch:secret@db/m"))
    answer = orch("validate", str(file))
    assert answer.returncode == 2 and "${ORCH_DB_PASSWORD}" in answer.stderr
    assert "secret" not in answer.stdout + answer.stderr


@pytest.mark.parametrize("address", ELSEWHERE)
@pytest.mark.parametrize("key", ["uri", "study"])
def test_a_file_names_only_our_variables_and_only_for_a_password(
    key: str, address: str, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(FILE % (key, address))
    with pytest.raises(ConfigError, match=rf"s.yaml:4: tracking.{key}: .*"):
        load_spec(str(file))


@pytest.mark.parametrize("scheme", ["postgresql+zzz", "mysql+os", "sqlite+pysqlcipher"])
@pytest.mark.parametrize("key", ["uri", "study"])
def test_a_file_chooses_among_known_drivers_only(key: str, scheme: str, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(FILE % (key, f"{scheme}://u@h/d"))
    with pytest.raises(ConfigError, match="names an unknown driver; allowed: ") as caught:
        load_spec(str(file))
    assert "pip" not in str(caught.value)


@pytest.mark.parametrize("key", ["uri", "study"])
def test_an_unset_variable_is_one_message_before_the_start(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(FILE % (key, NAMED))
    spec = load_spec(str(file))
    monkeypatch.delenv("ORCH_DB_PASSWORD", raising=False)
    with pytest.raises(SweepError, match=f"tracking.{key}: .*ORCH_DB_PASSWORD is not set"):
        projections_of(spec, Ledger(tmp_path, "s"), "id", list, print)
    monkeypatch.setenv("ORCH_DB_PASSWORD", "secret")
    projections = projections_of(spec, Ledger(tmp_path, "s"), "id", list, print)
    assert "secret" not in spec.to_yaml() + "".join(each.name for each in projections)
    assert "${ORCH_DB_PASSWORD}" in spec.to_yaml()


@pytest.mark.parametrize("key", ["uri", "study"])
def test_a_driver_that_is_not_installed_is_one_message_before_the_start(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(FILE % (key, "postgresql+psycopg://orch@db:5432/mlflow"))
    spec = load_spec(str(file))
    assert len(projections_of(spec, Ledger(tmp_path, "s"), "id", list, print)) == 2
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not there
    with pytest.raises(SweepError, match=rf"tracking.{key}: .*psycopg is not.*\[postgres\]"):
        projections_of(spec, Ledger(tmp_path, "s"), "id", list, print)
