"""What a database says when it is asked how it is.  Changes nothing there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Health:
    """Versions of a database's tables: what it has and what the installed package wants.

    Both are empty where a server stands before it, which answers for that itself.
    """

    current: str = ""
    wanted: str = ""
    #: Nothing is there yet.
    empty: bool = False


def tables(uri: str) -> set[str]:
    """Names of a database's tables; none of a sqlite file that is not there.

    Raises whatever the database raises, within ten seconds.
    """
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return set()
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.pool import NullPool

    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # a host that is gone is noticed
    return set(inspect(create_engine(uri, poolclass=NullPool)).get_table_names())
