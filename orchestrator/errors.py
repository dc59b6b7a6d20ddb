"""Errors whose text is the whole message for the user.

`orchestrator.cli.main` prints them and ends with their exit code, so that no command needs to.
"""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can put right; the text says what is wrong and what to do."""

    exit_code = 2


class SweepError(UserError):
    """The sweep cannot start.  Nothing was started."""
