"""The distribution of an estimate: a normal part plus a scaled Student's t, as a formula.

The normal part is the chance of dev examples that all seeds share. Student's t is what seeds add.
Tails come from the formula, so a p-value can be as small as the data allow. A count of draws ends
at 2 / (draws + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: With more degrees of freedom, Student's t is normal.
_MANY = 1e5
#: Points of the numerical integral.
_POINTS = 400
#: Smaller tails are 0 for every purpose here.
_LEAST_TAIL = 1e-12


@dataclass(frozen=True)
class Mixture:
    """The distribution of an estimate around `value`.

    Attributes:
        shared: variance of the normal part.
        seeds: squared scale of Student's t; 0 if there is none.
        df: its degrees of freedom.
    """

    value: float
    shared: float
    seeds: float = 0.0
    df: float = math.inf

    def tail(self, distance: float) -> float:
        """The probability of being more than `distance` above `value` (or below it)."""
        if self.shared + self.seeds <= 0:
            return 0.0 if distance > 0 else 0.5 if distance == 0 else 1.0
        if distance < 0:
            return 1 - self.tail(-distance)
        weights, deviations = self._parts
        return float(weights @ _normal_tail(distance / deviations))

    def half_width(self, tail: float) -> float:
        """The distance that is exceeded to one side with the probability `tail`, at most 1/2."""
        if self.shared + self.seeds <= 0:
            return 0.0
        # The tail falls, so the distance lies in a bracket, which Newton's steps never leave.
        tail = max(tail, _LEAST_TAIL)
        low, high = 0.0, math.sqrt(self.shared + self.seeds)
        while self.tail(high) > tail:
            low, high = high, 2 * high
        distance = (low + high) / 2
        weights, deviations = self._parts
        for _ in range(100):
            scaled = distance / deviations
            excess = math.log(float(weights @ _normal_tail(scaled))) - math.log(tail)
            low, high = (distance, high) if excess > 0 else (low, distance)
            if abs(excess) < 1e-9 or high - low < 1e-14 * high:
                break
            density = float(weights @ (np.exp(-(scaled**2) / 2) / deviations)) / math.sqrt(math.tau)
            step = distance + excess * tail / density if density > 0 else low
            distance = step if low < step < high else (low + high) / 2
        return distance

    def interval(self, confidence: float) -> tuple[float, float]:
        """The interval with equal tails."""
        half = self.half_width((1 - confidence) / 2)
        return self.value - half, self.value + half

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights and standard deviations of the normal distributions that it is a mixture of.

        Student's t is a normal with a random variance df / chi^2(df). The integral over
        u = log(chi^2 / df) is a sum over evenly spaced points, which is accurate for a function
        this smooth.
        """
        if self.seeds <= 0 or self.df > _MANY:
            return np.ones(1), np.array([math.sqrt(self.shared + self.seeds)])
        spread = 12 * math.sqrt(2 / self.df)
        u = np.linspace(-80 / self.df - spread, math.log1p(80 / self.df + spread), _POINTS)
        log_density = self.df / 2 * (u - np.exp(u))
        weights = np.exp(log_density - log_density.max())
        return weights / weights.sum(), np.sqrt(self.shared + self.seeds * np.exp(-u))


def _normal_tail(scaled: np.ndarray) -> np.ndarray:
    from scipy import special  # it takes half a second to load

    tails: np.ndarray = special.ndtr(-scaled)
    return tails
