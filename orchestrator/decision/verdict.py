"""From the states of score and minutes to a verdict, in words that people repeat to colleagues."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.decision.answer import Bounded, Verdict
from orchestrator.decision.words import share_text, size_text

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


@dataclass(frozen=True)
class Finding:
    """What is known of the scores or of the minutes: a state, and the interval behind it."""

    state: str
    value: Bounded | None = None


def sentence_of(
    ask: str, margin: float, score: Finding, minutes: Finding, undecided: str = ""
) -> str:
    """What stands behind the verdict, in one sentence or two.

    Args:
        undecided: why the score is open; by default its interval is too wide.
    """
    scores = _scores(score.state, margin, score.value)
    if score.state == "open" and undecided:
        scores = undecided
    if ask == "score" or (score.state == "lower" and minutes.value is None):
        return f"{scores}."  # minutes are not asked for, or would change nothing
    share = "" if minutes.value is None else share_text(minutes.value)
    if score.state == "open" and minutes.state == "not fewer":  # the minutes alone have answered
        return f"An epoch takes {share}, which is not fewer. {scores}."
    times = {
        "fewer": f"an epoch takes {share}",
        "not fewer": f"an epoch takes {share}, which is not fewer",
        "open": f"an epoch takes {share}, which is too uncertain" if share
        else "fair minutes are not measured",
    }  # fmt: skip
    return f"{scores}, and {times[minutes.state]}."


def _scores(state: str, margin: float, difference: Bounded | None) -> str:
    """What is known of the scores."""
    size = "" if difference is None else size_text(difference)
    low, high = (None, None) if difference is None else (difference.low, difference.high)
    better, lower = low is not None and low > 0, high is not None and high < 0
    equal = f"The scores are equal within {margin:g}"
    if state in ("reached", "within"):
        if better and state == "reached":
            return f"The score is higher by {size}"
        if better or lower:
            return f"{equal} (the difference of {size} is certain, but smaller)"
        bounded = high is not None and high < margin
        return equal if state == "within" or bounded else f"{equal}, or better"
    if state == "open":
        return f"The scores are too uncertain for a margin of {margin:g}"
    return f"The score is {'higher' if state == 'better' else 'lower'} by {size}"
