"""The Pareto frontier of score against minutes per epoch, with each point's probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.methods import Configuration, Method
from orchestrator.compare.statistics.honest_scores import HonestScores
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE
from orchestrator.compare.statistics.speed_up import FairMinutes


@dataclass(frozen=True)
class Point:
    """A configuration with its mean over seeds on the whole dev set.

    Attributes:
        on_frontier: whether it is on the frontier of the measured values.
        probability: the share of bootstrap draws in which no other point beats it.
        knee: whether it is the frontier's `knee`.
        score_interval: low and high end of the 95 % interval, as for `minutes_interval`.
    """

    config_id: str
    label: str
    method: str
    score: float
    minutes: float
    on_frontier: bool
    probability: float
    knee: bool
    score_interval: tuple[float, float]
    minutes_interval: tuple[float, float]


def as_measured(
    methods: Sequence[Method], metric: str, minutes: FairMinutes
) -> list[Configuration]:
    """The configurations that no other one beats, by the measured values."""
    tried = {each.config_id: each for method in methods for each in method.candidates}
    timed = [tried[name] for name in minutes.values]
    scores = [each.mean(metric) for each in timed]
    return [timed[place] for place in not_beaten(scores, list(minutes.values.values()))]


def points(honest: HonestScores, minutes: FairMinutes, labels: Mapping[str, str]) -> list[Point]:
    """All configurations with predictions and comparable minutes, by falling score.

    Args:
        labels: config id -> the name for readers.
    """
    read: dict[str, tuple[Configuration, Method]] = {}
    for fit in honest.fits.values():  # a union of several methods comes last
        for each in fit.read:
            read.setdefault(each.config_id, (each, fit.method))
    timed = [pair for name, pair in read.items() if name in minutes.values]
    if not timed:
        return []
    estimates = [honest.of_configuration(each) for each, _ in timed]
    scores = [value for value, _ in estimates]
    spent = [minutes.values[each.config_id] for each, _ in timed]
    minutes_draws = [minutes.draws(each, honest.seeds, honest.rng) for each, _ in timed]
    probability = probabilities(
        np.stack([draws.values for _, draws in estimates], axis=1), np.stack(minutes_draws, axis=1)
    )
    ends = not_beaten(scores, spent)
    bend = knee([scores[place] for place in ends], [spent[place] for place in ends])
    points = [
        Point(
            config_id=each.config_id,
            label=labels.get(each.config_id, each.config_id),
            method=method.name,
            score=scores[place],
            minutes=spent[place],
            on_frontier=place in ends,
            probability=float(probability[place]),
            knee=bend is not None and ends[bend] == place,
            score_interval=honest.clipped(*estimates[place][1].interval(CONFIDENCE)),
            minutes_interval=minutes.interval(each, minutes_draws[place]),
        )
        for place, (each, method) in enumerate(timed)
    ]
    return sorted(points, key=lambda point: -point.score)


def not_beaten(scores: Sequence[float], minutes: Sequence[float]) -> list[int]:
    """Indices of the points on the frontier, by falling score.

    Another point beats a point if it is at least as good in both values and better in one.
    """
    frontier: list[int] = []
    for place in sorted(range(len(scores)), key=lambda i: (-scores[i], minutes[i])):
        last = frontier[-1] if frontier else None
        same = last is not None and (scores[place], minutes[place]) == (scores[last], minutes[last])
        if last is None or minutes[place] < minutes[last] or same:
            frontier.append(place)
    return frontier


def probabilities(scores: np.ndarray, minutes: np.ndarray) -> np.ndarray:
    """The share of draws in which no point beats each point, (n,), from (draws, n)."""
    times = np.zeros(scores.shape[1])
    order = np.lexsort((minutes, -scores))
    fastest = np.minimum.accumulate(np.take_along_axis(minutes, order, axis=1), axis=1)
    before = np.concatenate([np.full((len(scores), 1), np.inf), fastest[:, :-1]], axis=1)
    free = np.take_along_axis(minutes, order, axis=1) < before
    np.add.at(times, order[free], 1)
    return times / len(scores)


def knee(scores: Sequence[float], minutes: Sequence[float]) -> int | None:
    """The index of the knee among the frontier's points (Das 1999; Satopaa et al. 2011).

    Both axes are scaled to 0..1 over the frontier. The knee is the point farthest above the line
    between the two ends; after it, more minutes bring less. None if there are fewer than three
    points or none lies above that line.
    """
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(minutes) == 0:
        return None
    s, m = np.asarray(scores, dtype=float), np.asarray(minutes, dtype=float)
    above = (s - s.min()) / np.ptp(s) - (m - m.min()) / np.ptp(m)
    best = int(above.argmax())
    return best if above[best] > 1e-9 else None
