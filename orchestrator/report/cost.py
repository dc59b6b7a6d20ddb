"""What a score costs: score against minutes with the frontier, the best of k tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from orchestrator.compare.configurations import Row
from orchestrator.compare.output import tables
from orchestrator.compare.results import MethodComparison
from orchestrator.compare.statistics.best_of_k import BestOfK
from orchestrator.compare.statistics.pareto_frontier import Point
from orchestrator.compare.statistics.speed_up import why_not_comparable
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST
from orchestrator.report.parts import Figures, Missing, Section, Table, Text
from orchestrator.report.style import Look


def sections(
    found: MethodComparison, rows: Sequence[Row], looks: Mapping[str, Look]
) -> list[Section]:
    """Score against minutes; the best of k tries."""
    return [_frontier(found, rows, looks), _best_of_k(found, looks)]


def _frontier(found: MethodComparison, rows: Sequence[Row], looks: Mapping[str, Look]) -> Section:
    section = Section("frontier", "Score against minutes")
    if found.frontier_problem:
        section.parts.append(
            Missing(f"No frontier: minutes do not compare ({found.frontier_problem}). "
                    "orch time takes fair ones.")
        )  # fmt: skip
        section.parts.append(Figures([_unfair(found, rows, looks)]))
    elif not found.frontier:
        section.parts.append(Missing("No frontier: no configuration has predictions and minutes."))
    else:
        whose = "orch time's" if found.timed else "the trials' own, and make no speed-up"
        section.parts.append(Text(f"The minutes are {whose}."))
        section.parts.append(Figures([_fair(found, looks)]))
        caption = (
            "Configurations that no other one beats in score and minutes; probability: in how many "
            "of the bootstrap's draws. Grey ones may be on it too."
        )
        section.parts.append(Table.of(tables.frontier_sheet(found), caption))
        if not any(point.knee for point in found.frontier):
            section.parts.append(
                Missing("No knee: the frontier has fewer than three points or no bend.")
            )
    return section


def _fair(found: MethodComparison, looks: Mapping[str, Look]) -> Figure:
    metric = found.question.metric
    points = found.frontier
    ends = sorted((p for p in points if p.on_frontier), key=lambda p: p.minutes)
    with style.styled():
        drawn, axes = style.axes(3.6)
        axes.step(
            [p.minutes for p in ends], [p.score for p in ends], where="post", color=style.INK,
            linewidth=1, label="frontier",
        )  # fmt: skip
        for method in dict.fromkeys(p.method for p in points):
            _points(axes, method, [p for p in points if p.method == method], looks[method])
        for point in ends:
            _bars(axes, point)
        for point in points:
            if point.knee:
                axes.annotate(
                    f"knee: {style.shortened(point.label, 30)}", (point.minutes, point.score),
                    xytext=(8, -16), textcoords="offset points", fontsize=9.5,
                    arrowprops={"arrowstyle": "-", "color": style.INK, "linewidth": 0.7},
                )  # fmt: skip
        axes.set_xlabel("minutes of training an epoch")
        axes.set_ylabel(metric)
        axes.margins(0.08)
        style.with_legend(drawn, axes)
    told = "; ".join(
        f"{p.label}: {metric} {p.score:.4f} in {p.minutes:.3f} minutes, probability "
        f"{p.probability:.2f}" + (", the knee" if p.knee else "")
        for p in ends
    )
    return Figure(
        "frontier",
        f"{metric} against minutes an epoch",
        f"Frontier of {metric} against minutes an epoch, {len(points)} configurations: {told}.",
        "Upper left is better. The line joins the configurations that no other one beats, the "
        "crosses are their 95 % intervals; filled marks are on the frontier. Behind the knee more "
        "minutes bring less. Scores are the whole dev set's: the best one is a little lucky.",
        drawn,
    )


def _points(axes: Axes, method: str, points: Sequence[Point], look: Look) -> None:
    """All configurations of a method; those on the frontier filled."""
    for on, label in ((False, None), (True, method)):
        some = [p for p in points if p.on_frontier is on]
        if not on:
            label = None if any(p.on_frontier for p in points) else method
        options = look.point_options()
        if not on:
            options |= {"markerfacecolor": style.PAPER, "markeredgecolor": look.colour}
        if some:
            axes.plot(
                [p.minutes for p in some], [p.score for p in some], label=label,
                rasterized=len(some) > style.MANY_POINTS, **options,
            )  # fmt: skip


def _bars(axes: Axes, point: Point) -> None:
    options: dict[str, Any] = {"color": style.INK, "linewidth": 0.7, "zorder": 1.5}
    axes.plot(point.minutes_interval, [point.score] * 2, **options)
    axes.plot([point.minutes] * 2, point.score_interval, **options)


def _unfair(found: MethodComparison, rows: Sequence[Row], looks: Mapping[str, Look]) -> Figure:
    """The same in grey: minutes as they were, without a claim."""
    method_of = {
        each.config_id: method.name for method in found.methods for each in method.configurations
    }
    metric = found.question.metric
    names = [name for name in looks if name in set(method_of.values())]
    with style.styled():
        drawn, axes = style.axes(3.4)
        for name in names:
            points = [
                (row.minutes_per_epoch.mean, score)
                for row in rows
                if method_of.get(row.config_id) == name
                and (score := _score(row, metric)) is not None
            ]
            axes.plot(
                *zip(*points, strict=True), label=name, rasterized=len(points) > style.MANY_POINTS,
                **looks[name].point_options(grey=True),
            )  # fmt: skip
        axes.set_xlabel("minutes of training an epoch, not comparable:\n"
                        + style.wrapped(found.frontier_problem), color=style.SOFT)  # fmt: skip
        axes.set_ylabel(metric)
        axes.margins(0.08)
        style.with_legend(drawn, axes)
    return Figure(
        "score-against-minutes",
        f"{metric} against minutes that do not compare",
        f"{metric} of {len(rows)} configurations against minutes an epoch, in grey "
        f"because the minutes do not compare: {found.frontier_problem}.",
        f"Grey, because nothing follows from these minutes: {found.frontier_problem}. Means over "
        "seeds.",
        drawn,
    )


def _score(row: Row, metric: str) -> float | None:
    """The row's mean of the metric; None where its trials have none."""
    found = ({"dev_score": row.dev_score, "dev_mean": row.dev_mean} | row.tasks).get(metric)
    return None if found is None else found.mean


