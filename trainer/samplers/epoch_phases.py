"""The phases of an epoch, from our samplers or from those of other packages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.samplers import registry
from trainer.samplers.base import Epoch, Phase, SamplerError


def phases_of(name: str, epoch: Epoch) -> list[Phase]:
    """The phases of an epoch from the sampler of that name.

    Another package's sampler is called twice and its phases are checked, before a step is taken.

    Raises:
        SamplerError: the sampler cannot work with the data, fails, or its phases are not valid.
    """
    sampler = registry.load(name)
    if name in registry.SAMPLERS:
        return sampler(epoch)
    try:
        phases, repeated = (list(sampler(epoch)) for _ in range(2))
    except SamplerError:
        raise
    except Exception as error:
        raise SamplerError(
            f"sampler {name}, epoch {epoch.number}: {type(error).__name__}: {error}"
        ) from error
    if problem := _problem(phases, epoch) or _difference(phases, repeated):
        raise SamplerError(f"sampler {name}, epoch {epoch.number}: {problem}")
    return phases


def _problem(phases: Sequence[Phase], epoch: Epoch) -> str:
    """What is not valid in the phases; empty if nothing."""
    if not phases:
        return "it returned no phase"
    if not all(isinstance(phase, Phase) for phase in phases):
        return "a phase is not a trainer.samplers.Phase"
    if len({phase.name for phase in phases}) < len(phases):
        return "two phases have the same name"
    for phase in phases:
        if not phase.steps:
            return f"phase {phase.name} has no step"
        for number, step in enumerate(phase.steps, 1):
            where, tasks = f"phase {phase.name}, step {number}", [draw.task for draw in step]
            if not tasks or len(set(tasks)) < len(tasks):
                return f"{where}: needs one draw for each of its tasks, found {tasks}"
            for draw in step:
                size = epoch.sizes.get(draw.task)
                if size is None:
                    return f"{where}: unknown task {draw.task!r}; allowed: {', '.join(epoch.sizes)}"
                rows = np.asarray(draw.rows)
                inside = rows.dtype == np.int64 and len(rows) and 0 <= rows.min() <= rows.max()
                if not inside or rows.max() >= size:
                    return f"{where}: rows of {draw.task} must be int64 from 0 to {size - 1}"
    return ""


def _difference(one: Sequence[Phase], other: Sequence[Phase]) -> str:
    """A message if two plans of an epoch differ, because a resume would not be exact."""
    differs = "its phases differ from call to call; take all randomness from epoch.generator(...)"
    if [_frame(phase) for phase in one] != [_frame(phase) for phase in other]:
        return differs
    for ours, theirs in zip(one, other, strict=True):
        for step, repeated in zip(ours.steps, theirs.steps, strict=True):
            if [d.task for d in step] != [d.task for d in repeated]:
                return differs
            if not all(np.array_equal(a.rows, b.rows) for a, b in zip(step, repeated, strict=True)):
                return differs
    return ""


def _frame(phase: Phase) -> tuple[object, ...]:
    return phase.name, len(phase.steps), phase.frozen, phase.loss_scale, phase.optimizer
