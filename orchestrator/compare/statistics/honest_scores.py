"""What the dev predictions say of each method: honest metrics by seed, and their bootstrap.

Predictions are read only of configurations that could be chosen on one half of the dev set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.compare.methods import Configuration, Method, last_metric
from orchestrator.compare.statistics.bootstrap import Draws, Seeds, resampled_metrics
from orchestrator.compare.statistics.cross_fit import CrossFit, cross_fit, half_metrics, halves
from orchestrator.compare.statistics.dev_predictions import DevSet, PredictionsError
from orchestrator.compare.statistics.scores import combine
from trainer.loop.task_metrics import metric_of

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord

#: At most so many configurations of a method may be chosen to be scored by one seed.
MOST_READ = 20
#: A configuration this many standard deviations behind is not chosen on a half of the dev set.
_FAR = 3.0


@dataclass
class Fit:
    """A method's evidence.

    Attributes:
        read: configurations whose predictions were read; `shares` and `whole` are in their order.
        whole: (configurations, seeds, tasks), metrics on the whole dev set.
        left_out: how many more might have been chosen than were read.
        resampled: (replicates, seeds, tasks), the honest metrics on resampled examples.
    """

    method: Method
    read: list[Configuration]
    whole: np.ndarray
    cross: CrossFit
    left_out: int
    resampled: np.ndarray

    @property
    def chosen(self) -> Configuration:
        """The configuration that was chosen most often."""
        return self.read[int(self.cross.shares.sum(0).argmax())]

    def used(self) -> list[tuple[int, int]]:
        """(seed's place, configuration's place) of every trial that scores the method."""
        return [(int(s), int(c)) for s, c in np.argwhere(self.cross.shares > 0)]

    def trials(self, seeds: Sequence[int]) -> list[TrialRecord]:
        """The trials that score the method with these seeds."""
        own = self.method.seeds
        return [self.read[c].trials[own[s]] for s, c in self.used() if own[s] in seeds]

    def minutes(self, seeds: Sequence[int]) -> np.ndarray:
        """Minutes an epoch (seeds,) of what was chosen."""
        own = self.method.seeds
        found = dict.fromkeys(seeds, 0.0)
        for s, c in self.used():
            if own[s] in found:
                found[own[s]] += self.cross.shares[s, c] * self.read[c].minutes(own[s])
        return np.array([found[seed] for seed in seeds])

    def by_seed(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """`scores` (seeds, tasks) and `resampled` (replicates, seeds, tasks) of these seeds."""
        places = [self.method.seeds.index(seed) for seed in seeds]
        return self.cross.scores[places], self.resampled[:, places]


class Evidence:
    """Reads, chooses and resamples; `problems` says of which method nothing can be told, and why.

    Args:
        also: configurations that are wanted beside those that could be chosen; with any, all that
            were read are resampled (`of_configuration`), not only what scores a method.
    """

    def __init__(
        self,
        ledger: Ledger,
        methods: Sequence[Method],
        metric: str,
        *,
        seed: int,
        replicates: int,
        also: Sequence[Configuration] = (),
        tell: Callable[[str], None] = lambda text: None,
    ):
        self.dev = DevSet()
        self.metric = metric
        self.replicates = replicates
        self.fits: dict[str, Fit] = {}
        self.problems: dict[str, str] = {}
        self._metrics: dict[str, np.ndarray] = {}
        self._resampled: dict[str, np.ndarray] = {}
        # Streams of their own: a method more or less does not change the others' seeds.
        dice = np.random.default_rng(seed).spawn(4)
        self.rng = dice[3]
        self.seeds = Seeds({s for m in methods for s in m.seeds}, replicates, dice[0])
        wanted = {each.config_id for each in also}
        read = self._read(ledger, methods, wanted, tell)
        if not read:
            return
        tell("choosing configurations")
        parts = halves(self.dev.sizes, dice[1])
        for method, rivals in read.items():
            self._choose(method, rivals, parts)
        count = sum(self.dev.sizes)
        ids = sorted(self._metrics if wanted else self._needed())
        tell(f"resampling {count:,} dev examples of {len(ids)} trials, {replicates:,} times")
        resampled = resampled_metrics(self.dev, ids, replicates, dice[2])
        self._resampled = {name: resampled[:, place] for place, name in enumerate(ids)}
        for fit in self.fits.values():
            fit.resampled = self._mixed(fit)

    def score(self, values: np.ndarray, metric: str = "") -> np.ndarray:
        """(..., tasks) -> (...,) of the metric in question, or of another one."""
        return combine(metric or self.metric, self.dev.tasks, values)

    def draws(self, method: str, metric: str) -> tuple[float, Draws]:
        """A method's honest score and its distribution."""
        fit = self.fits[method]
        scores = self.score(fit.cross.scores, metric)
        resampled = self.score(fit.resampled, metric)
        return float(scores.mean()), self.seeds.draws(fit.method.seeds, scores, resampled)

    def contrast(
        self, one: str, other: str, seeds: Sequence[int], metric: str
    ) -> tuple[float, Draws]:
        """A method's honest score less another's, paired by seed and by resampled example."""
        (a, a_star), (b, b_star) = (self.fits[name].by_seed(seeds) for name in (one, other))
        scores = self.score(a, metric) - self.score(b, metric)
        resampled = self.score(a_star, metric) - self.score(b_star, metric)
        return float(scores.mean()), self.seeds.draws(seeds, scores, resampled)

    def of_configuration(self, each: Configuration, seeds: Sequence[int]) -> tuple[float, Draws]:
        """A configuration's score on the whole dev set and its distribution."""
        ids = [each.trials[seed].trial_id for seed in seeds]
        scores = self.score(np.stack([self._metrics[name] for name in ids]))
        resampled = self.score(np.stack([self._resampled[name] for name in ids], axis=1))
        return float(scores.mean()), self.seeds.draws(seeds, scores, resampled)

    def _read(
        self,
        ledger: Ledger,
        methods: Sequence[Method],
        also: set[str],
        tell: Callable[[str], None],
    ) -> dict[Method, Contenders]:
        """The methods whose predictions could be read."""
        found = {}
        for method in methods:
            try:
                if not self.dev.outcomes:
                    self.dev.read(ledger, [next(iter(method.candidates[0].trials.values()))])
                rivals = contenders(method, self.metric, self._far(method), also)
                trials = [c.trials[seed] for c in rivals.configurations for seed in method.seeds]
                tell(f"reading predictions of {len(trials)} trials of {method.name}")
                self.dev.read(ledger, trials)
                found[method] = rivals
            except PredictionsError as error:
                self.problems[method.name] = str(error)
        return found

    def _far(self, method: Method) -> float:
        """How far behind a configuration is out of reach: its score on a half of the examples
        differs from that on all of them with the standard deviation that a sample has."""
        trial = method.trials[0]
        variances = []
        for task, size in zip(self.dev.tasks, self.dev.sizes, strict=True):
            value = last_metric(trial, task.name)
            variances.append(metric_of(task).sampling_variance(value, size))
        share = self.score(np.eye(len(variances))) - self.score(np.zeros((1, len(variances))))
        return _FAR * math.sqrt(2 * float(np.square(share) @ variances))

    def _choose(self, method: Method, rivals: Contenders, parts: Sequence[np.ndarray]) -> None:
        read = rivals.configurations
        ids = [each.trials[seed].trial_id for each in read for seed in method.seeds]
        shape = len(read), len(method.seeds), len(self.dev.tasks)
        metrics = self.dev.metrics(ids)
        self._metrics.update(zip(ids, metrics, strict=True))
        whole = metrics.reshape(shape)
        on_halves = half_metrics(self.dev, parts, ids).reshape(-1, *shape)
        cross = cross_fit(whole, on_halves, self.metric, self.dev.tasks, rivals.allowed)
        self.fits[method.name] = Fit(method, read, whole, cross, rivals.left_out, np.empty(0))

    def _needed(self) -> set[str]:
        """Trials that score a method."""
        return {t.trial_id for fit in self.fits.values() for t in fit.trials(fit.method.seeds)}

    def _mixed(self, fit: Fit) -> np.ndarray:
        """(replicates, seeds, tasks): the honest metrics, moved by what resampling does to the
        configurations that were chosen."""
        found = np.tile(fit.cross.scores, (self.replicates, 1, 1))
        for s, c in fit.used():
            name = fit.read[c].trials[fit.method.seeds[s]].trial_id
            found[:, s] += fit.cross.shares[s, c] * (self._resampled[name] - self._metrics[name])
        return found


@dataclass(frozen=True)
class Contenders:
    """Configurations to read.

    Attributes:
        allowed: (configurations, seeds), which may be chosen to be scored by which seed.
        left_out: how many more are near enough to be chosen.
    """

    configurations: list[Configuration]
    allowed: np.ndarray
    left_out: int


def contenders(method: Method, metric: str, far: float, also: set[str]) -> Contenders:
    """The best configurations for every seed, less than `far` behind, by the mean of the other
    seeds (as they are chosen); and those named in `also`, which are not chosen."""
    tried, seeds = method.candidates, method.seeds
    scores = np.array([[last_metric(c.trials[seed], metric) for seed in seeds] for c in tried])
    seen = (scores.sum(1, keepdims=True) - scores) / (len(seeds) - 1) if len(seeds) > 1 else scores
    near = seen >= seen.max(0) - far
    ranks = np.argsort(np.argsort(-seen, axis=0, kind="stable"), axis=0)
    allowed = near & (ranks < MOST_READ)
    wanted = allowed.any(1) | np.array([each.config_id in also for each in tried])
    places = np.flatnonzero(wanted)
    left_out = int((near.any(1) & ~allowed.any(1)).sum())
    return Contenders([tried[place] for place in places], allowed[places], left_out)
