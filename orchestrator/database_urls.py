"""Addresses of databases and servers: how a sweep file names them, how we show and open them.

A file never has a password.  `postgresql://orch:${ORCH_DB_PASSWORD}@db/mlflow` names a variable,
which is read only when the database is opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DATABASES = ("postgresql", "mysql")
_SECRETS = re.compile(r"([?&;](?:password|passwd|pwd|sslpassword|token)=)([^&;#]*)", re.IGNORECASE)


class UnsetVariable(ValueError):
    """An address names an environment variable that is not set; the text says which."""


def expanded(uri: str, environment: Mapping[str, str] = os.environ) -> str:
    """The address with every `${NAME}` replaced and encoded as its place in a URI requires.

    Raises `UnsetVariable`.
    """
    end_of_user = uri.rfind("@")

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environment:
            raise UnsetVariable(f"the environment variable {name} is not set")
        secret = match.start() < end_of_user or "?" in uri[: match.start()]
        return quote(environment[name], safe="") if secret else environment[name]

    return _VARIABLE.sub(value, uri)


def missing_driver(uri: str) -> str:
    """The Python package that a database's address needs, if it is not installed; else empty."""
    scheme = uri.partition("://")[0]
    if scheme.partition("+")[0] not in _DATABASES:
        return ""
    from sqlalchemy import make_url
    from sqlalchemy.exc import NoSuchModuleError

    try:
        make_url(f"{scheme}://").get_dialect().import_dbapi()
    except ModuleNotFoundError as error:
        return str(error.name)
    except NoSuchModuleError:
        return scheme.partition("+")[2] or scheme
    return ""


def holds_password(uri: str) -> bool:
    """Whether the address contains a password in plain text."""
    return without_password(uri) != uri


def without_password(uri: str) -> str:
    """The address without its password; a variable's name stays."""
    scheme, separator, rest = uri.partition("://")
    if scheme.partition("+")[0] == "sqlite":
        return uri  # the rest is a path
    user, at, host = rest.rpartition("@")
    name, colon, password = user.partition(":")
    if colon and not _VARIABLE.fullmatch(password):
        user = name
    shown = f"{scheme}{separator}{user}{at}{host}" if at else uri
    return _SECRETS.sub(lambda m: m[0] if _VARIABLE.fullmatch(m[2]) else m[1] + "***", shown)


def resolve_uri(uri: str, out: str | Path) -> str:
    """The address with a relative sqlite file moved to `out`, so that all commands find it."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith(prefix + "/"):
        return f"{prefix}{(Path(out).resolve() / uri.removeprefix(prefix))}"
    return uri
