"""From the states of score and minutes to a verdict, in words that people repeat to colleagues."""

from __future__ import annotations

from orchestrator.decision.answer import Bounded, Verdict

#: A ratio of minutes inside these bounds is no difference that matters.
_SAME = (0.95, 1.05)

#: `ask: minutes`: (state of the score, state of the minutes) -> verdict.
_MINUTES: dict[tuple[str, str], Verdict] = {
    ("reached", "fewer"): "YES",
    ("reached", "not fewer"): "NO",
    ("reached", "open"): "NOT DECIDED",
    ("lower", "fewer"): "NO",
    ("lower", "not fewer"): "NO",
    ("lower", "open"): "NO",
    ("open", "fewer"): "NOT DECIDED",
    ("open", "not fewer"): "NO",
    ("open", "open"): "NOT DECIDED",
}
#: `ask: score`: state of the score -> verdict.
_SCORE: dict[str, Verdict] = {
    "within": "NO DIFFERENCE THAT MATTERS",
    "better": "YES",
    "lower": "NO",
    "open": "NOT DECIDED",
}


def minutes_state(ratio: Bounded | None) -> str:
    """`fewer`, `not fewer` or `open`, from the ratio of minutes per epoch to the baseline's."""
    if ratio is None or ratio.low is None or ratio.high is None:
        return "open"
    if ratio.high < 1:
        return "fewer"
    if ratio.low > 1 or (_SAME[0] <= ratio.low and ratio.high <= _SAME[1]):
        return "not fewer"
    return "open"


def score_state(ask: str, difference: Bounded | None, margin: float) -> str:
    """The state of the score, from an interval: the words of `orchestrator.decision.looks`."""
    if difference is None or difference.low is None or difference.high is None:
        return "open"
    if ask == "minutes":
        if difference.low > -margin:
            return "reached"
        return "lower" if difference.high < 0 else "open"
    if -margin < difference.low and difference.high < margin:
        return "within"
    if difference.low > 0:
        return "better"
    return "lower" if difference.high < 0 else "open"


def verdict_of(ask: str, score: str, minutes: str) -> Verdict:
    """The verdict; its words come from a closed set."""
    return _MINUTES[score, minutes] if ask == "minutes" else _SCORE[score]


def sentence_of(
    ask: str,
    score: str,
    minutes: str,
    margin: float,
    difference: Bounded | None,
    ratio: Bounded | None,
) -> str:
    """What stands behind the verdict, in one sentence."""
    size = "" if difference is None else f"{abs(difference.value):.3f}"
    better = difference is not None and difference.low is not None and difference.low > 0
    lower = difference is not None and difference.high is not None and difference.high < 0
    scores = {
        "reached": f"The score is higher by {size}" if better
        else f"The score is lower by {size}, less than the margin of {margin:g}" if lower
        else f"The score is equal within {margin:g}, or better",
        "within": f"The scores are equal within {margin:g}"
        + (f" (the difference of {size} is certain, but smaller)" if better or lower else ""),
        "better": f"The score is higher by {size}",
        "lower": f"The score is lower by {size}",
        "open": f"The scores are too uncertain for a margin of {margin:g}",
    }  # fmt: skip
    if ask == "score":
        return f"{scores[score]}."
    share = "" if ratio is None else f"{ratio.value:.2f} of the minutes"
    times = {
        "fewer": f"an epoch takes {share}",
        "not fewer": f"an epoch takes {share}, which is not fewer",
        "open": f"an epoch takes {share}, which is too uncertain" if share
        else "fair minutes are not measured",
    }  # fmt: skip
    return f"{scores[score]}, and {times[minutes]}."
