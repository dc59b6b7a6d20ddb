"""Pairs of fresh seeds: their differences, and the part of the variance that all pairs share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from orchestrator.compare.methods import counted_metric
from orchestrator.compare.statistics.bootstrap import resampled_metrics
from orchestrator.compare.statistics.dev_predictions import DevSet, PredictionsError
from orchestrator.compare.statistics.scores import combine
from orchestrator.decision.rule.looks import Look, judge_all
from trainer.loop.task_metrics import metric_of

if TYPE_CHECKING:
    from orchestrator.compare.statistics.pooled_variance import PriorVariance
    from orchestrator.decision.rule.looks import Design
    from orchestrator.ledger import Ledger, TrialRecord

#: Dev examples are resampled so often to estimate the variance that all pairs share.
_REPLICATES = 1000


@dataclass(frozen=True)
class Pair:
    """One seed of a method and of the baseline, both ended."""

    one: TrialRecord
    other: TrialRecord

    @property
    def converged(self) -> bool:
        """Whether both trials are complete.  Others, such as diverged ones, have no score."""
        return all(t.status == "complete" and t.records for t in (self.one, self.other))

    def difference(self, metric: str) -> float:
        """The method's metric minus the baseline's; NaN unless both converged."""
        if not self.converged:
            return math.nan
        return counted_metric(self.one, metric) - counted_metric(self.other, metric)


def pairs_of(trials: Sequence[TrialRecord], one: str, baseline: str) -> list[Pair]:
    """The pairs of a method up to the first one that has not ended.

    Args:
        trials: the confirming trials of one decision.
        one, baseline: names in `decide.compare`.
    """
    by_place = {
        (str(t.identity.get("method")), t.identity.get("pair")): t
        for t in trials
        if t.status != "unfinished"
    }
    pairs: list[Pair] = []
    while True:
        number = len(pairs) + 1
        mine, theirs = by_place.get((one, number)), by_place.get((baseline, number))
        if mine is None or theirs is None:
            return pairs
        pairs.append(Pair(mine, theirs))


def judged(
    ledger: Ledger,
    design: Design,
    by_method: Mapping[str, Sequence[Pair]],
    metric: str,
    prior: PriorVariance,
    share_alpha: Literal["holm", "in_order"] = "holm",
) -> dict[str, list[Look]]:
    """The looks that were taken, for each method against the baseline.

    Raises `PredictionsError` if the dev predictions of a trial cannot be read.
    """
    data = {}
    for name, pairs in by_method.items():
        differences = [pair.difference(metric) for pair in pairs]
        taken = [count for count in design.looks if count <= len(pairs)]
        shared = [shared_variance(ledger, pairs[:count], metric) for count in taken]
        data[name] = differences, shared
    return dict(judge_all(design, data, prior, share_alpha))


def shared_variance(ledger: Ledger, pairs: Sequence[Pair], metric: str) -> float:
    """The variance of the mean difference over dev examples, without each pair's own part.

    The dev examples are the same for all pairs, so more pairs do not reduce this part.
    """
    pairs = [pair for pair in pairs if pair.converged]
    if not pairs:
        return 0.0
    dev = DevSet()
    ids = [[pair.one.trial_id for pair in pairs], [pair.other.trial_id for pair in pairs]]
    dev.read(ledger, [trial for pair in pairs for trial in (pair.one, pair.other)])
    rng = np.random.default_rng(len(pairs))
    metrics = resampled_metrics(dev, [*ids[0], *ids[1]], _REPLICATES, rng)
    scores = combine(metric, dev.tasks, metrics)  # (replicates, 2 pairs)
    differences = scores[:, : len(pairs)] - scores[:, len(pairs) :]
    centre = differences.mean(1)
    chance = float(centre.var(ddof=1))
    if len(pairs) == 1:
        return chance
    own = (differences - centre[:, None]).var(0, ddof=1).sum() / (len(pairs) * (len(pairs) - 1))
    return max(0.0, chance - float(own))


def guess_score(ledger: Ledger, trial: TrialRecord, metric: str) -> float | None:
    """The score of a model that knows only how frequent each label of the trial's dev sets is.

    None if the dev sets cannot be read.
    """
    dev = DevSet()
    try:
        dev.read(ledger, [trial])
    except PredictionsError:
        return None
    guesses = [
        metric_of(task).guess(labels) for task, labels in zip(dev.tasks, dev.labels, strict=True)
    ]
    return float(combine(metric, dev.tasks, np.array(guesses)))
