"""Numbers of the answer as text: enough digits that no text contradicts the verdict."""

from __future__ import annotations

import math

from orchestrator.decision.answer.answer import Bounded

#: Digits after the point: at first these, and as many as these where the first ones hide a side.
_SCORE_DIGITS, _RATIO_DIGITS, _MOST_DIGITS = 3, 2, 4


def difference_text(value: Bounded | None) -> str:
    """`-0.002 [-0.007, +0.004]`; without the brackets where an end is not known."""
    if value is None or not math.isfinite(value.value):
        return "-"
    ends = _ends(value)
    digits = _digits([value.value, *ends], 0.0, _SCORE_DIGITS)
    # Adding 0.0 turns -0.0 into 0.0.
    return _bracketed(*(f"{round(end, digits) + 0.0:+.{digits}f}" for end in (value.value, *ends)))


def size_text(value: Bounded) -> str:
    """The size of a difference without its sign: `0.002`."""
    return difference_text(Bounded(abs(value.value), value.low, value.high)).split()[0].lstrip("+")


def ratio_text(value: Bounded | None) -> str:
    """`0.90 [0.82, 0.97]`; empty if there is no ratio."""
    if value is None or not math.isfinite(value.value):
        return ""
    ends = _ends(value)
    largest = max(value.value, *ends) if ends else value.value
    if largest >= 10:  # three digits are enough
        return _bracketed(*(f"{end:#.3g}".rstrip(".") for end in (value.value, *ends)))
    digits = _digits([value.value, *ends], 1.0, _RATIO_DIGITS)
    return _bracketed(*(f"{end:.{digits}f}" for end in (value.value, *ends)))


def share_text(ratio: Bounded) -> str:
    """A ratio of minutes in a sentence: `0.90 of the minutes`."""
    return f"{ratio_text(ratio).split()[0]} of the minutes"


def _ends(value: Bounded) -> tuple[float, ...]:
    """Both ends of the interval, or none."""
    if value.low is None or value.high is None:
        return ()
    return (value.low, value.high) if math.isfinite(value.low + value.high) else ()


def _digits(values: list[float], border: float, fewest: int) -> int:
    """So many digits that each value stays on its side of the border."""
    for digits in range(fewest, _MOST_DIGITS):
        if all((round(v, digits) > border) == (v > border)
               and (round(v, digits) < border) == (v < border) for v in values):  # fmt: skip
            return digits
    return _MOST_DIGITS


def _bracketed(value: str, *ends: str) -> str:
    return f"{value} [{', '.join(ends)}]" if ends else value
