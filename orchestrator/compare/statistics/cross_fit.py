"""Chooses a configuration without the examples, and without the seed, that score it.

The best of many tries looks better than it is on the examples on which it was chosen, and the more
tries, the better it looks. So we halve the dev set repeatedly, the same way for all trials. What is
chosen on one half is scored on the other half, in both directions. A model that is lucky with its
seed is lucky on both halves, so the choice for one seed uses the other seeds only.

Configurations may have unequal seeds. All compete, on the seeds that they have in common, and the
chosen ones are scored with all of their seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.statistics.dev_predictions import DevSet
from orchestrator.compare.statistics.scores import combine
from trainer.config.tasks import Task
from trainer.loop.task_metrics import metric_of

#: How often the dev set is halved. The chance of the halving is then a small part of the interval.
REPEATS = 300
#: Weights in memory at once.
_WEIGHTS = 8_000_000
#: A seed that not all configurations have counts if the choice falls on one that has it this often.
_OFTEN = 0.5


@dataclass(frozen=True)
class CrossFit:
    """A method's honest metrics.

    Attributes:
        seeds: the places of the seeds that count.
        scores: (seeds, tasks), the chosen configurations' metrics on the half that did not choose.
        shares: (seeds, configurations), how often each was chosen; rows sum to 1.
    """

    seeds: list[int]
    scores: np.ndarray
    shares: np.ndarray


def halves(sizes: Sequence[int], rng: np.random.Generator) -> list[np.ndarray]:
    """For every task, which examples (REPEATS, n) are in the first half."""
    return [
        rng.permuted(np.tile(np.arange(size) < size // 2, (REPEATS, 1)), axis=1) for size in sizes
    ]


def half_metrics(dev: DevSet, parts: Sequence[np.ndarray], trial_ids: Sequence[str]) -> np.ndarray:
    """Every trial's metrics on every half, (2 REPEATS, trials, tasks).

    The first halves come first, then their complements in the same order.
    """
    metrics = np.empty((2 * REPEATS, len(trial_ids), len(dev.tasks)))
    for k, task in enumerate(dev.tasks):
        metric, outcomes = metric_of(task), dev.stacked(trial_ids, k)
        rows = max(1, _WEIGHTS // parts[k].shape[1])
        for start in range(0, REPEATS, rows):
            first = parts[k][start : start + rows]
            for weights, shift in ((first, start), (~first, start + REPEATS)):
                metrics[shift : shift + len(first), :, k] = metric.weighted(
                    weights.astype(metric.weight_type), outcomes, dev.labels[k]
                )
    return metrics


def cross_fit(
    whole: np.ndarray,
    parts: np.ndarray,
    metric: str,
    tasks: Sequence[Task],
    allowed: np.ndarray | None = None,
    common: np.ndarray | None = None,
) -> CrossFit:
    """Choose by the mean of `metric` over seeds on each half, and score on the other half.

    The choice is by the seeds that all configurations have, and never by the one that is scored.
    A seed that only some configurations have is scored where the choice falls on one of them.

    Args:
        whole: (configurations, seeds, tasks), metrics on the whole dev set; NaN for a seed that a
            configuration does not have.
        parts: (2 REPEATS, configurations, seeds, tasks), metrics on the halves.
        allowed: (configurations, seeds), whether a seed may score a configuration; by default all.
        common: (seeds,), whether all configurations have it; by default all do.
    """
    if common is None:
        common = np.ones(whole.shape[1], dtype=bool)
    aim = combine(metric, tasks, parts)  # (2 REPEATS, configurations, seeds)
    seen = without_each(aim, common)
    if allowed is not None:
        seen = np.where(allowed, seen, -np.inf)
    chosen = seen.argmax(1)  # (2 REPEATS, seeds)
    half, seed = np.indices(chosen.shape)
    here = parts[half, chosen, seed]
    there = parts[(half + REPEATS) % (2 * REPEATS), chosen, seed]
    # We subtract half of the advantage on the half that chose. For an accuracy this gives the score
    # on the other half; without a choice the mean of what is subtracted is 0.
    honest = whole[chosen, seed] - (here - there) / 2  # (2 REPEATS, seeds, tasks)
    has = ~np.isnan(honest).any(2)
    counts = [int(s) for s in np.flatnonzero(common | (has.mean(0) >= _OFTEN))]
    scores = np.stack([honest[has[:, s], s].mean(0) for s in counts])
    shares = np.stack(
        [np.bincount(chosen[has[:, s], s], minlength=len(whole)) / has[:, s].sum() for s in counts]
    )
    return CrossFit(counts, scores, shares)


def without_each(scores: np.ndarray, common: np.ndarray) -> np.ndarray:
    """The mean over the common seeds without each seed itself, (..., seeds).

    A single common seed has to choose for itself.

    Args:
        scores: (..., seeds).
        common: (seeds,), which seeds all configurations have.
    """
    total = scores[..., common].sum(-1, keepdims=True)
    count = int(common.sum())
    seen = np.broadcast_to(total / count, scores.shape)
    if count == 1:
        return seen
    return np.where(common, (total - scores) / (count - 1), seen)
