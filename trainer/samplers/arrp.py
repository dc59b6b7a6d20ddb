"""ARRP, alternating round-robin PCGrad (P0 section 4.2, Algorithm 3).

Phase 1 is round robin.  Phase 2 trains the task with the most data alone.
"""

from __future__ import annotations

import numpy as np

from trainer.samplers.base import EXTRA, Epoch, Phase, SamplerError
from trainer.samplers.round_robin import round_robin_steps
from trainer.samplers.rows import task_batches


def arrp(epoch: Epoch) -> list[Phase]:
    """P0's Algorithm 3.

    Phase 2 draws B examples of the task, without replacement, from those that phase 1 did not use,
    or takes all of them if there are fewer.  Its loss is multiplied by lambda, and the set Theta'
    is frozen.  If B is a mapping (several large tasks, P0's future work), phase 2 visits each of
    its tasks, in the order of the trial's tasks, with its own B and lambda.

    Raises:
        SamplerError: phase 1 leaves no examples of a task.
    """
    first = Phase("round_robin", round_robin_steps(epoch))
    budgets = epoch.B if isinstance(epoch.B, dict) else {epoch.largest: epoch.B}
    phases = [first]
    for task in epoch.sizes:
        if task not in budgets:
            continue
        used = np.concatenate([d.rows for step in first.steps for d in step if d.task == task])
        left = np.setdiff1d(np.arange(epoch.sizes[task]), used, assume_unique=True)
        if not len(left):
            raise SamplerError(
                f"sampler arrp: round robin uses all {epoch.sizes[task]} examples of {task}, so "
                "the second phase has none; give it a task with more data than the smallest"
            )
        purpose = (EXTRA, epoch.number, epoch.task_number(task))
        chosen = epoch.generator(*purpose).permutation(left)[: budgets[task]]
        penalty = epoch.loss_penalty
        scale = penalty[task] if isinstance(penalty, dict) else penalty
        name = "alternating" if len(budgets) == 1 else f"alternating.{task}"
        phases.append(Phase(name, task_batches(epoch, task, chosen), epoch.frozen, scale))
    return phases
