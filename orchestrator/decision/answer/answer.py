"""The answer to a sweep's question, which every place shows: terminal, report, MLflow and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["YES", "NO", "NO DIFFERENCE THAT MATTERS", "NOT DECIDED"]


@dataclass(frozen=True)
class Bounded:
    """A number with the interval that belongs to the verdict; None where none is known."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Side:
    """One of the two compared methods.

    Attributes:
        method: its name in `decide.compare`.
        title: its name for people, `annealed PCGrad`.
        configuration: what distinguishes the compared configuration, `λ=0.3 B=950`.
        score: mean of the metric over the seeds that count.
        minutes: per epoch.
        examples: per epoch.
        minutes_to_score: minutes until it first reaches the score that both reach.
        seeds: how many count.
        diverged: how many more diverged.
        score_with_diverged: the mean if a diverged seed counts as a guess; None if none diverged.
    """

    method: str
    title: str
    config_id: str
    configuration: str
    score: float | None = None
    minutes: float | None = None
    examples: float | None = None
    minutes_to_score: float | None = None
    seeds: int = 0
    diverged: int = 0
    score_with_diverged: float | None = None


@dataclass(frozen=True)
class Contest:
    """One method against the baseline.

    Attributes:
        score_state: `reached`, `within`, `better`, `lower` or `open`.
        minutes_state: `fewer`, `not fewer` or `open`.
        difference: of the metric, with the interval that belongs to the verdict.
        minutes_ratio: minutes per epoch over the baseline's.
        to_same_score: minutes to the same score over the baseline's.
        minutes_problem: why the minutes are open, for people.
        look: the look that ended the confirming, from 1; 0 if none was taken.
        problem: why the methods cannot be compared at all.
    """

    one: Side
    other: Side
    verdict: Verdict
    sentence: str
    score_state: str
    minutes_state: str
    difference: Bounded | None = None
    minutes_ratio: Bounded | None = None
    to_same_score: Bounded | None = None
    minutes_problem: str = ""
    look: int = 0
    looks: int = 0
    pairs: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Answer:
    """The answer to a sweep's question.

    Attributes:
        source: which trials decide: `confirming` on fresh seeds, or the `search` itself.
        contests: every method against the baseline; the first one gives the verdict.
        how: how it was decided: `Decided at look 3 of 7, after 8 pairs of fresh seeds.`
        notes: what a reader must know: diverged seeds, what was left out.
        best: the best configuration, in one line.
        plan: if nothing is decided: what to run next, how long it takes, what it will decide.
        next: commands.
    """

    question: str
    ask: Literal["minutes", "score"]
    metric: str
    margin: float
    source: Literal["confirming", "search"]
    contests: list[Contest]
    how: str
    best: str
    notes: list[str] = field(default_factory=list)
    plan: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The first words of the answer."""
        return self.contests[0].verdict if self.contests else "NOT DECIDED"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, with the verdict first."""
        return {"verdict": self.verdict, **asdict(self)}
