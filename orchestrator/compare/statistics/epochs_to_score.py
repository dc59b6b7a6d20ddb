"""The number of epochs that a method needs to reach a score, from its learning curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.compare.methods import Configuration, recorded_metric


def epochs_to(curve: Sequence[float], target: float) -> float:
    """Epochs until the scores after epoch 1, 2, ... first reach `target`; infinity if they do not.

    Between two epochs the curve is a straight line. The first epoch counts as a whole, because its
    course is not recorded.
    """
    for place, score in enumerate(curve):
        if score >= target:
            if place == 0:
                return 1.0
            before = curve[place - 1]
            return place + (target - before) / (score - before)
    return math.inf


def epochs_to_same_score(
    one: Configuration, other: Configuration, seeds: Sequence[int], metric: str
) -> np.ndarray:
    """Epochs (seeds, 2) until each of two configurations reaches a score that both reach.

    For each seed this is the lower one of their two scores after the epochs that count.
    """
    epochs = []
    for seed in seeds:
        trials = [each.trials[seed] for each in (one, other)]
        curves = [[recorded_metric(record, metric) for record in t.records] for t in trials]
        target = min(curve[t.epoch - 1] for t, curve in zip(trials, curves, strict=True))
        epochs.append([epochs_to(curve, target) for curve in curves])
    return np.array(epochs)
