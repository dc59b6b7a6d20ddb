"""Ray's token, without which Ray runs anybody's code: whether one is set, and one of our own.

Ray reads it from RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

import ray

#: What a user can do about a missing token.
REMEDY = (
    "set RAY_AUTH_TOKEN_PATH to a file with the cluster's token (ray get-auth-token prints it on "
    "the head)"
)

_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
#: Of every Ray that this process starts.
_OURS = secrets.token_hex(32)


def is_set() -> bool:
    """Whether this process has a token, in any mode."""
    try:
        return bool(
            ray._raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
        )
    except Exception:  # RAY_AUTH_TOKEN_PATH names no file, or an empty one
        return False


def do_without() -> None:
    """Let Ray join a cluster without a token."""
    os.environ[_MODE] = "disabled"
    ray._raylet.Config.initialize("")  # Ray has already read its settings


@contextlib.contextmanager
def of_our_own() -> Iterator[None]:
    """For a Ray of this process alone: it demands a token that nobody else has.

    Ray's own processes get the token from the environment.  This one keeps it in mind, and what was
    in the environment comes back.
    """
    before = os.environ.get(_TOKEN)
    os.environ |= {_MODE: "token", _TOKEN: _OURS}
    ray._raylet.Config.initialize("")  # Ray has already read its settings
    forget()
    try:
        yield
    finally:
        del os.environ[_TOKEN]
        if before is not None:
            os.environ[_TOKEN] = before


def forget() -> None:
    """Let Ray read the token again when it next needs one."""
    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
