"""Ray's token: whether one is set, and whether Ray demands it.  Without it Ray runs anybody's code.

Ray reads it from RAY_AUTH_TOKEN, the file that RAY_AUTH_TOKEN_PATH names, or ~/.ray/auth_token.
"""

from __future__ import annotations

import os

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled

#: What a user can do about a missing token.
REMEDY = (
    "set RAY_AUTH_TOKEN_PATH to a file with the cluster's token (ray get-auth-token prints it on "
    "the head)"
)


def is_set() -> bool:
    """Whether this process has a token, in any mode."""
    try:
        return bool(
            ray._raylet.AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True)
        )
    except Exception:  # RAY_AUTH_TOKEN_PATH names no file, or an empty one
        return False


def is_asked_for() -> bool:
    """Whether Ray demands a token here."""
    return bool(is_token_auth_enabled())


def do_without() -> None:
    """Let Ray join a cluster without a token."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    ray._raylet.Config.initialize("")  # Ray has already read its settings
