"""What a shell offers on the tab key: names of sweeps, ids of trials.

A shell runs the command for each key. So this only lists folders, and reads nothing in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import typer

#: What the folder of a sweep holds, one of them at least.
_MARKS = ("sweep.yaml", "trials")


def sweeps(context: typer.Context, incomplete: str) -> list[str]:
    """The sweeps whose names begin so."""
    return [name for name in _sweeps(_out(context)) if name.startswith(incomplete)]


def trials(context: typer.Context, incomplete: str) -> list[str]:
    """The trials of the sweep that is named before, whose ids begin so."""
    folder = _sweep(_out(context), context.params.get("name") or "")
    return [trial for trial in _trials(folder) if trial.startswith(incomplete)]


def sweeps_and_trials(context: typer.Context, incomplete: str) -> list[str]:
    """The sweeps; behind an `@` the trials of the one before it."""
    name, at, begun = incomplete.partition("@")
    if not at:
        return sweeps(context, incomplete)
    folder = _sweep(_out(context), name)
    return [f"{name}@{trial}" for trial in _trials(folder) if trial.startswith(begun)]


def _out(context: typer.Context) -> Path:
    given = context.params.get("out") or os.environ.get("ORCH_OUT") or "sweeps"
    return Path(str(given)).expanduser()


def _sweeps(out: Path) -> Iterator[str]:
    return (n for n in _folders(out) if any((out / n / mark).exists() for mark in _MARKS))


def _sweep(out: Path, name: str) -> Path:
    """The folder that the command takes for this name."""
    if (out / name).is_dir():
        return out / name
    profiles = [each for each in _sweeps(out) if each.startswith(f"{name}-")]
    return out / profiles[0] if len(profiles) == 1 else Path(name)


def _trials(folder: Path) -> Iterator[str]:
    return _folders(folder / "trials")


def _folders(place: Path) -> Iterator[str]:
    try:
        yield from sorted(entry.name for entry in os.scandir(place) if entry.is_dir())
    except OSError:  # there is none, or it is in an object store
        return
