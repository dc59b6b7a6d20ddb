"""Honest metrics of each method by seed, from dev predictions, and their bootstrap.

Only the predictions of configurations that could be chosen on one half of the dev set are read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.compare.methods import Configuration, Method, counted_metric
from orchestrator.compare.statistics.bootstrap import (
    Draws,
    Seeds,
    resampled_metrics,
    unseen_variance,
)
from orchestrator.compare.statistics.cross_fit import (
    CrossFit,
    cross_fit,
    half_metrics,
    halves,
    without_each,
)
from orchestrator.compare.statistics.dev_predictions import DevSet, PredictionsError
from orchestrator.compare.statistics.paired_difference import (
    BySeed,
    MeanDifference,
    Pool,
    mean_difference,
    pooled,
)
from orchestrator.compare.statistics.scores import combine, limits, weights
from trainer.loop.task_metrics import metric_of

if TYPE_CHECKING:
    from orchestrator.compare.options import ComparisonOptions
    from orchestrator.ledger import Ledger, TrialRecord

#: At most this many configurations of a method can be chosen for one seed.
MOST_READ = 20
#: A configuration this many standard deviations below the best cannot be chosen on a half.
_FAR = 3.0


@dataclass
class Fit:
    """A method's chosen configurations and honest metrics.

    Attributes:
        seeds: the seeds that score it.
        read: configurations whose predictions were read, in the order of `cross.shares`.
        left_out: how many more could have been chosen.
        resampled: (replicates, seeds, tasks), the honest metrics on resampled examples.
    """

    method: Method
    seeds: list[int]
    read: list[Configuration]
    cross: CrossFit
    left_out: int
    resampled: np.ndarray

    @property
    def chosen(self) -> Configuration:
        """The configuration that was chosen most often."""
        return self.read[int(self.cross.shares.sum(0).argmax())]

    def used(self) -> list[tuple[int, int]]:
        """The indices of seed and configuration of every trial that scores the method."""
        return [(int(s), int(c)) for s, c in np.argwhere(self.cross.shares > 0)]

    def trials(self, seeds: Sequence[int]) -> list[TrialRecord]:
        """The trials that score the method with these seeds."""
        own = self.seeds
        return [self.read[c].trials[own[s]] for s, c in self.used() if own[s] in seeds]

    def minutes(self, seeds: Sequence[int]) -> np.ndarray:
        """Minutes per epoch (seeds,) of the chosen configurations."""
        own = self.seeds
        minutes = dict.fromkeys(own, 0.0)
        for s, c in self.used():
            minutes[own[s]] += self.cross.shares[s, c] * self.read[c].minutes(own[s])
        return np.array([minutes[seed] for seed in seeds])


class HonestScores:
    """Reads predictions, chooses configurations and resamples dev examples.

    Attributes:
        fits: by the name of the method.
        problems: why a method has no fit, by its name.

    Args:
        also: more configurations to read besides those that could be chosen. With any, all that
            are read are also resampled, for `of_configuration`.
        tell: is called with what is being done.
    """

    def __init__(
        self,
        ledger: Ledger,
        methods: Sequence[Method],
        options: ComparisonOptions,
        *,
        also: Sequence[Configuration] = (),
        tell: Callable[[str], None] = lambda text: None,
    ):
        self.dev = DevSet()
        self.metric = options.metric
        self.replicates = replicates = options.replicates
        self.fits: dict[str, Fit] = {}
        self.problems: dict[str, str] = {}
        self._metrics: dict[str, np.ndarray] = {}
        self._resampled: dict[str, np.ndarray] = {}
        # Separate streams: one method more or less does not change the draws of the seeds.
        streams = np.random.default_rng(options.seed).spawn(4)
        self.rng = streams[3]
        self.seeds = Seeds({s for m in methods for s in m.seeds}, replicates, streams[0])
        wanted = {each.config_id for each in also}
        read = self._read(ledger, methods, wanted, tell)
        if not read:
            return
        tell("choosing configurations")
        parts = halves(self.dev.sizes, streams[1])
        for method, candidates in read.items():
            self._choose(method, candidates, parts)
        count = sum(self.dev.sizes)
        scoring = {t.trial_id for f in self.fits.values() for t in f.trials(f.seeds)}
        ids = sorted(self._metrics if wanted else scoring)
        tell(f"resampling {count:,} dev examples of {len(ids)} trials, {replicates:,} times")
        resampled = resampled_metrics(self.dev, ids, replicates, streams[2])
        self._resampled = {name: resampled[:, place] for place, name in enumerate(ids)}
        for fit in self.fits.values():
            fit.resampled = self._mixed(fit)

    def score(self, values: np.ndarray, metric: str = "") -> np.ndarray:
        """(..., tasks) -> (...,) of the compared metric, or of another one."""
        return combine(metric or self.metric, self.dev.tasks, values)

    def draws(self, method: str, metric: str) -> tuple[float, Draws]:
        """A method's honest score and its bootstrap distribution."""
        fit = self.fits[method]
        least = self._unseen(fit.resampled, metric)
        scores, resampled = (self.score(each, metric) for each in (fit.cross.scores, fit.resampled))
        draws = self.seeds.draws(fit.seeds, scores, resampled, least)
        return draws.value, draws

    def contrast(self, one: str, other: str, metric: str) -> MeanDifference:
        """A method's honest score minus another's, paired by seed and by resampled example."""
        fits = self.fits[one], self.fits[other]
        mine, theirs = (
            BySeed(f.seeds, self.score(f.cross.scores, metric), self.score(f.resampled, metric))
            for f in fits
        )
        # Examples whose outcomes differ are counted within pairs, if there are any.
        paired = [seed for seed in mine.seeds if seed in theirs.seeds]
        count = min(len(mine.seeds), len(theirs.seeds))
        places = [[f.seeds.index(s) for s in paired] or list(range(count)) for f in fits]
        apart = fits[0].resampled[:, places[0]] - fits[1].resampled[:, places[1]]
        pool = self._pool(*fits, metric)
        return mean_difference(mine, theirs, pool, self._unseen(apart, metric))

    def of_configuration(self, each: Configuration) -> tuple[float, Draws]:
        """A configuration's score on the whole dev set and its bootstrap distribution."""
        ids = [each.trials[seed].trial_id for seed in each.seeds]
        scores = self.score(np.stack([self._metrics[name] for name in ids]))
        resampled = np.stack([self._resampled[name] for name in ids], axis=1)
        least = self._unseen(resampled, self.metric)
        draws = self.seeds.draws(each.seeds, scores, self.score(resampled), least)
        return draws.value, draws

    def clipped(
        self, low: float, high: float, metric: str = "", *, difference: bool = False
    ) -> tuple[float, float]:
        """An interval within the range of the metric, or of a difference of two such metrics."""
        lowest, highest = limits(metric or self.metric, self.dev.tasks)
        if difference:
            lowest, highest = lowest - highest, highest - lowest
        return max(lowest, low), min(highest, high)

    def guess(self, metric: str = "") -> float:
        """The score of a model that knows only how frequent each label is."""
        guesses = [
            metric_of(task).guess(labels)
            for task, labels in zip(self.dev.tasks, self.dev.labels, strict=True)
        ]
        return float(self.score(np.array(guesses), metric))

    def _pool(self, one: Fit, other: Fit, metric: str) -> Pool:
        """The variance between seeds of the configurations that can be chosen."""
        seeds = sorted(set(one.method.common) & set(other.method.common))
        scores = [
            [[counted_metric(each.trials[s], metric) for s in seeds] for each in fit.read]
            for fit in (one, other)
        ]
        return pooled(*map(np.array, scores)) if seeds else Pool()

    def _unseen(self, resampled: np.ndarray, metric: str) -> float:
        """The variance of the metric that resampled metrics (replicates, seeds, tasks) miss."""
        share = weights(metric, self.dev.tasks)
        return float(np.square(share) @ unseen_variance(resampled, self.dev.tasks, self.dev.sizes))

    def _read(
        self,
        ledger: Ledger,
        methods: Sequence[Method],
        also: set[str],
        tell: Callable[[str], None],
    ) -> dict[Method, Contenders]:
        """Read the predictions of each method; those that cannot be read become problems."""
        read = {}
        for method in methods:
            try:
                if not self.dev.outcomes:
                    self.dev.read(ledger, [next(iter(method.candidates[0].trials.values()))])
                near = contenders(method, self.metric, self._far(method), also)
                trials = [t for c in near.configurations for t in c.trials.values()]
                tell(f"reading predictions of {len(trials)} trials of {method.name}")
                self.dev.read(ledger, trials)
                read[method] = near
            except PredictionsError as error:
                self.problems[method.name] = str(error)
        return read

    def _far(self, method: Method) -> float:
        """The distance below the best at which a configuration cannot be chosen on a half.

        A score on half of the examples differs from that on all of them with the standard
        deviation of a sample.
        """
        trial = method.trials[0]
        variances = []
        for task, labels in zip(self.dev.tasks, self.dev.labels, strict=True):
            value = counted_metric(trial, task.name)
            variances.append(metric_of(task).asymptotic_variance(value, labels) / len(labels))
        share = weights(self.metric, self.dev.tasks)
        return _FAR * math.sqrt(2 * float(np.square(share) @ variances))

    def _choose(self, method: Method, near: Contenders, parts: Sequence[np.ndarray]) -> None:
        read, seeds = near.configurations, method.seeds
        has = np.array([[seed in each.trials for seed in seeds] for each in read])
        ids = [each.trials[seed].trial_id for each in read for seed in seeds if seed in each.trials]
        metrics = self.dev.metrics(ids)
        self._metrics.update(zip(ids, metrics, strict=True))
        on_halves = half_metrics(self.dev, parts, ids)
        shape = *has.shape, len(self.dev.tasks)
        whole = np.full(shape, np.nan)
        halved = np.full((len(on_halves), *shape), np.nan)
        whole[has], halved[:, has] = metrics, on_halves
        common = np.isin(seeds, method.common)
        cross = cross_fit(whole, halved, self.metric, self.dev.tasks, near.allowed, common)
        counting = [seeds[place] for place in cross.seeds]
        self.fits[method.name] = Fit(method, counting, read, cross, near.left_out, np.empty(0))

    def _mixed(self, fit: Fit) -> np.ndarray:
        """The honest metrics (replicates, seeds, tasks) on resampled examples.

        They move by as much as resampling moves the metrics of the chosen configurations.
        """
        mixed = np.tile(fit.cross.scores, (self.replicates, 1, 1))
        for s, c in fit.used():
            name = fit.read[c].trials[fit.seeds[s]].trial_id
            mixed[:, s] += fit.cross.shares[s, c] * (self._resampled[name] - self._metrics[name])
        return mixed


@dataclass(frozen=True)
class Contenders:
    """Configurations to read.

    Attributes:
        allowed: (configurations, seeds), whether a configuration may be chosen for a seed.
        left_out: how many more could be chosen.
    """

    configurations: list[Configuration]
    allowed: np.ndarray
    left_out: int


def contenders(method: Method, metric: str, far: float, also: set[str]) -> Contenders:
    """The configurations that can be chosen for a seed: less than `far` below the best one.

    They are ranked by the mean of the other seeds, as in the choice itself. Those named in `also`
    are read but not chosen.
    """
    tried = method.candidates
    scores = np.array(
        [
            [counted_metric(c.trials[s], metric) if s in c.trials else np.nan for s in method.seeds]
            for c in tried
        ]
    )
    seen = without_each(scores, np.isin(method.seeds, method.common))
    near = seen >= seen.max(0) - far
    ranks = np.argsort(np.argsort(-seen, axis=0, kind="stable"), axis=0)
    allowed = near & (ranks < MOST_READ)
    wanted = allowed.any(1) | np.array([each.config_id in also for each in tried])
    places = np.flatnonzero(wanted)
    left_out = int((near.any(1) & ~allowed.any(1)).sum())
    return Contenders([tried[place] for place in places], allowed[places], left_out)
