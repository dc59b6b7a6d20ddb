"""Every sampler: ours, and those that other packages bring.

Another package brings one as an entry point of the group `orch_mtl.samplers`: a function of
`trainer.samplers.Epoch` that returns phases, as ours are.  Its attribute `keys` names the config
keys that it reads beside `batch_size` (`B`, `lambda`, ...).  What it does not name is no part of a
trial's identity.  docs/guide/tutorial.md makes one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata

from trainer.registry import Entry, Registry
from trainer.samplers.base import Sampler

GROUP = "orch_mtl.samplers"


@dataclass(frozen=True, kw_only=True)
class SamplerEntry(Entry):
    """A sampler in the list."""

    #: Keys that may be mappings by task.
    by_task: tuple[str, ...] = ()
    #: Whether `train_task` must be named where there are several tasks.
    needs_task: bool = False
    #: Whether each step sees a single task.
    one_task: bool = False
    #: Why its first epochs depend on how many will follow; empty if they do not.
    depends_on_epochs: str = ""


SAMPLERS = Registry(
    "sampler",
    SamplerEntry(
        name="proportional",
        path="trainer.samplers.proportional:proportional",
        summary="Draws tasks in proportion to their data, B examples per epoch.",
        keys=("B", "steps_per_epoch", "draws_per_step"),
        paper="P0 (V-PCGrad), P3",
    ),
    SamplerEntry(
        name="annealed",
        path="trainer.samplers.proportional:annealed",
        summary="Draws tasks in proportion to N^alpha; alpha falls from 1 to 0.2 over the epochs.",
        keys=("B", "steps_per_epoch", "draws_per_step"),
        paper="P0 section 3.2 (A-PCGrad), P3; Stickland and Murray 2019",
        depends_on_epochs="annealed: alpha falls from 1 to 0.2 over all epochs",
    ),
    SamplerEntry(
        name="round_robin",
        path="trainer.samplers.round_robin:round_robin",
        summary="One batch of every task in each step, until the smallest task was seen once.",
        paper="P0 (RR-PCGrad), P3 (truncated triple-batch)",
    ),
    SamplerEntry(
        name="arrp",
        path="trainer.samplers.arrp:arrp",
        summary="Round robin, then B examples of the task with most data, its loss times lambda.",
        keys=("B", "lambda"),
        paper="P0 section 4.2, Algorithm 3",
        by_task=("B", "lambda"),
    ),
    SamplerEntry(
        name="cycle",
        path="trainer.samplers.whole_tasks:cycle",
        summary="One batch of every task in each step, until the largest task was seen once.",
        paper="P1 (finetune-mix, max_size_cycle)",
    ),
    SamplerEntry(
        name="sequential",
        path="trainer.samplers.whole_tasks:sequential",
        summary="Each task in turn, whole.",
        keys=("task_order", "optimizer_state"),
        paper="P1 (finetune-seq)",
        one_task=True,
    ),
    SamplerEntry(
        name="interleaved",
        path="trainer.samplers.whole_tasks:interleaved",
        summary="One batch of every task in each step, sized so that all tasks finish together.",
        paper="P4 (rrobin-full)",
    ),
    SamplerEntry(
        name="single_task",
        path="trainer.samplers.whole_tasks:single_task",
        summary="One task alone, each of its examples once.",
        keys=("train_task",),
        paper="baselines of P0, P2 and P4",
        needs_task=True,
        one_task=True,
    ),
    SamplerEntry(
        name="rr_pretrain",
        path="trainer.samplers.whole_tasks:rr_pretrain",
        summary="The first epochs open with the data-rich task, whole; then round robin.",
        keys=("train_task", "pretrain_epochs"),
        paper="P4 (rrobin-pre)",
    ),
)
SAMPLER_KEYS = SAMPLERS.keys_read


class NotLoadable(ValueError):
    """No installed package brings the sampler, or its own code fails."""


def installed() -> tuple[str, ...]:
    """Names of the samplers that installed packages bring."""
    return tuple(sorted(_entry_points()))


@functools.cache
def entry_of(name: str) -> SamplerEntry:
    """Ours, or another package's with the keys that it declares.  Raises `NotLoadable`."""
    if name in SAMPLERS:
        return SAMPLERS[name]
    keys = getattr(load(name), "keys", ())
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise NotLoadable(f"{name}: its attribute keys is no list of names")
    value = _entry_points()[name].value
    return SamplerEntry(name=name, path=value, summary="brought by a package", keys=tuple(keys))


@functools.cache
def load(name: str) -> Sampler:
    """The sampler of that name.  Raises `NotLoadable`."""
    if name in SAMPLERS:
        sampler: Sampler = SAMPLERS[name].load()
        return sampler
    entry = _entry_points().get(name)
    if entry is None:
        raise NotLoadable(f"{name}: no installed package brings it (entry point {GROUP})")
    try:
        brought = entry.load()
    except Exception as error:  # whatever another package's import does
        why = f"{type(error).__name__}: {error}"
        raise NotLoadable(f"{name}: {entry.value} cannot be loaded: {why}") from error
    if not callable(brought):
        raise NotLoadable(f"{name}: {entry.value} is no function")
    function: Sampler = brought
    return function


def package(name: str) -> tuple[str, str] | None:
    """Name and version of the package that brings a sampler; None for ours."""
    entry = _entry_points().get(name)
    distribution = entry.dist if entry is not None else None
    return (distribution.name, distribution.version) if distribution is not None else None


@functools.cache
def _entry_points() -> dict[str, metadata.EntryPoint]:
    """By name; one of ours stays ours."""
    return {e.name: e for e in metadata.entry_points(group=GROUP) if e.name not in SAMPLERS}
