"""Tasks of which nothing was learned, and tasks that training made worse.

Such a score points to an unsuitable head or learning rate. It says little about the ways of
training that are compared.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.compare.methods import counted_metric, recorded_metric
from trainer.loop import task_metrics

if TYPE_CHECKING:
    from orchestrator.compare.statistics.dev_predictions import DevSet
    from orchestrator.compare.statistics.honest_scores import Fit
    from orchestrator.ledger import TrialRecord

#: A fall counts if it exceeds this many standard errors of a score on the dev set.
_CLEAR = 2.0


def notes(fits: Iterable[Fit], dev: DevSet) -> list[str]:
    """One line for each task that some methods did not learn, and one for each that they unlearned.

    We look at each method's configuration that was chosen most often, and at the tasks that it
    trained. A task is not learned if the mean over seeds is within one standard error of a guess
    (`TaskMetric.guess`: the most frequent class; no correlation). It is unlearned if every seed
    ends below its first epoch, and their mean clearly so.
    """
    guessed: dict[str, list[str]] = {}
    fallen: dict[str, list[str]] = {}
    guesses = {}
    seen = set()
    for fit in fits:
        if fit.chosen.config_id in seen:  # a method, and the union that contains it
            continue
        seen.add(fit.chosen.config_id)
        trials = list(fit.chosen.trials.values())
        for task, labels in zip(dev.tasks, dev.labels, strict=True):
            if not all(_trained(trial, task.name) for trial in trials):
                continue
            metric = task_metrics.metric_of(task)
            guesses[task.name] = guess = metric.guess(labels)
            final = statistics.fmean(counted_metric(trial, task.name) for trial in trials)
            guess_error = math.sqrt(metric.asymptotic_variance(guess, labels) / len(labels))
            if final <= guess + guess_error:
                guessed.setdefault(task.name, []).append(f"{fit.method.name} {final:.3f}")
                continue
            # Both on the dev sets of the epochs.
            first, last = (
                [recorded_metric(trial.records[place], task.name) for trial in trials]
                for place in (0, -1)
            )
            before, after = statistics.fmean(first), statistics.fmean(last)
            size = _dev_size(trials[0], task.name) or len(labels)
            # A record may say anything, also a score that no metric gives.
            error = math.sqrt(max(0.0, metric.asymptotic_variance(before, labels)) / size)
            if before - after > _CLEAR * error and all(map(operator.lt, last, first)):
                fall = f"{fit.method.name} {before:.3f} to {after:.3f}"
                fallen.setdefault(task.name, []).append(fall)
    return [
        *(
            f"{name}: no better than a guess ({guesses[name]:.3f}): {', '.join(methods)}."
            for name, methods in guessed.items()
        ),
        *(
            f"{name}: falls from the first epoch to the last with every seed: {', '.join(methods)}."
            for name, methods in fallen.items()
        ),
    ]


def _trained(trial: TrialRecord, task: str) -> bool:
    return any(record["tasks"].get(task, {}).get("examples") for record in trial.records)


def _dev_size(trial: TrialRecord, task: str) -> int:
    """The number of dev examples in each epoch; 0 if it is not recorded."""
    size = trial.identity.get("rows", {})
    for key in (task, "dev", "rows"):
        size = size.get(key) if isinstance(size, dict) else None
    return size if type(size) is int else 0
