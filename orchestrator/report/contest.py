"""The picture of the sweep's question: score and minutes of two methods, and their difference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from orchestrator.compare.methods import counted_metric, has_diverged
from orchestrator.compare.published import MINUTES, Pair
from orchestrator.compare.statistics.scores import limits
from orchestrator.decision.answer.answer import Answer, Bounded, Contest, Side
from orchestrator.decision.answer.minutes import Minutes
from orchestrator.decision.answer.words import difference_text, ratio_text
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.style import Look

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.ledger import Ledger, TrialRecord

#: Places of the two methods, the difference and the published difference on the y axes.
_METHODS, _OURS, _THEIRS = (1.0, 0.0), 0.0, -1.0


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


def picture(
    ledger: Ledger,
    compared: SweepComparison,
    answer: Answer,
    published: Published | None,
    looks: Mapping[str, Look],
) -> Figure | None:
    """The picture of the first contest; None if a method has no score.

    Args:
        looks: of all methods, by their names.
    """
    if not answer.contests or compared.methods is None:
        return None
    contest = answer.contests[0]
    sides = (contest.one, contest.other)
    score = _score(compared, answer, contest, published)
    if score is None:
        return None
    minutes = Minutes(ledger, [*compared.chosen.trials, *compared.chosen.confirming])
    measures = [score, *_minutes(minutes, contest, published)]
    method_of = {c.config_id: m.name for m in compared.methods.methods for c in m.configurations}
    spare = style.looks(side.method for side in sides)
    chosen = [looks.get(method_of.get(s.config_id, ""), spare[s.method]) for s in sides]
    if chosen[0] == chosen[1]:  # two configurations of one method
        chosen = [spare[side.method] for side in sides]
    titles = [side.title for side in sides]
    with style.styled():
        canvas = style.canvas(3.35 + (0.45 if published else 0.0))
        grid = canvas.subplots(
            2, len(measures), squeeze=False, height_ratios=(2.0, 2.1 if published else 1.2)
        )
        for column, measure in enumerate(measures):
            _own(grid[0, column], measure, titles, chosen)
            _between(grid[1, column], measure, published is not None)
    texts = [
        f"{m.title}: {titles[0]} {_text(m.own[0])}, {titles[1]} {_text(m.own[1])}, "
        f"{m.between_title} {m.between_text}"
        + ("" if m.published is None else f", published {_signed(m)}")
        for m in measures
    ]
    return Figure(
        "contest",
        f"{titles[0]} against {titles[1]}",
        f"{titles[0]} against {titles[1]}. {'; '.join(texts)}.",
        _caption(answer, contest, minutes, published),
        canvas,
    )


def _caption(
    answer: Answer, contest: Contest, minutes: Minutes, published: Published | None
) -> str:
    ids = contest.one.config_id, contest.other.config_id
    seeds = f"{contest.one.seeds} {'fresh ' if answer.source == 'confirming' else ''}seeds"
    sentences = [f"Points: means over {seeds}. Lines: 95 % intervals"]
    if contest.one.minutes is not None and not minutes.timed(*ids):
        sentences[0] += ", for minutes the lowest and the highest of the trials"
    sentences[0] += "."
    if contest.difference is not None:
        sentences.append(
            f"The lower row decides. Grey: a difference up to {answer.margin:g} does not matter."
        )
    if published:
        sentences.append("Diamonds: the paper's figures.")
    return " ".join(sentences)


def _score(
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


def _minutes(minutes: Minutes, contest: Contest, published: Published | None) -> list[Measure]:
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


def _own(axes: Axes, measure: Measure, titles: Sequence[str], looks: Sequence[Look]) -> None:
    """Both methods, each with its name and value above it."""
    _bare(axes, (-0.45, 1.95))
    for place, title, look, value in zip(_METHODS, titles, looks, measure.own, strict=True):
        _point(axes, place, value, look)
        _above(axes, place, f"{style.shortened(title, 20)}  {_number(value.value)}", "bold")
    axes.set_title(measure.title, loc="left", fontsize=10)
    _within(axes, [end for value in measure.own for end in _ends(value)], measure.range)


def _between(axes: Axes, measure: Measure, published: bool) -> None:
    """The difference or ratio, and below it the paper's."""
    _bare(axes, (_THEIRS - 0.45 if published else -0.6, 0.75))
    axes.set_title(measure.between_title, loc="left", fontsize=10)
    rows = {_OURS: measure.between_text}
    ends = [measure.neutral - measure.margin, measure.neutral + measure.margin]
    if measure.between is not None and math.isfinite(measure.between.value):
        _point(axes, _OURS, measure.between, Look(style.INK, "o", "-"))
        ends += _ends(measure.between)
    if measure.published is not None:
        axes.plot(
            measure.published, _THEIRS, marker="D", color=style.INK, linestyle="none",
            markerfacecolor=style.PAPER,
        )  # fmt: skip
        rows[_THEIRS] = f"published: {_signed(measure)}"
        ends.append(measure.published)
    for place, text in rows.items():
        _above(axes, place, text)
    if len(ends) == 2:  # nothing was measured
        axes.set_axis_off()
        return
    # The band and the line end below the texts.
    for place in rows:
        bottom, top = place - 0.3, place + 0.17
        axes.fill_between(ends[:2], bottom, top, color=style.GRID, linewidth=0, zorder=0)
        axes.vlines(measure.neutral, bottom, top, color=style.INK, linewidth=0.8, zorder=1)
    axes.grid(False)
    _within(axes, ends, (-math.inf, math.inf))


def _point(axes: Axes, place: float, value: Bounded, look: Look) -> None:
    low, *rest = _ends(value)
    if rest:
        axes.plot([low, rest[-1]], [place, place], color=look.colour)
    axes.plot(value.value, place, **look.point_options())


def _above(axes: Axes, place: float, text: str, weight: str = "normal") -> None:
    """A text on the left, above its row."""
    axes.text(
        0.0, place + 0.2, text, transform=axes.get_yaxis_transform(), va="bottom", fontsize=9,
        weight=weight,
    )  # fmt: skip


def _bare(axes: Axes, ends: tuple[float, float]) -> None:
    axes.set_ylim(*ends)
    axes.set_yticks([])
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def _within(axes: Axes, ends: Sequence[float], range_: tuple[float, float]) -> None:
    """The axis shows these values and a little more, but nothing that cannot be."""
    low, high = min(ends), max(ends)
    space = 0.12 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_xlim(max(range_[0], low - space), min(range_[1], high + space))
    style.few_ticks(axes, 3)


def _ends(value: Bounded) -> list[float]:
    """Low end, value and high end; the value alone where an end is not known."""
    ends = (value.low, value.value, value.high)
    known = [end for end in ends if end is not None and math.isfinite(end)]
    return known if len(known) == 3 else [value.value]


def _number(value: float) -> str:
    return f"{value:#.3g}" if abs(value) < 100 else f"{value:,.0f}"


def _text(value: Bounded) -> str:
    low, *rest = _ends(value)
    interval = f" [{_number(low)}, {_number(rest[-1])}]" if rest else ""
    return f"{_number(value.value)}{interval}"


def _signed(measure: Measure) -> str:
    value = measure.published or 0.0
    return f"{value:+.3f}" if measure.neutral == 0 else f"{value:.2f}"
