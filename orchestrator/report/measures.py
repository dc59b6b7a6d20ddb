"""What the picture of the question shows: score and minutes of two methods, and a paper's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.compare.methods import counted_metric, has_diverged
from orchestrator.compare.published import MINUTES, Pair
from orchestrator.compare.statistics.scores import limits
from orchestrator.decision.answer.answer import Answer, Bounded, Contest, Side
from orchestrator.decision.answer.minutes import Minutes
from orchestrator.decision.answer.words import difference_text, ratio_text

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.ledger import TrialRecord


@dataclass(frozen=True)
class Measure:
    """One column of the picture, the score or the minutes.

    Attributes:
        own: of method and baseline, with the ends of their intervals where they are known.
        between: the difference or the ratio, with the interval that belongs to the verdict.
        published: the same of the paper's figures; None where the paper has none.
        neutral: where methods are equal: 0 for a difference, 1 for a ratio.
        margin: differences up to this do not matter; 0 where no margin is set.
        range: the lowest and the highest value that a method can have.
    """

    title: str
    between_title: str
    own: tuple[Bounded, Bounded]
    between: Bounded | None
    between_text: str
    published: float | None
    neutral: float
    margin: float
    range: tuple[float, float]


@dataclass(frozen=True)
class Published:
    """A paper's rows of the two compared configurations."""

    source: str
    rows: tuple[Pair, Pair]

    def difference(self, metric: str) -> float | None:
        """The method's figure minus the baseline's; None if one of them is missing."""
        one, other = (row.published.get(metric) for row in self.rows)
        return None if one is None or other is None else one - other

    def ratio(self) -> float | None:
        """Minutes per epoch over the baseline's."""
        one, other = (row.published.get(MINUTES) for row in self.rows)
        return None if one is None or not other else one / other


def published_of(contest: Contest, source: str, pairs: Sequence[Pair]) -> Published | None:
    """A paper's rows of both configurations; None unless it has one for each."""
    rows = [
        next((pair for pair in pairs if pair.config_ids == [side.config_id]), None)
        for side in (contest.one, contest.other)
    ]
    one, other = rows
    return Published(source, (one, other)) if one and other else None


def score_of(
    compared: SweepComparison, answer: Answer, contest: Contest, published: Published | None
) -> Measure | None:
    one, other = contest.one, contest.other
    if one.score is None or other.score is None or compared.methods is None:
        return None
    trials = [*compared.chosen.trials, *compared.chosen.confirming]
    range_ = limits(answer.metric, trials[0].train_config.task_list)
    own = [_with_interval(compared, answer, side, range_) for side in (one, other)]
    return Measure(
        title="dev score" if answer.metric == "dev_score" else answer.metric,
        between_title="difference (95 %)",
        own=(own[0], own[1]),
        between=None if contest.problem else contest.difference,
        between_text="not comparable" if contest.problem else difference_text(contest.difference),
        published=published.difference(answer.metric) if published else None,
        neutral=0.0,
        margin=answer.margin,
        range=range_,
    )


def _with_interval(
    compared: SweepComparison, answer: Answer, side: Side, range_: tuple[float, float]
) -> Bounded:
    """A side's score with its own 95 % interval, cut to the metric's range.

    In the search the interval is that of the method's honest score.  Of fresh seeds it is
    Student's t over the seeds.
    """
    score, methods = side.score or 0.0, compared.methods
    half: tuple[float, float] | None = None
    if answer.source == "confirming":
        half = _of_seeds(compared.chosen.confirming, side.config_id, answer.metric)
    elif methods is not None:
        named = {c.config_id: m.name for m in methods.methods for c in m.configurations}
        names = (side.method, named.get(side.config_id))
        standing = next((s for s in methods.standings if s.method in names and s.scores), None)
        if standing is not None and answer.metric in standing.scores:
            honest = standing.scores[answer.metric]
            if honest.low is not None and honest.high is not None and side.seeds > 1:
                half = honest.value - honest.low, honest.high - honest.value
    return within(score, half, range_)


def within(value: float, half: tuple[float, float] | None, range_: tuple[float, float]) -> Bounded:
    """A value with its interval, cut to what it can be; `half` is None where it is not known."""
    if half is None:
        return Bounded(value)
    return Bounded(value, max(range_[0], value - half[0]), min(range_[1], value + half[1]))


def _of_seeds(
    trials: Sequence[TrialRecord], config_id: str, metric: str
) -> tuple[float, float] | None:
    """Half the width of an interval over seeds, below and above; None for a single seed."""
    from scipy import special

    values = [
        counted_metric(trial, metric)
        for trial in trials
        if trial.status == "complete"
        and trial.records
        and trial.identity.get("config_id") == config_id
        and not has_diverged(trial)
    ]
    if len(values) < 2:
        return None
    quantile = float(special.stdtrit(len(values) - 1, 0.975))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return half, half


def minutes_of(minutes: Minutes, contest: Contest, published: Published | None) -> list[Measure]:
    one, other = minutes.bounds(contest.one.config_id, contest.other.config_id)
    if one is None or other is None:
        return []
    return [
        Measure(
            title="minutes per epoch",
            between_title="ratio (95 %)",
            own=(one, other),
            between=contest.minutes_ratio,
            between_text=ratio_text(contest.minutes_ratio) or "not measured alone",
            published=published.ratio() if published else None,
            neutral=1.0,
            margin=0.0,
            range=(0.0, math.inf),
        )
    ]
