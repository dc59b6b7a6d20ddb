"""Places in MLflow's database follow the folder of the sweeps.

MLflow keeps absolute places of artifacts.  After the folder was moved, renamed, copied or mounted
elsewhere, they lead into the old place, where MLflow would read and write.  So whoever opens a
database first lets it follow, in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from orchestrator.database_health import tables
from orchestrator.database_urls import database_file
from orchestrator.ledger import Ledger
from orchestrator.ledger.listing import sweep_names
from orchestrator.ledger.sweep_id import known_sweep_id

if TYPE_CHECKING:
    from sqlalchemy import Connection

logger = logging.getLogger(__name__)

#: Folder of the artifacts, beside the sweeps.
ARTIFACTS = "mlartifacts"
#: Columns with places of artifacts, as addresses.
_PLACES = (
    ("experiments", "artifact_location"), ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"), ("model_versions", "source"),
    ("model_versions", "storage_location"),
)  # fmt: skip
_OLD_PLACES = """
    select r.artifact_uri from runs r join tags t on t.run_uuid = r.run_uuid
        where t.key = 'sweep_id' and t.value = :mine
    union select e.artifact_location from experiments e
        join runs r on r.experiment_id = e.experiment_id join tags t on t.run_uuid = r.run_uuid
        where t.key = 'sweep_id' and t.value = :mine
"""
_IS_KNOWN = "select 1 from tags t where t.key = 'sweep_id' and t.value = :there"


class CopiedSweep(ValueError):
    """A sweep's original has its artifacts in a database that this copy uses as well."""


def place_of(ledger: Ledger) -> str:
    """The address of the folder for a sweep's artifacts."""
    return (ledger.local_out.resolve() / ARTIFACTS).as_uri()


def follow(uri: str, ledger: Ledger) -> None:
    """Let a database's places follow the folder in which the sweep is now.

    In a database that lies in this folder everything follows.  Another one may be shared with
    other folders: there, only places follow in which no sweep is any more.

    Args:
        uri: of the database, with its password.

    Raises `CopiedSweep` if places belong to the sweep's original, and what the database raises.
    """
    mine, out = known_sweep_id(ledger.folder), ledger.local_out.resolve()
    if not mine or not {table for table, _ in _PLACES} <= tables(uri):
        return
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    file = database_file(uri)
    is_ours = file is not None and file.resolve().is_relative_to(out)
    with create_engine(uri, poolclass=NullPool).begin() as connection:
        for old in sorted(_old_places(connection, mine) - {place_of(ledger)}):
            was = _path(old).parent
            there = known_sweep_id(Ledger(was, ledger.name).folder)
            if not is_ours and there == mine and not was.samefile(out):
                raise CopiedSweep(
                    f"this is a copy of {was / ledger.name}, to which the artifacts in MLflow "
                    "belong; give it a database of its own (tracking.uri)"
                )
            is_shared = there not in ("", mine) and _is_known(connection, there)
            if is_shared if is_ours else was.exists() and sweep_names(str(was)):
                continue
            _replace(connection, _PLACES, old, place_of(ledger))
            _replace(connection, [("tags", "value")], str(was), str(out))
            logger.info("%s: artifacts follow from %s to %s", ledger.name, was, out)


def _old_places(connection: Connection, mine: str) -> set[str]:
    """The folders of artifacts in which the sweep's runs are, as they stand in the database."""
    from sqlalchemy import text

    found = (row[0] or "" for row in connection.execute(text(_OLD_PLACES), {"mine": mine}))
    return set(_folders(found))


def _folders(places: Iterable[str]) -> Iterator[str]:
    for place in places:
        before, found, _ = f"{place}/".rpartition(f"/{ARTIFACTS}/")
        if found and place.startswith(("file:", "/")):
            yield f"{before}/{ARTIFACTS}"


def _path(place: str) -> Path:
    return Path(url2pathname(urlsplit(place).path if place.startswith("file:") else place))


def _is_known(connection: Connection, there: str) -> bool:
    from sqlalchemy import text

    return connection.execute(text(_IS_KNOWN), {"there": there}).first() is not None


def _replace(
    connection: Connection, columns: Iterable[tuple[str, str]], old: str, new: str
) -> None:
    """Replace what the values of columns begin with; of tags only the folders of trials."""
    from sqlalchemy import String, and_, column, func, literal, or_, table, update

    for name, key in columns:
        value = column(key, String)
        begins = func.substr(value, 1, len(old) + 1) == f"{old}/"
        condition = or_(begins, value == old)
        if name == "tags":
            condition = and_(condition, column("key", String) == "trial_directory")
        changed = literal(new, String) + func.substr(value, len(old) + 1)
        target = table(name, value, column("key", String))
        connection.execute(update(target).where(condition).values({key: changed}))
