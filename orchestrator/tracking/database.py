"""Opens MLflow's database or server, and reads from it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from orchestrator.database_health import Health, tables
from orchestrator.database_urls import database_file, sqlite_uri
from orchestrator.environment import reach_this_machine_directly, set_ours
from orchestrator.tracking.sqlite_file import make_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MAX_RUNS = 50_000


def is_server(uri: str) -> bool:
    """Whether an address is an MLflow server's; all others are databases."""
    return uri.startswith(("http://", "https://"))


def connect(uri: str) -> MlflowClient:
    """A client that retries little, gives up soon and sends no telemetry."""
    set_ours("MLflow")
    reach_this_machine_directly()
    for name, value in {
        # An automatic second request could create a second run without our notice.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "PGCONNECT_TIMEOUT": "10",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient
    from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

    # By run, whatever the database: but a copy has the same runs, and a moved one other places.
    _artifact_repos_cache.clear()
    # MLflow logs the traceback of every database error, and raises it as well.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    if (file := database_file(uri)) is not None:
        make_whole(file, lambda new: MlflowClient(backend(sqlite_uri(new))).search_experiments())
    if not is_server(uri):
        _check_opens(uri)
    # Otherwise MLFLOW_REGISTRY_URI says where models are registered.
    return MlflowClient(tracking_uri=backend(uri), registry_uri=backend(uri))


def backend(uri: str) -> str:
    """A database's address as MLflow gets it, with sqlite's driver named.

    For `sqlite:///` MLflow makes the parent folder without decoding the path: `a%3Fb` beside `a?b`.
    """
    scheme, separator, rest = uri.partition("://")
    return f"sqlite+pysqlite{separator}{rest}" if scheme == "sqlite" else uri


def _check_opens(uri: str) -> None:
    """Raise at once if the database does not open: MLflow itself tries for two minutes."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with create_engine(uri, poolclass=NullPool).connect():
        pass


def all_runs(client: MlflowClient, experiment: str, *, trash: bool = False) -> list[Any]:
    """The runs of an experiment; with `trash` also those that were deleted."""
    from mlflow.entities import ViewType

    view = ViewType.ALL if trash else ViewType.ACTIVE_ONLY
    runs: list[Any] = []
    token = None
    while len(runs) < _MAX_RUNS:
        page = client.search_runs([experiment], "", view, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs


def tracking_health(uri: str) -> Health:
    """The health of MLflow's database or server; raises what its client raises."""
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
