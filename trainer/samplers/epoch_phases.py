"""The phases of an epoch, from our samplers or from those of other packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    problem = _problem(phases, epoch)
    if not problem and _content(phases) != _content(repeated):  # a resume would not be exact
        problem = (
            "its phases differ from call to call; take all randomness from epoch.generator(...)"
        )
    if problem:
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


def _content(phases: Sequence[Phase]) -> list[object]:
    """Everything that the phases say, in a form that can be compared."""
    return [
        (
            replace(phase, steps=()),
            [
                [(draw.task, np.asarray(draw.rows).tolist()) for draw in step]
                for step in phase.steps
            ],
        )
        for phase in phases
    ]
