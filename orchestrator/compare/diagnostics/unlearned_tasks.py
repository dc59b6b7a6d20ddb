"""Tasks of which nothing was learned, and tasks that training made worse.

Such a score tells a head or a learning rate that does not fit, before it tells anything about
the ways of training that are compared.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.compare.methods import last_metric, metric_of
from trainer.loop import task_metrics

if TYPE_CHECKING:
    from orchestrator.compare.statistics.dev_predictions import DevSet
    from orchestrator.compare.statistics.honest_scores import Fit
    from orchestrator.ledger import TrialRecord
    from trainer.config.tasks import Task

#: A fall counts beyond so many standard errors of a score on so many dev examples.
_CLEAR = 2.0


def notes(fits: Iterable[Fit], dev: DevSet) -> list[str]:
    """One line a task and complaint, with the methods that it is about.

    Of each method the configuration that was chosen most often, of the tasks those that it trained:
    whether its mean over seeds is within one standard error of a guess (always the commonest
    class; no correlation), or every seed ended below its first epoch, on average clearly.
    """
    guessed: dict[str, list[str]] = {}
    fallen: dict[str, list[str]] = {}
    guesses = {}
    told = set()
    for fit in fits:
        if fit.chosen.config_id in told:  # of a part and of the whole that it belongs to
            continue
        told.add(fit.chosen.config_id)
        trials = [fit.chosen.trials[seed] for seed in fit.method.seeds]
        for task, labels in zip(dev.tasks, dev.labels, strict=True):
            if not all(_trained(trial, task.name) for trial in trials):
                continue
            guesses[task.name] = guess = _guess(task, labels)
            first = [metric_of(trial.records[0], task.name) for trial in trials]
            last = [last_metric(trial, task.name) for trial in trials]
            before, after = statistics.fmean(first), statistics.fmean(last)
            if after <= guess + _error(task, guess, len(labels)):
                guessed.setdefault(task.name, []).append(f"{fit.method.name} {after:.3f}")
            elif _falls(first, last, _CLEAR * _error(task, before, len(labels))):
                words = f"{fit.method.name} {before:.3f} to {after:.3f}"
                fallen.setdefault(task.name, []).append(words)
    return [
        *(
            f"{name}: no better than a guess ({guesses[name]:.3f}): {', '.join(of)}."
            for name, of in guessed.items()
        ),
        *(
            f"{name}: falls from the first epoch to the last with every seed: {', '.join(of)}."
            for name, of in fallen.items()
        ),
    ]


def _trained(trial: TrialRecord, task: str) -> bool:
    return any(record["tasks"].get(task, {}).get("examples") for record in trial.records)


def _guess(task: Task, labels: np.ndarray) -> float:
    """The metric of a model that knows nothing but the distribution of the dev labels."""
    return task_metrics.metric_of(task).guess(labels)


def _error(task: Task, value: float, size: int) -> float:
    """The standard error of a metric on so many examples."""
    return math.sqrt(task_metrics.metric_of(task).sampling_variance(value, size))


def _falls(first: Sequence[float], last: Sequence[float], clear: float) -> bool:
    below = all(after < before for before, after in zip(first, last, strict=True))
    return below and statistics.fmean(first) - statistics.fmean(last) > clear
