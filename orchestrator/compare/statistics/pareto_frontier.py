"""The Pareto frontier of score against minutes per epoch, and how sure each point is on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.methods import Configuration, Method
from orchestrator.compare.statistics.honest_scores import Evidence
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE
from orchestrator.compare.statistics.speed_up import FairMinutes


@dataclass(frozen=True)
class Point:
    """A configuration with its mean over seeds on the whole dev set.

    `on_frontier`: as measured.  `probability`: the share of bootstrap draws in which no other point
    has a higher score in fewer minutes.  `knee`: see `knee`.  `score_interval` and
    `minutes_interval`: 95 %, low and high.
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
    """The configurations that no other one beats."""
    tried = {each.config_id: (each, method) for method in methods for each in method.candidates}
    timed = [tried[name] for name in minutes.values]
    scores = [each.mean(metric, method.seeds) for each, method in timed]
    return [timed[place][0] for place in not_beaten(scores, list(minutes.values.values()))]


def points(evidence: Evidence, minutes: FairMinutes, labels: Mapping[str, str]) -> list[Point]:
    """All configurations whose predictions were read and whose minutes compare, by falling score.

    Args:
        labels: config id -> what a reader calls it.
    """
    read: dict[str, tuple[Configuration, Method]] = {}
    for fit in evidence.fits.values():  # what is joined of several methods comes last
        for each in fit.read:
            read.setdefault(each.config_id, (each, fit.method))
    timed = [pair for name, pair in read.items() if name in minutes.values]
    if not timed:
        return []
    found = [evidence.of_configuration(each, method.seeds) for each, method in timed]
    scores = [value for value, _ in found]
    spent = [minutes.values[each.config_id] for each, _ in timed]
    drawn = [minutes.draws(*pair, evidence.seeds, evidence.rng) for pair in timed]
    sure = probabilities(
        np.stack([draws.values for _, draws in found], axis=1), np.stack(drawn, axis=1)
    )
    ends = not_beaten(scores, spent)
    bend = knee([scores[place] for place in ends], [spent[place] for place in ends])
    made = [
        Point(
            config_id=each.config_id,
            label=labels.get(each.config_id, each.config_id),
            method=method.name,
            score=scores[place],
            minutes=spent[place],
            on_frontier=place in ends,
            probability=float(sure[place]),
            knee=bend is not None and ends[bend] == place,
            score_interval=found[place][1].interval(CONFIDENCE),
            minutes_interval=minutes.interval(each, drawn[place]),
        )
        for place, (each, method) in enumerate(timed)
    ]
    return sorted(made, key=lambda point: -point.score)


def not_beaten(scores: Sequence[float], minutes: Sequence[float]) -> list[int]:
    """Places of the points than which no other one is at least as good in both and better in one,
    by falling score."""
    found: list[int] = []
    for place in sorted(range(len(scores)), key=lambda i: (-scores[i], minutes[i])):
        last = found[-1] if found else None
        same = last is not None and (scores[place], minutes[place]) == (scores[last], minutes[last])
        if last is None or minutes[place] < minutes[last] or same:
            found.append(place)
    return found


def probabilities(scores: np.ndarray, minutes: np.ndarray) -> np.ndarray:
    """The share of draws (draws, n) in which each point is not beaten, (n,)."""
    times = np.zeros(scores.shape[1])
    order = np.lexsort((minutes, -scores))
    fastest = np.minimum.accumulate(np.take_along_axis(minutes, order, axis=1), axis=1)
    before = np.concatenate([np.full((len(scores), 1), np.inf), fastest[:, :-1]], axis=1)
    free = np.take_along_axis(minutes, order, axis=1) < before
    np.add.at(times, order[free], 1)
    return times / len(scores)


def knee(scores: Sequence[float], minutes: Sequence[float]) -> int | None:
    """The place of the knee among the frontier's points; None of fewer than three or where none
    lies above the chord.

    Both axes are scaled to 0..1 over the frontier; the knee lies farthest above the line between
    its ends (Das 1999; Satopaa et al. 2011): more minutes bring less from there on.
    """
    if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(minutes) == 0:
        return None
    s, m = np.asarray(scores, dtype=float), np.asarray(minutes, dtype=float)
    above = (s - s.min()) / np.ptp(s) - (m - m.min()) / np.ptp(m)
    best = int(above.argmax())
    return best if above[best] > 1e-9 else None
