"""Whether MLflow's database or server answers, and with today's tables."""

from __future__ import annotations

from orchestrator.health import Health, tables
from orchestrator.tracking.database import connect, is_server


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
