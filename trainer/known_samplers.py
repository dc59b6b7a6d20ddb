"""Which samplers there are, ours and those that other packages bring, and which keys each reads.

Another package's is an entry point of the group `orch_mtl.samplers`: a function of
`trainer.samplers.Epoch` that returns phases, as ours are.  Its attribute `keys` names the config
keys that it reads beside `batch_size` (`B`, `lambda`, ...); what it does not name is no part of a
trial's identity.  docs/guide/tutorial.md makes one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import metadata
from typing import Any

GROUP = "orch_mtl.samplers"


#: Our samplers, and which keys each reads; what it does not read does not act.
OURS: dict[str, tuple[str, ...]] = {
    "proportional": ("B", "steps_per_epoch", "draws_per_step"),
    "annealed": ("B", "steps_per_epoch", "draws_per_step"),
    "round_robin": (),
    "arrp": ("B", "lambda"),
    "cycle": (),
    "sequential": ("task_order", "optimizer_state"),
    "interleaved": (),
    "single_task": ("train_task",),
    "rr_pretrain": ("train_task", "pretrain_epochs"),
}
SAMPLER_KEYS = tuple(dict.fromkeys(key for keys in OURS.values() for key in keys))


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
    if name in OURS:
        return OURS[name]
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
    """By name; one of ours stays ours."""
    return {e.name: e for e in metadata.entry_points(group=GROUP) if e.name not in OURS}
