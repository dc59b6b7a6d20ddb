"""The sections on cost: score against minutes with the frontier, and the best of k tries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from orchestrator.compare.configurations import Row
from orchestrator.compare.output import tables
from orchestrator.compare.results import MethodComparison
from orchestrator.compare.statistics.best_of_k import BestOfK
from orchestrator.compare.statistics.pareto_frontier import Point
from orchestrator.compare.statistics.speed_up import why_not_comparable
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST_CURVES
from orchestrator.report.parts import Figures, Missing, Part, Section, Table, Text
from orchestrator.report.style import Look

_MINUTES = "minutes of training per epoch"
#: Methods that a figure names on its right; more of them stand in a legend.
_BESIDE = 14


def frontier(
    comparison: MethodComparison, rows: Sequence[Row], looks: Mapping[str, Look]
) -> Section:
    """Score against minutes."""
    parts = list(_frontier(comparison, rows, looks))
    return Section("frontier", "Score against minutes", parts)


def best_of_k(comparison: MethodComparison, looks: Mapping[str, Look]) -> Section:
    """What more tries would bring."""
    return Section("best-of-k", "Best of k tries", list(_best_of_k(comparison, looks)))


def _frontier(
    comparison: MethodComparison, rows: Sequence[Row], looks: Mapping[str, Look]
) -> Iterable[Part]:
    if comparison.frontier_problem:
        yield Missing(
            f"No frontier: minutes do not compare ({comparison.frontier_problem}). "
            "orch time measures fair minutes."
        )
        yield Figures([_unfair_minutes(comparison, rows, looks)])
        return
    if not comparison.frontier:
        yield Missing("No frontier: no configuration has both predictions and minutes.")
        return
    yield Text(
        "The minutes come from orch time."
        if comparison.timed
        else "The minutes are the trials' own. No speed-up is claimed from them."
    )
    yield Figures([_fair_minutes(comparison, looks)])
    yield Table(
        "Configurations that no other one beats in both score and minutes. The probability is the "
        "share of bootstrap draws in which that holds. Grey ones may be on the frontier too.",
        tables.frontier_table(comparison),
    )
    if not any(point.knee for point in comparison.frontier):
        yield Missing("No knee: the frontier has fewer than three points or no bend.")


def _fair_minutes(comparison: MethodComparison, looks: Mapping[str, Look]) -> Figure:
    metric, points = comparison.options.metric, comparison.frontier
    ends = sorted((p for p in points if p.on_frontier), key=lambda p: p.minutes)

    methods = dict.fromkeys(p.method for p in [*ends, *points])

    def draw(width: float) -> Canvas:
        beside = _named_beside(len(methods), width)
        height = style.height_of_curves(len(methods), 3.6) if beside else 3.6
        with style.axes(height, width) as (canvas, axes):
            _draw_frontier(axes, ends)
            for method in methods:
                own = [p for p in points if p.method == method]
                _draw_points(axes, "" if beside else method, own, looks[method])
            axes.set_xlabel(_MINUTES)
            axes.set_ylabel(metric)
            axes.margins(0.08)
            if beside:  # each name beside the point that counts most: on the frontier, or the best
                best = {
                    method: max(
                        (p for p in points if p.method == method),
                        key=lambda p: (p.on_frontier, p.score),
                    )
                    for method in methods
                }
                named = {method: (p.minutes, p.score) for method, p in best.items()}
                style.label_ends(axes, named, [looks[m].point_options() for m in named])
        return canvas

    texts = (
        f"{p.label}: {metric} {p.score:.4f} in {p.minutes:.3f} minutes, probability "
        f"{p.probability:.2f}" + (", the knee" if p.knee else "")
        for p in ends
    )
    return Figure(
        "frontier",
        f"{metric} against minutes per epoch",
        f"Frontier of {metric} against minutes per epoch, {len(points)} configurations: "
        f"{'; '.join(texts)}.",
        "Upper left is better. The line joins the configurations that no other one beats (filled "
        "marks), and the crosses are their 95 % intervals. After the knee, more minutes bring "
        "less. Scores are those of the whole dev set, so the best one is a little lucky.",
        draw(style.WIDE),
        draw(style.WIDTH),
    )


def _named_beside(methods: int, width: float) -> bool:
    """Whether names stand on the right of a figure, and not in a legend below it."""
    return width > style.WIDTH and methods <= _BESIDE


def _draw_frontier(axes: Axes, ends: Sequence[Point]) -> None:
    """The line through its points, by rising minutes, their intervals, and the knee's name."""
    axes.step(
        [p.minutes for p in ends], [p.score for p in ends], where="post", color=style.INK,
        linewidth=1, label="frontier",
    )  # fmt: skip
    crosses: dict[str, Any] = {"color": style.INK, "linewidth": 0.7, "zorder": 1.5}
    for point in ends:
        axes.plot(point.minutes_interval, [point.score] * 2, **crosses)
        axes.plot([point.minutes] * 2, point.score_interval, **crosses)
    for point in (point for point in ends if point.knee):
        axes.plot(
            point.minutes, point.score, marker="o", markersize=13, color=style.INK,
            markerfacecolor="none", linestyle="none", label=f"knee: {point.label}",
        )  # fmt: skip


