"""What must hold, in this order; each check returns what it has seen."""

from __future__ import annotations

from collections.abc import Callable

from check_inputs import doctor_agrees, kinds_differ, smoke, wrong_inputs_end
from check_stack import comes_up, confined, published, tokens
from check_sweep import submitted, survives_down_and_up, sweep_survives
from cluster import Cluster

CHECKS: list[Callable[[Cluster], str]] = [
    comes_up, confined, published, tokens, doctor_agrees, smoke, wrong_inputs_end, kinds_differ,
    sweep_survives, survives_down_and_up, submitted,
]  # fmt: skip
