"""What a report's words mean, for readers who see them for the first time."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Short names of papers -> their titles, as docs/reference/methods.md lists them.
PAPERS = {
    "P0": "Post-Op BERT: Improving Gradient-Surgery on Imbalanced Data",
    "P1": "minBERT and multi-task training with gradient surgery",
    "P2": "Gradient descent in multi-task learning",
    "P3": "Triple-batch versus proportional sampling",
    "P4": "Smooth valleys: SMART and a rich relational layer",
}
_SHORT = re.compile(r"\bP[0-4]\b")
#: A word as it stands in titles, labels and tables -> its meaning.
WORDS = {
    "dev score": "the mean of the tasks' metrics on the dev set, from 0 to 1 (a correlation r "
    "enters as (r + 1) / 2)",
    "ARRP": "alternating round-robin PCGrad. An epoch first takes a batch of every task in each "
    "step, then it trains the largest task alone",
    "annealed": "tasks are drawn in proportion to their data at first, and more evenly later",
    "PCGrad": "where two tasks' gradients conflict (point against each other), it removes the "
    "conflicting part before it adds them up",
    "λ": "the factor on the loss of the part that trains the largest task alone",
    "B": "how many examples that part has, or an epoch where a method has no such part",
    "F": "what that part freezes",
    "margin": "a difference up to the margin does not matter",
    "fresh seeds": "seeds that the search did not use, so no configuration was chosen by them",
    "to same score": "minutes of training until a method first reaches the score that both reach",
    "pairs": "trainings of both methods with the same seed",
    "look": "a planned moment at which the fresh seeds may end the sweep",
    "95 %": "the interval covers the true value in 95 of 100 such sweeps",
}


def of_papers(text: str) -> str:
    """A text with the title behind the first mention of each paper's short name."""
    seen: set[str] = set()

    def named(match: re.Match[str]) -> str:
        if match[0] in seen:
            return match[0]
        seen.add(match[0])
        return f"{match[0]} (“{PAPERS[match[0]]}”)"

    return _SHORT.sub(named, text)


def used_in(texts: Iterable[str]) -> list[tuple[str, str]]:
    """The words that stand in some text, with their meanings."""
    text = "\n".join(texts)
    return [(word, meaning) for word, meaning in WORDS.items() if _stands(word, text)]


def _stands(word: str, text: str) -> bool:
    after = "=" if len(word) == 1 else r"(?!\w)"
    return re.search(rf"(?<!\w){re.escape(word)}{after}", text) is not None