def _draw_points(axes: Axes, method: str, points: Sequence[Point], look: Look) -> None:
    """All configurations of a method; those on the frontier are filled.

    Args:
        method: for the legend; empty if it is named elsewhere.
    """
    hollow = {"markerfacecolor": style.PAPER, "markeredgecolor": look.colour}
    filled = [p for p in points if p.on_frontier]
    for some, label, options in (
        ([p for p in points if not p.on_frontier], None if filled else method or None, hollow),
        (filled, method or None, {}),
    ):
        if some:
            axes.plot(
                [p.minutes for p in some], [p.score for p in some], label=label,
                rasterized=len(some) > style.MANY_POINTS, **look.point_options() | options,
            )  # fmt: skip


def _unfair_minutes(
    comparison: MethodComparison, rows: Sequence[Row], looks: Mapping[str, Look]
) -> Figure:
    """The same in grey, with the minutes as they were recorded."""
    metric, problem = comparison.options.metric, comparison.frontier_problem
    points: dict[str, list[tuple[float, float]]] = {}
    method_of = {
        each.config_id: method.name
        for method in comparison.methods
        for each in method.configurations
    }
    for row in rows:
        scores = {"dev_score": row.dev_score, "dev_mean": row.dev_mean} | row.tasks
        if row.config_id in method_of and metric in scores:
            point = row.minutes_per_epoch.mean, scores[metric].mean
            points.setdefault(method_of[row.config_id], []).append(point)

    def draw(width: float) -> Canvas:
        beside = _named_beside(len(points), width)
        height = style.height_of_curves(len(points), 3.4) if beside else 3.4
        with style.axes(height, width) as (canvas, axes):
            for name in (name for name in looks if name in points):
                axes.plot(
                    *zip(*points[name], strict=True), label=None if beside else name,
                    rasterized=len(points[name]) > style.MANY_POINTS,
                    **looks[name].point_options(grey=True),
                )  # fmt: skip
            style.label_minutes(axes, _MINUTES, problem)
            axes.set_ylabel(metric)
            axes.margins(0.08)
            if beside:
                best = {name: max(points[name], key=lambda p: p[1]) for name in points}
                marks = [looks[name].point_options(grey=True) for name in best]
                style.label_ends(axes, best, marks)
        return canvas

    return Figure(
        "score-against-minutes",
        f"{metric} against minutes that do not compare",
        f"{metric} of {len(rows)} configurations against minutes per epoch, in grey because the "
        f"minutes do not compare: {problem}.",
        f"Grey, because nothing follows from these minutes: {problem}. Means over seeds.",
        draw(style.WIDE),
        draw(style.WIDTH),
    )


def _best_of_k(comparison: MethodComparison, looks: Mapping[str, Look]) -> Iterable[Part]:
    curves: dict[str, list[BestOfK]] = {}
    for point in comparison.best_of_k:
        curves.setdefault(point.method, []).append(point)
    if all(len(curve) == 1 for curve in curves.values()):
        yield Missing("No curve: every method has one configuration, so nothing was searched.")
        return
    shown = {name: curves[name] for name in list(looks)[:MOST_CURVES] if name in curves}
    problem = why_not_comparable(t for method in comparison.methods for t in method.trials)
    axes = (False,) if problem else (False, True)
    yield Figures(
        [
            _curves(comparison, shown, looks, against_minutes=each, alone=bool(problem))
            for each in axes
        ]
    )
    if problem:
        yield Missing(f"Not shown against minutes: they do not compare ({problem}).")


def _curves(
    comparison: MethodComparison,
    curves: Mapping[str, Sequence[BestOfK]],
    looks: Mapping[str, Look],
    *,
    against_minutes: bool,
    alone: bool,
) -> Figure:
    """`alone`: whether no other figure stands beside it."""
    metric = comparison.options.metric

    def draw(width: float) -> Canvas:
        with style.axes(style.height_of_curves(len(curves), 3.2), width) as (canvas, axes):
            ends = {}
            for name, curve in curves.items():
                x = [float(p.minutes or 0) if against_minutes else float(p.k) for p in curve]
                axes.plot(x, [p.value for p in curve], **looks[name].line_options())
                ends[name] = x[-1], curve[-1].value
            if not against_minutes:
                style.label_whole(axes, "k, the number of configurations tried")
            else:
                axes.set_xlabel("minutes of training, all seeds")
            axes.set_ylabel(f"expected best {metric}")
            style.label_ends(axes, ends, [looks[name].point_options() for name in ends])
        return canvas

    last = "; ".join(f"{name} {c[-1].value:.4f} at k = {c[-1].k}" for name, c in curves.items())
    what = "minutes spent" if against_minutes else "configurations tried"
    return Figure(
        "best-of-k-minutes" if against_minutes else "best-of-k",
        f"Expected best {metric} by {what}",
        f"Expected best {metric} by {what}, ends of the curves: {last}.",
        "At the same place on the x axis all methods had the same budget. If a curve still rises "
        "at its end, more tries would help. The curves have no intervals, because intervals of a "
        "maximum cover the truth too seldom.",
        draw(style.WIDE if alone else style.WIDTH),
        draw(style.WIDTH) if alone else None,
    )
