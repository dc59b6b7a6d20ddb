"""Samplers that other packages bring: entry points of the group `orch_mtl.samplers`.

Such a sampler is a function of `trainer.samplers.Epoch` that returns phases, as ours are.  Its
attribute `keys` names the config keys that it reads beside `batch_size` (`B`, `lambda`, ...);
what it does not name is no part of a trial's identity.  docs/tutorial.md makes one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import metadata
from typing import Any

GROUP = "orch_mtl.samplers"


class NotLoadable(ValueError):
    """No installed package brings the sampler, or its own code fails."""


def names() -> tuple[str, ...]:
    """What installed packages bring."""
    return tuple(sorted(_entry_points()))


@functools.cache
def load(name: str) -> Callable[[Any], Any]:
    """The sampler of that name.  Raises `NotLoadable`."""
    entry = _entry_points().get(name)
    if entry is None:
        raise NotLoadable(f"{name}: no installed package brings it (entry point {GROUP})")
    try:
        found = entry.load()
    except Exception as error:  # whatever another package's import does
        why = f"{type(error).__name__}: {error}"
        raise NotLoadable(f"{name}: {entry.value} cannot be loaded: {why}") from error
    if not callable(found):
        raise NotLoadable(f"{name}: {entry.value} is no function")
    return found


@functools.cache
def keys(name: str) -> tuple[str, ...]:
    """The config keys that it reads.  Raises `NotLoadable`."""
    found = getattr(load(name), "keys", ())
    if not isinstance(found, list | tuple) or not all(isinstance(key, str) for key in found):
        raise NotLoadable(f"{name}: its attribute keys is no list of names")
    return tuple(found)


def package(name: str) -> tuple[str, str] | None:
    """Name and version of the package that brings a sampler; None where there is none."""
    entry = _entry_points().get(name)
    found = entry.dist if entry is not None else None
    return (found.name, found.version) if found is not None else None


@functools.cache
def _entry_points() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
