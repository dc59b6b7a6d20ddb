"""Critical values for planned looks: how far an estimate must be out, at each look, to stop.

Looking again and again at growing data errs more often than one look.  The error that a test may
make, alpha, is therefore spent over the looks: by look k, at most alpha_k in all.

- Lan, K. K. G. and DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials.
  Biometrika 70, 659-663.  The boundary of a look follows from what earlier looks knew and from the
  alpha that may be spent by now, so that looks need not come as planned.
- Armitage, P., McPherson, C. K. and Rowe, B. C. (1969). Repeated significance tests on accumulating
  data. Journal of the Royal Statistical Society A 132, 235-244.  The recursive integration.
- Jennison, C. and Turnbull, B. W. (2000). Group Sequential Methods with Applications to Clinical
  Trials, chapters 7 (spending), 9 (repeated confidence intervals) and 19 (numerical integration).

The statistic at look k is Z_k = estimate / standard error.  Its information is I_k, 1 / variance of
the estimate, and the scores S_k = Z_k * sqrt(I_k) have independent increments of variance
I_k - I_(k-1): the canonical joint distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

#: The integral over a look is made of Gauss-Legendre rules with so many nodes: at least two, more
#: where looks are close.
_NODES, _FEWEST_RULES, _MOST_RULES = 32, 2, 24
#: The integral ends this many standard deviations below the mean.
_FAR = 8.5
#: A look that may spend less than this cannot stop.
_LEAST_ALPHA = 1e-12
#: Above these degrees of freedom, t and the normal distribution are the same.
_NORMAL_DF = 1e7


def power_spending(alpha: float, time: float, power: float) -> float:
    """alpha * t^power: alpha spent by a share `time` of the plan (Kim and DeMets 1987)."""
    return alpha * min(1.0, time) ** power


def obrien_fleming_spending(alpha: float, time: float) -> float:
    """2 - 2 Phi(z / sqrt t), z the upper alpha/2 quantile: little is spent early (Lan, DeMets)."""
    from scipy import special  # it takes half a second to load

    return float(2 * special.ndtr(special.ndtri(alpha / 2) / math.sqrt(min(1.0, time))))


def pocock_spending(alpha: float, time: float) -> float:
    """alpha * log(1 + (e - 1) t): about the same at every look (Lan, DeMets)."""
    return alpha * math.log1p((math.e - 1) * min(1.0, time))


@lru_cache(maxsize=4096)
def critical_values(information: tuple[float, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """One-sided boundaries: stop at look k if Z_k exceeds the k-th value.

    Args:
        information: of each look; it must rise.
        spent: the probability of having stopped by each look if the true value is 0.
    """
    bounds: list[float] = []
    scores = _Scores(0.0, information)
    before = 0.0
    for level, total in zip(information, spent, strict=True):
        scores.advance(level)
        bound = scores.bound(total - before) if total - before > _LEAST_ALPHA else math.inf
        if math.isfinite(bound):
            before = total
        bounds.append(bound / math.sqrt(level))
        scores.keep(-math.inf, bound)
    return tuple(bounds)


def stopping_probabilities(
    information: Sequence[float],
    lower: Sequence[float],
    upper: Sequence[float],
    truth: float = 0.0,
) -> tuple[list[float], list[float]]:
    """The probabilities of first leaving (lower, upper) at each look, below and above.

    Args:
        information: of each look.
        lower: boundaries of Z.
        upper: boundaries of Z.
        truth: the true value of what is estimated.
    """
    below, above = [], []
    scores = _Scores(truth, information)
    for level, low, high in zip(information, lower, upper, strict=True):
        scores.advance(level)
        root = math.sqrt(level)
        below.append(1 - scores.above(low * root, total=True))
        above.append(scores.above(high * root))
        scores.keep(low * root, high * root)
    return below, above


class _Scores:
    """The distribution of S_k of those runs that have not stopped before look k."""

    def __init__(self, truth: float, information: Sequence[float]) -> None:
        self._truth = truth
        # Several nodes to each standard deviation of the shortest step between two looks.
        steps = [(b - a) / b for a, b in zip(information, information[1:], strict=False)]
        rules = math.ceil(40 / _NODES / math.sqrt(max(1e-9, min(steps, default=1.0))))
        self._nodes, self._node_weights = _rule(min(_MOST_RULES, max(_FEWEST_RULES, rules)))
        self._information = 0.0
        #: Where S_(k-1) may be, and the probability at each place.
        self._places = np.zeros(1)
        self._weights = np.ones(1)
        self._deviation = 0.0

    def advance(self, information: float) -> None:
        """Go to the next look."""
        step = information - self._information
        if step <= 0:
            raise ValueError("information must rise from look to look")
        self._means = self._places + self._truth * step
        self._deviation = math.sqrt(step)
        self._information = information

    def above(self, score: float, total: bool = False) -> float:
        """The probability of not having stopped before, and a score above this one.

        With `total`, runs that stopped before count as well.
        """
        from scipy import special

        tails = special.ndtr((self._means - score) / self._deviation)
        probability = float(self._weights @ tails)
        return probability + (1 - float(self._weights.sum()) if total else 0.0)

    def bound(self, probability: float) -> float:
        """The score above which lies this probability."""
        from scipy import optimize

        far = 12 * math.sqrt(self._information)
        if self.above(-far) <= probability:
            return -far
        return float(
            optimize.brentq(lambda score: self.above(score) - probability, -far, far, xtol=1e-12)
        )

    def keep(self, low: float, high: float) -> None:
        """Drop runs whose score is outside."""
        centre, root = self._truth * self._information, math.sqrt(self._information)
        low = max(low, centre - _FAR * root)
        high = max(low, min(high, centre + _FAR * root))
        places = (low + high) / 2 + (high - low) / 2 * self._nodes
        distance = (places[:, None] - self._means) / self._deviation  # (nodes, places before)
        density = np.exp(-0.5 * distance**2) @ self._weights
        density /= self._deviation * math.sqrt(2 * math.pi)
        self._places, self._weights = places, density * self._node_weights * (high - low) / 2


@lru_cache(maxsize=32)
def _rule(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on (-1, 1), from `count` rules side by side."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    starts = np.arange(count)[:, None] * 2 / count - 1
    return (starts + (nodes + 1) / count).ravel(), np.tile(weights / count, count)


def student(bound: float, df: float) -> float:
    """The boundary for an estimated variance: the t quantile of the same tail probability.

    This is the significance level approach of Jennison and Turnbull, section 4.4: exact for one
    look, and close to the level for several.
    """
    from scipy import special

    if not math.isfinite(bound) or df > _NORMAL_DF:
        return bound
    if df <= 0:
        return math.inf
    return float(-special.stdtrit(df, special.ndtr(-bound)))
