"""Schedules: a factor on the learning rate after the warm-up, from the share of updates left.

They fall as those of transformers do (`get_constant_`, `get_linear_` and
`get_cosine_schedule_with_warmup`).  The warm-up rises one update earlier than theirs, whose first
update has the rate 0 and moves nothing.
"""

from __future__ import annotations

import math


def constant(left: float) -> float:
    """The rate stays as it is."""
    return 1.0


def linear(left: float) -> float:
    """The factor is the share of updates that is left, from 1 to 0."""
    return left


def cosine(left: float) -> float:
    """Half a period of the cosine, from 1 to 0 (Loshchilov and Hutter 2017, equation 5)."""
    return 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
