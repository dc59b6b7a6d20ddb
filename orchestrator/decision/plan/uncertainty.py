"""How much chance is in a sweep's question: measured in trials, given, or guessed.

The difference of two methods after n pairs of seeds has the variance pairs / n + shared.  More
seeds reduce the first part.  The second part comes from the dev examples, which all seeds share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.compare.statistics.dev_predictions import PredictionsError
from orchestrator.compare.statistics.scores import OVERALL
from orchestrator.decision import contestants
from orchestrator.decision.pairs import Pair, shared_variance
from orchestrator.decision.rule.power import Variances
from orchestrator.errors import UserError
from orchestrator.ledger.current import searched
from orchestrator.ledger.evaluations import on_equal_examples
from trainer.config.task_choices import METRICS
from trainer.config.tasks import Task
from trainer.loop.task_metrics import metric_of

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.spec.decide import DecideSpec
    from trainer.config import TrainConfig

#: What a guess takes from this project's study (docs/study): typical metrics, the standard
#: deviation that training alone gives a task's metric between pairs of seeds, and the chance of the
#: dev examples in a pair and in a mean over many, as shares of the variance of one model's metric.
_FEW_CLASSES, _MANY_CLASSES, _CORRELATION = 0.78, 0.45, 0.8
_OF_TRAINING, _IN_PAIR, _IN_MEAN = 0.018, 1.7, 0.2


@dataclass(frozen=True)
class Uncertainty:
    """The chance in a sweep's question, and what a trial of each method costs.

    Attributes:
        source: where the numbers come from, for people: `measured in 75 trials`.
        guessed: whether a number is a guess.
        minutes: of a trial, by name in `compare`; empty if unknown.
        dev: the number of dev examples that score a trial, by task; empty if unknown.
    """

    variances: Variances
    source: str
    guessed: bool = False
    minutes: Mapping[str, float] = field(default_factory=dict)
    dev: Mapping[str, int] = field(default_factory=dict)

    def with_deviation(self, deviation: float) -> Uncertainty:
        """With a given standard deviation between pairs of seeds."""
        known = Variances(pairs=deviation**2, shared=self.variances.shared, df=math.inf)
        source = f"given; the dev examples' part is {self.source}"
        return replace(self, variances=known, source=source, guessed=False)


def measured(
    ledger: Ledger, trials: Sequence[TrialRecord], decide: DecideSpec
) -> Uncertainty | None:
    """From the trials of a search; None if they lack a method or have one seed each.

    The first method in `compare` stands for all.
    """
    tried_out = on_equal_examples(searched(trials))
    prior = contestants.prior_of(tried_out, decide.metric)
    try:
        sides = [contestants.candidates(tried_out, n, decide.metric) for n in decide.compare]
    except UserError:
        return None
    if not prior.df > 0:
        return None
    rule = decide.choose if isinstance(decide.choose, str) else "fastest"
    picked = [contestants.standing_for(each, prior, rule) for each in sides]
    one, other = picked[0].trials, picked[-1].trials
    pairs = [Pair(one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())]
    dev = _sizes(pairs[0].one) if pairs else {}
    complete = sum(trial.status == "complete" for trial in tried_out)
    source, guessed = f"measured in {complete} trials", False
    try:
        shared = shared_variance(ledger, pairs, decide.metric) if pairs else None
    except PredictionsError:
        shared = None
    if shared is None:
        known = _guess(next(iter(one.values())).train_config, dev, decide.metric)
        if known is None:
            return None
        shared, guessed = known.shared, True
        source += "; the dev examples' part is estimated from their number"
    return Uncertainty(
        Variances(pairs=prior.variance, shared=shared, df=prior.df),
        source,
        guessed,
        {
            each.name: contestants.minutes_of_a_trial(each, chosen.config_id)
            for each, chosen in zip(sides, picked, strict=True)
        },
        dev,
    )


def guessed(config: TrainConfig, dev: Mapping[str, int], metric: str) -> Uncertainty | None:
    """From the number of dev examples and typical scores; None if that is unknown.

    Args:
        config: of any trial.
        dev: dev examples by task.
    """
    variances = _guess(config, dev, metric)
    if variances is None:
        return None
    return Uncertainty(variances, "estimated from the number of dev examples", True, {}, dev)


def _guess(config: TrainConfig, dev: Mapping[str, int], metric: str) -> Variances | None:
    pairs = shared = 0.0
    for task, weight in weights(config, metric):
        if task.name not in dev:
            return None
        one = _variance_of_metric(task) / dev[task.name]
        shared += weight**2 * _IN_MEAN * one
        pairs += weight**2 * (_OF_TRAINING**2 + _IN_PAIR * one)
    return Variances(pairs=pairs, shared=shared, df=math.inf)


def weights(config: TrainConfig, metric: str) -> list[tuple[Task, float]]:
    """The tasks of a metric, each with the weight of its own metric in it."""
    if metric not in OVERALL:
        return [(task, 1.0) for task in config.task_list if task.name == metric]
    scored = [task for task in config.task_list if task.scored]
    halved = metric == "dev_score"
    return [
        (task, (0.5 if halved and METRICS[task.metric].signed else 1.0) / len(scored))
        for task in scored
    ]


def _variance_of_metric(task: Task) -> float:
    """The variance of a typical metric over dev examples, times their number.

    Classes are taken to be equally frequent.
    """
    typical = _MANY_CLASSES if task.outputs > 2 else _FEW_CLASSES
    if METRICS[task.metric].signed:  # a correlation
        typical = _CORRELATION
    return metric_of(task).asymptotic_variance(typical, np.arange(task.label_classes))


def _sizes(trial: TrialRecord) -> dict[str, int]:
    """The number of dev examples of each task that scored a trial, as its config.json has it."""
    rows = trial.identity.get("rows")
    sizes = {}
    for name, splits in (rows if isinstance(rows, dict) else {}).items():
        count = splits.get("dev", {}).get("rows") if isinstance(splits, dict) else None
        if isinstance(count, int):
            sizes[str(name)] = count
    return sizes
