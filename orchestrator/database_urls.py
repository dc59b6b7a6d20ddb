"""Addresses of databases and servers: how a sweep file names them, how we show and open them.

A file never has a password.  `postgresql://orch:${ORCH_DB_PASSWORD}@db/mlflow` names a variable,
which is read only when the database is opened.  A file may come from somebody else, so it cannot
name just any variable, or use one elsewhere: that would send this shell's secrets to a host of its
choice.

A path is not a URL: in `sqlite:////a%2Fb/m.db` the `%2F` means a slash.  So only `database_file`
reads a path from an address, and only `sqlite_uri` writes one into it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

#: Before the path of Optuna's journal, as it is.
JOURNAL_SCHEME = "journal:"
#: What a file may name: a variable of ours.
_VARIABLE = re.compile(r"\$\{(ORCH_[A-Za-z0-9_]*)\}")
_QUERY = r"[?&;](?:password|passwd|pwd|sslpassword|token)="
#: Where a password stands: after the user's name, or in the query.
_PASSWORD_IS_NAMED = re.compile(
    rf"(://[^/@?#:]*:|{_QUERY}){_VARIABLE.pattern}(?=[@&;#]|$)", re.IGNORECASE
)
#: Characters that mean something in an address, or to Optuna, which fills in `{SCHEMA_VERSION}`.
_SPECIAL = "%?#{}"
_SECRETS = re.compile(rf"({_QUERY})([^&;#]*)", re.IGNORECASE)
#: Databases besides sqlite, and the drivers that a file may choose with `+`: name -> package.
DRIVERS: dict[str, dict[str, str]] = {
    "postgresql": {
        "": "psycopg2", "psycopg": "psycopg", "psycopg2": "psycopg2", "pg8000": "pg8000",
    },
    "mysql": {"": "mysqlclient", "pymysql": "pymysql", "mysqldb": "mysqlclient"},
}  # fmt: skip


class UnsetVariable(ValueError):
    """An address names an environment variable that is not set; the text says which."""


def expanded(uri: str, environment: Mapping[str, str] = os.environ) -> str:
    """The address with a named password (`${ORCH_NAME}`) replaced, and encoded for a URI.

    Raises `UnsetVariable`.
    """

    def value(match: re.Match[str]) -> str:
        name = match[2]
        if name not in environment:
            raise UnsetVariable(f"the environment variable {name} is not set")
        return match[1] + quote(environment[name], safe="")

    return uri if _is_file(uri) else _PASSWORD_IS_NAMED.sub(value, uri)


def names_other_variable(uri: str) -> bool:
    """Whether an address names a variable that is not ours, or elsewhere than for a password."""
    return not _is_file(uri) and "${" in _PASSWORD_IS_NAMED.sub(r"\1", uri)


def unknown_driver(uri: str) -> str:
    """The drivers that an address may choose, if it chooses another; else empty."""
    database, _, driver = uri.partition("://")[0].partition("+")
    known = DRIVERS.get(database, {"": "", "pysqlite": ""} if database == "sqlite" else {"": ""})
    return "" if driver in known else ", ".join(filter(None, known)) or "none"


def missing_driver(uri: str) -> str:
    """The Python package that a database's address needs, if it is not installed; else empty."""
    scheme = uri.partition("://")[0]
    database, _, driver = scheme.partition("+")
    if driver not in DRIVERS.get(database, {}):
        return ""
    from sqlalchemy import make_url

    try:
        make_url(f"{scheme}://").get_dialect().import_dbapi()
    except ModuleNotFoundError:
        return DRIVERS[database][driver]
    return ""


def holds_password(uri: str) -> bool:
    """Whether the address contains a password in plain text."""
    return without_password(uri) != uri


def without_password(uri: str) -> str:
    """The address without its password; a variable's name stays."""
    if _is_file(uri):
        return uri
    scheme, separator, rest = uri.partition("://")
    user, at, host = rest.rpartition("@")
    name, colon, password = user.partition(":")
    if colon and not _VARIABLE.fullmatch(password):
        user = name
    shown = f"{scheme}{separator}{user}{at}{host}" if at else uri
    return _SECRETS.sub(lambda m: m[0] if _VARIABLE.fullmatch(m[2]) else m[1] + "***", shown)


def resolve_uri(uri: str, out: str | Path) -> str:
    """The address with a relative sqlite file moved to `out`, so that all commands find it."""
    path = database_file(uri)
    if path is None or uri.startswith(JOURNAL_SCHEME):
        return uri
    query = uri.partition("://")[2].partition("?")
    return sqlite_uri(Path(out).resolve() / path) + "".join(query[1:])


def database_file(uri: str) -> Path | None:
    """The file that an address names, of sqlite or a journal; None for a server."""
    if not _is_file(uri):
        return None
    if uri.startswith(JOURNAL_SCHEME):
        return Path(uri.removeprefix(JOURNAL_SCHEME))
    return Path(unquote(uri.partition("://")[2].partition("?")[0][1:]))


def names_a_file(uri: str) -> bool:
    """Whether an address of sqlite has a path: it begins with a third slash."""
    file = database_file(uri)
    return (
        uri.partition("://")[2].startswith("/")
        and bool(file and file.name)
        and "\0" not in str(file)
    )


def sqlite_uri(path: Path) -> str:
    """The address of a sqlite file; its path has `%XX` only for what would mean something else."""
    return "sqlite:///" + "".join(
        c if c.isprintable() and c not in _SPECIAL else _encoded(c) for c in str(path)
    )


def _encoded(character: str) -> str:
    # A byte that is no text stays as Python shows it: `%FF` would be read as another character.
    return character if "\udc80" <= character <= "\udcff" else quote(character)


def _is_file(uri: str) -> bool:
    """Whether the address is a path, in which `$` and `@` mean nothing."""
    scheme = uri.partition("://")[0].partition("+")[0]
    return scheme == "sqlite" or uri.startswith(JOURNAL_SCHEME)
