"""The plan of the looks, and what each look concludes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: One-sided levels of the test of 0 and of the tests of the margin.
Levels = tuple[float, float]
#: Differences of a method, and the shared variance at each look.
Data = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Design:
    """What is planned.

    Attributes:
        looks: numbers of pairs after which the rule looks.
        margin: a difference up to this size does not matter.
        ask: `minutes` asks whether a method reaches the baseline's score, `score` whether its score
            differs.
        alpha: the probability of a false claim of one kind, both directions together.
    """

    looks: tuple[int, ...]
    margin: float
    ask: Literal["minutes", "score"]
    alpha: float = 0.05

    @property
    def levels(self) -> Levels:
        """One-sided: 0 can be missed in two directions, a margin only on its own side."""
        return self.alpha / 2, self.alpha


@dataclass(frozen=True)
class Look:
    """What the rule concludes at a look.

    Attributes:
        number: from 1.
        planned: pairs that were planned.
        pairs: pairs that count: neither side diverged.
        estimate: the mean difference; NaN without pairs.
        low: lower end of the repeated confidence interval that gave the state; it may be infinite.
        high: its upper end.
        state: `reached`, `within`, `better`, `lower` or `open`.
        final: nothing more is to be trained.
        futile: no answer is likely in the looks that are left.
    """

    number: int
    planned: int
    pairs: int
    estimate: float
    low: float
    high: float
    state: str
    final: bool
    futile: bool
