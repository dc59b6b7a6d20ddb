"""Errors whose text is the whole message for the user.

`orchestrator.cli.main` prints the text and exits with `exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable

from trainer.config import did_you_mean


class UserError(Exception):
    """Something that the user can fix; the text says what is wrong and what to do."""

    exit_code = 2


class SweepError(UserError):
    """The sweep cannot start, and nothing was started."""


def unknown_name(
    said: str, name: str, allowed: Iterable[str], *, known: str = "allowed", most: int | None = None
) -> UserError:
    """The error of a name that does not exist, with the most similar one and all that do.

    Args:
        said: what is wrong: `--metric stt: no such metric`.
        known: what the names are.
        most: how many names are listed; None for all.
    """
    names = list(allowed)
    shown = names[:most]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    listed = ", ".join(shown) or "none"
    return UserError(f"{said}{did_you_mean(name, names)}; {known}: {listed}{more}")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
