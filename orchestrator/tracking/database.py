"""Opening MLflow's database or server, and what is read there."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.database_health import Health, tables
from orchestrator.database_urls import expanded
from orchestrator.tracking.sqlite_file import make_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MAX_RUNS = 50_000


def is_server(uri: str) -> bool:
    """Whether an address is that of an MLflow server; others are databases."""
    return uri.startswith(("http://", "https://"))


def connect(uri: str) -> MlflowClient:
    """A client that asks few times and soon gives up, and does not report its use to anybody."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # A request that is sent again by itself may make a second run, and nobody would know.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        # It draws a bar for every upload of more than a file.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # A server's client prints two lines on stdout, where our answer stands, for every run.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "PGCONNECT_TIMEOUT": "10",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    # It logs every error of a database with its traceback, and raises it too.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        make_whole(path, lambda made: MlflowClient(f"sqlite:///{made}").search_experiments())
    if not is_server(uri):
        _knock(uri)
    return MlflowClient(tracking_uri=uri)


def _knock(uri: str) -> None:
    """Raise at once if the database does not open: MLflow tries for two minutes."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with create_engine(uri, poolclass=NullPool).connect():
        pass


def open_experiment(client: MlflowClient, name: str, artifacts: str | None) -> Any:
    """The experiment of that name, made or taken back out of the bin if need be.

    Args:
        artifacts: where a new one's artifacts go; None: where the server wants them.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.get_experiment(client.create_experiment(name, artifact_location=artifacts))
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return found


def all_runs(client: MlflowClient, experiment: str) -> list[Any]:
    runs: list[Any] = []
    token = None
    while len(runs) < _MAX_RUNS:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs


def experiment_id(uri: str, name: str) -> str | None:
    """The id of a sweep's experiment, for its page's address; None if there is none.

    Raises whatever the database raises.
    """
    found = connect(expanded(uri)).get_experiment_by_name(name)
    return None if found is None else str(found.experiment_id)


def tracking_health(uri: str) -> Health:
    """Raises whatever the database or the server's client raises."""
    if is_server(uri):
        connect(uri).search_experiments(max_results=1)
        return Health()
    if "experiments" not in tables(uri):
        return Health(empty=True)
    from mlflow.store.db.utils import _get_latest_schema_revision, _get_schema_version
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    current = _get_schema_version(create_engine(uri, poolclass=NullPool))
    return Health(str(current or "none"), str(_get_latest_schema_revision()))
