"""Errors whose text is the whole message for the user.

`orchestrator.cli.main` prints the text and exits with `exit_code`.
"""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can fix; the text says what is wrong and what to do."""

    exit_code = 2


class SweepError(UserError):
    """The sweep cannot start, and nothing was started."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