def _best_of_k(found: MethodComparison, looks: Mapping[str, Look]) -> Section:
    section = Section("best-of-k", "Best of k tries")
    curves: dict[str, list[BestOfK]] = {}
    for point in found.best_of_k:
        curves.setdefault(point.method, []).append(point)
    searched = {name: curve for name, curve in curves.items() if len(curve) > 1}
    if not searched:
        section.parts.append(
            Missing("No curve: every method has one configuration, nothing was searched.")
        )
        return section
    shown = {name: curves[name] for name in list(looks)[:MOST] if name in curves}
    drawn = [_curves(found, shown, looks, against_minutes=False)]
    problem = why_not_comparable(t for method in found.methods for t in method.trials)
    if not problem:
        drawn.append(_curves(found, shown, looks, against_minutes=True))
    section.parts.append(Figures(drawn))
    if problem:
        section.parts.append(
            Missing(f"Not drawn against minutes: they do not compare ({problem}).")
        )
    return section


def _curves(
    found: MethodComparison, curves: Mapping[str, Sequence[BestOfK]], looks: Mapping[str, Look],
    *, against_minutes: bool,
) -> Figure:  # fmt: skip
    metric = found.question.metric
    with style.styled():
        drawn, axes = style.axes(3.2)
        for name, curve in curves.items():
            x = [float(p.minutes or 0) if against_minutes else float(p.k) for p in curve]
            axes.plot(x, [p.value for p in curve], label=name, **looks[name].line_options())
            axes.fill_between(
                x, [p.low for p in curve], [p.high for p in curve], color=looks[name].colour,
                alpha=0.13, linewidth=0,
            )  # fmt: skip
        if not against_minutes:
            axes.set_xticks(sorted({p.k for curve in curves.values() for p in curve}))
        unit = "minutes of training for k configurations, all seeds" if against_minutes else "k"
        axes.set_xlabel(unit)
        axes.set_ylabel(f"expected best {metric}")
        style.with_legend(drawn, axes)
    last = "; ".join(f"{name} {c[-1].value:.4f} at k = {c[-1].k}" for name, c in curves.items())
    what = "minutes spent" if against_minutes else "configurations tried"
    return Figure(
        "best-of-k-minutes" if against_minutes else "best-of-k",
        f"Expected best {metric} by {what}",
        f"Expected best {metric} by {what}, ends of the curves: {last}.",
        "At the same place on the x axis methods had the same budget. A curve that still rises "
        "was not searched to its end; bands are 95 % bootstrap intervals over configurations.",
        drawn,
    )
