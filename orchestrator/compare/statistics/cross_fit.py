"""Choosing a configuration without the examples, and without the seed, that score it.

The best of many tries on the examples that chose it looks better than it is, and the more tries the
better it looks.  Here the dev set is halved again and again, the same way for all trials: what was
chosen on one half is scored on the other, both ways.  A trained model's luck with its seed is seen
in both halves alike, so that with several seeds the choice looks at the other seeds only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.statistics.dev_predictions import DevSet
from orchestrator.compare.statistics.scores import combine
from trainer.config.tasks import Task
from trainer.loop.task_metrics import metric_of

#: How often the dev set is halved.
REPEATS = 10


@dataclass(frozen=True)
class CrossFit:
    """A method's honest metrics.

    Attributes:
        scores: (seeds, tasks), the chosen configurations' metrics where they were not chosen.
        shares: (seeds, configurations), how often each was chosen; rows add up to 1.
    """

    scores: np.ndarray
    shares: np.ndarray


def halves(sizes: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    """For every task (2 REPEATS, n) weights: first halves, then the rest, in the same order."""
    found = []
    for size in sizes:
        order = np.argsort(rng.random((REPEATS, size)), axis=1)
        first = order < size // 2
        found.append(np.concatenate([first, ~first]).astype(np.float64))
    return found


def half_metrics(dev: DevSet, parts: Sequence[np.ndarray], trial_ids: Sequence[str]) -> np.ndarray:
    """Every trial's metrics on every half: (2 REPEATS, trials, tasks)."""
    return np.stack(
        [
            metric_of(task).weighted(parts[k], dev.stacked(trial_ids, k), dev.labels[k])
            for k, task in enumerate(dev.tasks)
        ],
        axis=-1,
    )


def cross_fit(
    whole: np.ndarray,
    parts: np.ndarray,
    metric: str,
    tasks: Sequence[Task],
    allowed: np.ndarray | None = None,
) -> CrossFit:
    """Choose by the mean of `metric` over seeds on each half, score on the other one.

    Args:
        whole: (configurations, seeds, tasks), metrics on the whole dev set.
        parts: (2 REPEATS, configurations, seeds, tasks), those of the halves.
        allowed: (configurations, seeds), which may be chosen to be scored by which seed (all).
    """
    seeds = whole.shape[1]
    aim = combine(metric, tasks, parts)
    # The other seeds' mean; a single seed can only choose for itself.
    seen = (aim.sum(2, keepdims=True) - aim) / (seeds - 1) if seeds > 1 else aim
    if allowed is not None:
        seen = np.where(allowed, seen, -np.inf)
    chosen = seen.argmax(1)  # (2 REPEATS, seeds)
    half, seed = np.indices(chosen.shape)
    here = parts[half, chosen, seed]
    there = parts[(half + REPEATS) % (2 * REPEATS), chosen, seed]
    # Half of the advantage on the half that chose: for an accuracy this is the score on the other
    # half, and where there is no choice it is nothing at all.
    scores = (whole[chosen, seed] - (here - there) / 2).mean(0)
    shares = np.stack([np.bincount(column, minlength=len(whole)) for column in chosen.T])
    return CrossFit(scores, shares / len(chosen))
