"""How many epochs a method needs to a score: a learning curve read at a height."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.compare.methods import Configuration, metric_of


def epochs_to(curve: Sequence[float], target: float) -> float:
    """Epochs until scores after epoch 1, 2, ... first reach `target`; infinity if never.

    Between two epochs the curve is a straight line.  What happens within the first epoch nobody
    knows: it counts whole.
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
    """Epochs (seeds, 2) until each of two configurations has the score that both have at the end:
    with every seed the lower one of their two last scores."""
    found = []
    for seed in seeds:
        curves = [
            [metric_of(record, metric) for record in each.trials[seed].records]
            for each in (one, other)
        ]
        target = min(curve[-1] for curve in curves)
        found.append([epochs_to(curve, target) for curve in curves])
    return np.array(found)
