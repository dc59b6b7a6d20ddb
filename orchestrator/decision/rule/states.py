"""Which state an estimate and its half widths give, and which estimates would give an answer."""

from __future__ import annotations

import math

from orchestrator.decision.rule.design import Design
from orchestrator.decision.rule.repeated_intervals import HalfWidths


def state_of(design: Design, estimate: float, width: HalfWidths) -> tuple[str, float, float]:
    """The state, and the interval that belongs to it.

    An end that gave the state is that of its test.  The other end is the wider one of both tests,
    so that the interval never claims more than the state.
    """
    wider = max(width.zero, width.margin)
    if design.ask == "minutes":
        if estimate - width.margin > -design.margin:
            return "reached", estimate - width.margin, estimate + width.margin
        if estimate - width.zero > 0:
            return "reached", estimate - width.zero, estimate + wider
    elif abs(estimate) + width.margin < design.margin:
        return "within", estimate - width.margin, estimate + width.margin
    elif estimate - width.zero > 0:
        return "better", estimate - width.zero, estimate + wider
    if estimate + width.zero < 0:
        return "lower", estimate - wider, estimate + width.zero
    return "open", estimate - wider, estimate + wider


def answers_of(design: Design, width: HalfWidths) -> list[tuple[float, float]]:
    """The ranges of an estimate that answer, at a look with these half widths."""
    lower = (-math.inf, -width.zero)
    if design.ask == "minutes":
        reached = min(width.zero, width.margin - design.margin)
        return [(-math.inf, math.inf)] if reached < -width.zero else [lower, (reached, math.inf)]
    inside = design.margin - width.margin
    if inside > width.zero:
        return [(-math.inf, math.inf)]
    return [lower, (-inside, inside), (width.zero, math.inf)]
