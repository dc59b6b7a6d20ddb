"""Learning curves of each method's best configuration: over three x axes, and task by task."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.compare.diagnostics.conflicts import Row
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST_CURVES, methods_of
from orchestrator.report.parts import Figures, Heading, Missing, Part, Section, Text
from orchestrator.report.style import Look

#: A row's key -> the label of the axis.
AXES = {
    "minutes": "minutes of training so far",
    "updates": "updates so far",
    "examples": "examples so far",
}
_CAPTIONS = {
    "minutes": "What counts in the end: which method is higher after the same minutes of training. "
    "The minutes are those of the trials.",
    "updates": "The same curves by optimiser steps. An update of several tasks costs more than an "
    "update of one task.",
    "examples": "The same curves by sentences seen: which method learns most from the same data.",
    "epoch": "The task's dev metric after every epoch. Each sampler defines how long its epoch is.",
}


def section(
    rows: Sequence[Row], metrics: Sequence[str], minutes_problem: str, looks: Mapping[str, Look]
) -> Section:
    """How the best configurations reached their scores.

    Args:
        rows: `progress` of `MethodComparison.diagnostics()`.
        metrics: the compared metric, then the tasks.
        minutes_problem: why the rows' minutes do not compare; empty if they do.
    """
    parts = list(_parts(rows, metrics, minutes_problem, looks))
    return Section("learning-curves", "Learning curves", parts)


def _parts(
    rows: Sequence[Row], metrics: Sequence[str], minutes_problem: str, looks: Mapping[str, Look]
) -> Iterable[Part]:
    methods = methods_of(rows, looks)
    shown = {name: [row for row in rows if row["method"] == name] for name in methods[:MOST_CURVES]}
    if not shown:
        yield Missing("No learning curve: no complete trial.")
        return
    most = min(MOST_CURVES, len(methods))
    more = f" The best {most} of {len(methods)} methods." if most < len(methods) else ""
    yield Text(
        "Each method's best configuration: the line is the mean over its seeds, the band their "
        f"range.{more}"
    )
    if all(row["epoch"] == 1 for method in shown.values() for row in method):
        yield Missing("One epoch: points, no curves.")
    metric, *tasks = metrics
    problems = {"minutes": minutes_problem}
    yield Figures([_curves(shown, metric, x, looks, problems.get(x, "")) for x in AXES])
    if tasks:
        yield Heading("Every task", "learning-curves-tasks")
        yield Figures([_curves(shown, task, "epoch", looks) for task in tasks])


def _curves(
    shown: Mapping[str, Sequence[Row]],
    metric: str,
    x: str,
    looks: Mapping[str, Look],
    problem: str = "",
) -> Figure:
    """`problem`: why minutes do not compare; the curves are then grey."""
    label = AXES.get(x, x)
    ends, last = [], {}
    with style.axes(style.height_of_curves(len(shown), 3.0)) as (canvas, axes):
        for name, rows in shown.items():
            points = _by_epoch(rows, x, metric)
            if not points:
                continue
            xs, means, lows, highs = (list(column) for column in zip(*points, strict=True))
            options = looks[name].line_options(grey=bool(problem))
            axes.plot(xs, means, markevery=max(1, len(xs) // 8), **options)
            if lows != highs:
                axes.fill_between(xs, lows, highs, color=options["color"], alpha=0.13, linewidth=0)
            ends.append(f"{name} {means[-1]:.4f} at {xs[-1]:,.4g}")
            last[name] = float(xs[-1]), float(means[-1])
        style.label_minutes(axes, label, problem)
        if x == "epoch":
            style.label_whole(axes, "epoch")
        axes.set_ylabel(metric)
        marks = [looks[name].point_options(grey=bool(problem)) for name in last]
        style.label_ends(axes, last, marks)
    grey = f" Grey, because the minutes do not compare: {problem}." if problem else ""
    return Figure(
        f"progress-{metric}-{x}",
        f"{metric} by {label}",
        f"{metric} by {label} of {len(ends)} methods; last points: {'; '.join(ends)}.",
        _CAPTIONS[x] + grey,
        canvas,
    )


def _by_epoch(rows: Sequence[Row], x: str, metric: str) -> list[tuple[float, float, float, float]]:
    """x, mean, lowest and highest score over the seeds, for the epochs that all seeds have."""
    epochs: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        score = row.get(metric, row["tasks"].get(metric))
        if score is not None:
            epochs.setdefault(row["epoch"], []).append((row[x], float(score)))
    seeds = max(map(len, epochs.values()), default=0)
    points = []
    for _, pairs in sorted(epochs.items()):
        if len(pairs) == seeds:
            xs, scores = zip(*pairs, strict=True)
            points.append(
                (statistics.fmean(xs), statistics.fmean(scores), min(scores), max(scores))
            )
    return points
