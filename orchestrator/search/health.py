"""Whether the database of Optuna's study answers, and with today's tables."""

from __future__ import annotations

from optuna.storages import RDBStorage

from orchestrator.health import Health, tables


def study_health(uri: str) -> Health:
    """Raises whatever the database raises."""
    if "studies" not in tables(uri):
        return Health(empty=True)
    storage = RDBStorage(uri, skip_compatibility_check=True, skip_table_creation=True)
    try:
        return Health(storage.get_current_version(), storage.get_head_version())
    finally:
        storage.remove_session()
        storage.engine.dispose()
