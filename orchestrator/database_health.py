"""The health of a database: the versions of its tables.  It changes nothing there."""

from __future__ import annotations

import os
from dataclasses import dataclass

from orchestrator.database_urls import database_file


@dataclass(frozen=True)
class Health:
    """Versions of a database's tables: the current one, and the one that the package needs.

    Both are empty behind a server, which checks them itself.
    """

    current: str = ""
    wanted: str = ""
    #: There are no tables yet.
    empty: bool = False


def tables(uri: str) -> set[str]:
    """Names of a database's tables; empty for a sqlite file that does not exist.

    Raises whatever the database raises, within ten seconds.
    """
    file = database_file(uri)
    if file is not None and not file.exists():
        return set()
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.pool import NullPool

    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # a host that is gone is noticed
    return set(inspect(create_engine(uri, poolclass=NullPool)).get_table_names())
