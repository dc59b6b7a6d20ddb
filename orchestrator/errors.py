"""Errors whose text is the whole message for the user."""

from __future__ import annotations


class SweepError(Exception):
    """The sweep cannot start; the text is the whole message.  Nothing was started."""
