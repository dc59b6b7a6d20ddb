"""The list of all samplers, and those that other packages provide.

Another package provides one as an entry point of the group `orch_mtl.samplers`: a function of
`trainer.samplers.Epoch` that returns phases.  Its attribute `keys` names the config keys that it
reads besides `batch_size` (`B`, `lambda`, ...).  A key that it does not name is no part of a
trial's identity.  docs/guide/tutorial.md shows an example.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata

from trainer.registry import CodeEntry, Registry
from trainer.samplers.base import Sampler

GROUP = "orch_mtl.samplers"


@dataclass(frozen=True, kw_only=True)
class SamplerEntry(CodeEntry):
    """A sampler.  Its path leads to a function of an `Epoch`."""

    #: Keys whose value may be a mapping by task.
    by_task: tuple[str, ...] = ()
    #: Whether a config with several tasks must name `train_task`.
    needs_task: bool = False
    #: Whether each step sees a single task.
    one_task: bool = False
    #: Whether its epochs have steps.
    trains: bool = True
    #: Why its first epochs depend on how many follow; empty if they do not.
    depends_on_epochs: str = ""


SAMPLERS = Registry(
    "sampler",
    SamplerEntry(
        name="proportional",
        path="trainer.samplers.proportional:proportional",
        summary=(
            "Each step makes `draws_per_step` task draws with p_i ∝ N_i. The draws of one task in "
            "a step form one batch. The epoch ends after B examples, or after `steps_per_epoch` "
            "steps (P3: 1,650)."
        ),
        keys=("B", "steps_per_epoch", "draws_per_step"),
        paper="P0 V-PCGrad (Algorithm 1), P3 4.1",
    ),
    SamplerEntry(
        name="annealed",
        path="trainer.samplers.proportional:annealed",
        summary=(
            "The same with p_i ∝ N_i^α, where α = 1 − s (e − 1) / (E − 1) and s is `annealing`. So "
            "α falls from 1 in the first epoch to 1 − s in the last (P0: 0.2). α = 1 if E = 1."
        ),
        keys=("B", "steps_per_epoch", "draws_per_step", "annealing"),
        paper="P0 A-PCGrad (3.2), P3 4.1.1",
        depends_on_epochs="annealed: alpha falls over all epochs",
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
        summary=(
            "Two phases. Phase 1 is `round_robin`. Phase 2 trains the largest task alone on B "
            "examples that phase 1 did not use. There the loss is multiplied by λ, and the set "
            "`freeze` is frozen."
        ),
        keys=("B", "lambda"),
        paper="P0 Algorithm 3",
        by_task=("B", "lambda"),
    ),
    SamplerEntry(
        name="cycle",
        path="trainer.samplers.whole_tasks:cycle",
        summary=(
            "Each step takes one batch of every task, until the task with most batches is used "
            "up. The other tasks start over, reshuffled."
        ),
        paper="P1 finetune-mix",
    ),
    SamplerEntry(
        name="sequential",
        path="trainer.samplers.whole_tasks:sequential",
        summary="Each task whole, one after the other, in `task_order` (P1: qqp, sst, sts).",
        keys=("task_order", "optimizer_state"),
        paper='P1 finetune-seq, P0 "full model finetuning"',
        one_task=True,
    ),
    SamplerEntry(
        name="interleaved",
        path="trainer.samplers.whole_tasks:interleaved",
        summary=(
            "Each step takes one batch of every task, and all tasks finish together. The smallest "
            "task keeps its batch size. The batches of the others grow in proportion to their data."
        ),
        paper="P4 rrobin-full",
    ),
    SamplerEntry(
        name="single_task",
        path="trainer.samplers.whole_tasks:single_task",
        summary="One task, each example once.",
        keys=("train_task",),
        paper="baselines of P0, P2, P4",
        needs_task=True,
        one_task=True,
    ),
    SamplerEntry(
        name="rr_pretrain",
        path="trainer.samplers.whole_tasks:rr_pretrain",
        summary=(
            "In the first `pretrain_epochs` epochs: the data-rich task whole, then round robin. "
            "In later epochs: round robin alone."
        ),
        keys=("train_task", "pretrain_epochs"),
        paper="P4 rrobin-pre",
    ),
    SamplerEntry(
        name="untrained",
        path="trainer.samplers.untrained:untrained",
        summary="No step at all: the model is evaluated as it was initialised.",
        paper='P0 "random" (Table 2)',
        trains=False,
    ),
)
SAMPLER_KEYS = SAMPLERS.keys_read


class NotLoadable(ValueError):
    """No installed package provides the sampler, or its code fails.  The message says which."""


def installed() -> tuple[str, ...]:
    """Names of the samplers that installed packages provide."""
    return tuple(sorted(_entry_points()))


@functools.cache
def entry_of(name: str) -> SamplerEntry:
    """The list's entry, or one for another package's sampler with the keys that it declares.

    Raises:
        NotLoadable: there is no such sampler, or it is broken.
    """
    if name in SAMPLERS:
        return SAMPLERS[name]
    keys = getattr(load(name), "keys", ())
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise NotLoadable(f"{name}: its attribute `keys` is not a list of names")
    value = _entry_points()[name].value
    return SamplerEntry(name=name, path=value, summary="from another package", keys=tuple(keys))


@functools.cache
def load(name: str) -> Sampler:
    """The sampler of that name.

    Raises:
        NotLoadable: there is no such sampler, or it is broken.
    """
    sampler: Sampler
    if name in SAMPLERS:
        sampler = SAMPLERS[name].load()
        return sampler
    entry = _entry_points().get(name)
    if entry is None:
        raise NotLoadable(f"{name}: no installed package provides it (entry point {GROUP})")
    try:
        sampler = entry.load()
    except Exception as error:  # another package's import can fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise NotLoadable(f"{name}: {entry.value} cannot be loaded: {reason}") from error
    if not callable(sampler):
        raise NotLoadable(f"{name}: {entry.value} is not a function")
    return sampler


def package(name: str) -> tuple[str, str] | None:
    """Name and version of the package that provides a sampler; None for ours."""
    entry = _entry_points().get(name)
    distribution = entry.dist if entry is not None else None
    return (distribution.name, distribution.version) if distribution is not None else None


@functools.cache
def _entry_points() -> dict[str, metadata.EntryPoint]:
    """By name.  A package cannot replace one of our samplers."""
    return {e.name: e for e in metadata.entry_points(group=GROUP) if e.name not in SAMPLERS}
