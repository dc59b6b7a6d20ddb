"""The bootstrap over dev examples and seeds together, paired over all trials.

Examples are resampled within each task (multinomial weights, the same for all trials). Seeds are
too few to resample: an interval from three seeds would cover the truth four times in five. Their
part is drawn from Student's t instead, with the same draw for all trials of a seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.statistics.dev_predictions import DevSet
from orchestrator.compare.statistics.mixture import Mixture
from trainer.config.tasks import Task
from trainer.loop.optimism import multiplicities
from trainer.loop.task_metrics import Accuracy, metric_of

#: Weights in memory at once.
_WEIGHTS = 8_000_000
#: Probability with which seeds agree so closely by chance that we assume a larger variance.
_LUCK = 0.05
#: With more degrees of freedom, a variance is known exactly.
_MANY = 1e5
#: A variance up to this comes from rounding.
_ROUNDING = 1e-15
#: If an event is seen in none of n examples, its probability is below 3.7 / n with 97.5 %
#: confidence. A normal distribution with this variance over n^2 has the same interval.
_RULE_OF_THREE = (math.log(0.025) / 1.96) ** 2


def resampled_metrics(
    dev: DevSet, trial_ids: Sequence[str], replicates: int, rng: np.random.Generator
) -> np.ndarray:
    """Metrics (replicates, trials, tasks) of all trials on the same resampled examples."""
    metrics = np.empty((replicates, len(trial_ids), len(dev.tasks)))
    for number, (task, labels) in enumerate(zip(dev.tasks, dev.labels, strict=True)):
        outcomes = dev.stacked(trial_ids, number)  # (trials, n)
        metric = metric_of(task)
        rows = max(1, _WEIGHTS // len(labels))
        for start in range(0, replicates, rows):
            part = metrics[start : start + rows, :, number]
            weights = multinomial(len(part), len(labels), rng).astype(metric.weight_type)
            part[:] = metric.weighted(weights, outcomes, labels)
    return metrics


def multinomial(rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `size` examples is drawn in `size` draws, (rows, size)."""
    return multiplicities(rng.integers(0, size, (rows, size)), size)


def unseen_variance(
    resampled: np.ndarray, tasks: Sequence[Task], sizes: Sequence[int]
) -> np.ndarray:
    """The variance (tasks,) to add where so few examples matter that resampling shows too little.

    If all examples have the same outcome (all right, or the same for two methods), resampling
    them shows no variance at all. An interval then has the width of the rule of three, as if about
    one example in n had another outcome. With four such examples or more, nothing is added. A
    metric that does not count examples is raised only if it shows no variance.

    Args:
        resampled: (replicates, seeds, tasks).
        sizes: number of examples of each task.
    """
    seen = resampled.var(0, ddof=1).mean(0)  # of one seed
    counting = np.array([isinstance(metric_of(task), Accuracy) for task in tasks])
    least = _RULE_OF_THREE / np.square(sizes, dtype=float)
    return np.where(counting | (seen < _ROUNDING), np.maximum(0.0, least - seen), 0.0)


@dataclass(frozen=True)
class Estimate:
    """A score or speed-up with its 95 % interval, which a speed-up from one seed does not have."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Draws:
    """The distribution of a mean over seeds, and the parts of its variance.

    Attributes:
        value: the mean itself.
        values: draws (replicates,) of it.
        seeds: variance of the mean between seeds, which includes the chance of the examples; None
            for one seed.
        shared: variance over dev examples that all seeds share; more seeds do not reduce it.
        count: number of seeds.
    """

    value: float
    values: np.ndarray
    seeds: float | None
    shared: float
    count: int

    @property
    def distribution(self) -> Mixture:
        """The distribution that `values` are drawn from, as a formula."""
        return Mixture(self.value, self.shared, self.seeds or 0.0, self.count - 1)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The interval with equal tails; of one seed, that of the resampled examples."""
        if self.seeds is None and self.values.var() >= self.shared * (1 - 1e-9):
            low, high = np.quantile(self.values, [(1 - confidence) / 2, (1 + confidence) / 2])
            return float(low), float(high)
        return self.distribution.interval(confidence)


def own_variance(resampled: np.ndarray) -> float:
    """The part of the variance between seeds that is the chance of each seed's own examples.

    Args:
        resampled: (replicates, seeds), at least two seeds.
    """
    apart = resampled - resampled.mean(1, keepdims=True)
    return float(apart.var(0, ddof=1).sum()) / (resampled.shape[1] - 1)


def at_least_own(variance: float, own: float, df: float) -> float:
    """A variance between seeds, but not less than luck allows.

    In one case of twenty, seeds agree more closely than the chance of their examples allows.
    """
    from scipy import special  # it takes half a second to load

    least = float(special.chdtri(df, 1 - _LUCK)) / df if df < _MANY else 1.0
    return max(variance, own * least)


class Seeds:
    """The seeds' part of the bootstrap: one draw per seed for everything that uses it."""

    def __init__(self, seeds: Iterable[int], replicates: int, rng: np.random.Generator):
        self.replicates = replicates
        self._place = {seed: number for number, seed in enumerate(sorted(set(seeds)))}
        # The levels are evenly spaced and the draws come in pairs of both signs. With few seeds
        # the tails are long, and a few independent draws from them would be lopsided by chance.
        half = (replicates + 1) // 2
        normal = rng.standard_normal((half, len(self._place)))
        level = (rng.permutation(half) + 0.5) / half
        self._normal = np.concatenate([normal, -normal])[:replicates]
        self._level = np.concatenate([level, level])[:replicates]

    def draws(
        self, seeds: Sequence[int], estimates: np.ndarray, resampled: np.ndarray, least: float = 0.0
    ) -> Draws:
        """The distribution of a mean over seeds.

        Args:
            estimates: (seeds,), the quantity of every seed on the whole dev set.
            resampled: (replicates, seeds), the same on resampled examples.
            least: variance that resampling the examples cannot show (`unseen_variance`).

        The variance between seeds contains the effect of the seeds and the chance of the examples
        that each seed has alone. The resampled examples contain that second part too, so we
        subtract it there. The rest, which all seeds share, and Student's t over the seeds add up.
        (The difference of two such quantities is the Behrens-Fisher problem.)
        """
        from scipy import special  # it takes half a second to load

        count = len(seeds)
        value = float(estimates.mean())
        centre = resampled.mean(1)
        chance = float(centre.var(ddof=1))
        if count == 1:
            return Draws(value, centre, None, chance + least, 1)
        own = own_variance(resampled)
        variance = at_least_own(float(estimates.var(ddof=1)), own, count - 1)
        between = variance / count
        shared = max(0.0, chance - own / count)
        kept = np.sqrt(shared / chance) if chance else 0.0
        values = centre.mean() + kept * (centre - centre.mean())
        deviations = estimates - estimates.mean()
        length = float(np.linalg.norm(deviations))
        columns = self._normal[:, [self._place[seed] for seed in seeds]]
        # Equal estimates have no direction; any direction will do.
        direction = deviations / length if length > 0 else np.eye(count)[0]
        normal = columns @ direction
        student = normal * np.sqrt((count - 1) / special.chdtri(count - 1, 1 - self._level))
        values = values + np.sqrt(between) * student
        return Draws(value, values, between, shared + least, count)
