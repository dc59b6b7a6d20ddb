"""What a comparison is asked; light, so that a wrong option is told before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """What is compared: `metric` decides, `margin` is how much of it does not matter.

    `methods`: only those that these begin, beside the baseline; empty for all.
    """

    metric: str = "dev_score"
    by: tuple[str, ...] = ()
    baseline: str = ""
    methods: tuple[str, ...] = ()
    margin: float = 0.005
    seed: int = 0
    replicates: int = 2000
