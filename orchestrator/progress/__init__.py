"""What a person sees while a sweep runs: a live view on a terminal, else a line for each event."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from orchestrator.progress.events import Progress
from orchestrator.progress.live import LiveProgress
from orchestrator.progress.plain import PlainProgress, say

__all__ = ["LiveProgress", "PlainProgress", "Progress", "make_progress", "say"]


def make_progress(console: Console, varied: Iterable[str] = (), name: str = "") -> Progress:
    """The live view if `console` is a terminal, else plain lines.

    Args:
        varied: dotted config keys in which the sweep's configurations differ.
        name: the sweep's.
    """
    kind = LiveProgress if console.is_terminal else PlainProgress
    return kind(console, tuple(varied), name)
