"""Chooses a configuration without the examples, and without the seed, that score it.

The best of many tries looks better than it is on the examples on which it was chosen, and the more
tries, the better it looks. So we halve the dev set repeatedly, the same way for all trials. What is
chosen on one half is scored on the other half, in both directions. A model that is lucky with its
seed is lucky on both halves, so the choice for one seed uses the other seeds only.
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
        scores: (seeds, tasks), the chosen configurations' metrics on the half that did not choose.
        shares: (seeds, configurations), how often each was chosen; rows sum to 1.
    """

    scores: np.ndarray
    shares: np.ndarray


def halves(sizes: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    """Weights (2 REPEATS, n) for every task: halves, then their complements in the same order."""
    weights = []
    for size in sizes:
        order = np.argsort(rng.random((REPEATS, size)), axis=1)
        first = order < size // 2
        weights.append(np.concatenate([first, ~first]).astype(np.float64))
    return weights


def half_metrics(dev: DevSet, parts: Sequence[np.ndarray], trial_ids: Sequence[str]) -> np.ndarray:
    """Every trial's metrics on every half, (2 REPEATS, trials, tasks)."""
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
    """Choose by the mean of `metric` over seeds on each half, and score on the other half.

    Args:
        whole: (configurations, seeds, tasks), metrics on the whole dev set.
        parts: (2 REPEATS, configurations, seeds, tasks), metrics on the halves.
        allowed: (configurations, seeds), whether a seed may score a configuration; by default all.
    """
    seeds = whole.shape[1]
    aim = combine(metric, tasks, parts)  # (2 REPEATS, configurations, seeds)
    # The mean of the other seeds; a single seed has to choose for itself.
    seen = (aim.sum(2, keepdims=True) - aim) / (seeds - 1) if seeds > 1 else aim
    if allowed is not None:
        seen = np.where(allowed, seen, -np.inf)
    chosen = seen.argmax(1)  # (2 REPEATS, seeds)
    half, seed = np.indices(chosen.shape)
    here = parts[half, chosen, seed]
    there = parts[(half + REPEATS) % (2 * REPEATS), chosen, seed]
    # We subtract half of the advantage on the half that chose. For an accuracy this gives the score
    # on the other half; without a choice the mean of what is subtracted is 0.
    scores = (whole[chosen, seed] - (here - there) / 2).mean(0)
    shares = np.stack([np.bincount(column, minlength=len(whole)) for column in chosen.T])
    return CrossFit(scores, shares / len(chosen))
