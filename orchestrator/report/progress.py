"""Learning curves of each method's best configuration: three x axes, and every task by itself."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.compare.diagnostics.conflicts import Row
from orchestrator.report import style
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST
from orchestrator.report.parts import Figures, Heading, Missing, Section, Text
from orchestrator.report.style import Look

#: A row's key -> what stands at the axis.
AXES = {
    "minutes": "minutes of training so far",
    "updates": "updates so far",
    "examples": "examples so far",
}


def section(
    rows: Sequence[Row],
    metrics: Sequence[str],
    minutes_problem: str,
    looks: Mapping[str, Look],
) -> Section:
    """How the best configurations got where they are.

    Args:
        rows: `progress` of `MethodComparison.why()`.
        metrics: the one in question, then the tasks.
        minutes_problem: why the rows' minutes do not compare; empty if they do.
    """
    metric, tasks = metrics[0], metrics[1:]
    made = Section("learning-curves", "Learning curves")
    methods = [name for name in looks if any(row["method"] == name for row in rows)]
    shown = {name: [row for row in rows if row["method"] == name] for name in methods[:MOST]}
    if not shown:
        made.parts.append(Missing("No learning curve: no complete trial."))
        return made
    text = "Each method's best configuration: the mean over its seeds, and their range as a band."
    if len(methods) > MOST:
        text += f" The best {MOST} of {len(methods)} methods."
    made.parts.append(Text(text))
    if all(row["epoch"] == 1 for found in shown.values() for row in found):
        made.parts.append(Missing("One epoch: points, no curves."))
    made.parts.append(
        Figures([_curve(shown, metric, x, looks, minutes_problem) for x in AXES])
    )  # fmt: skip
    if tasks:
        made.parts.append(Heading("Every task", "learning-curves-tasks"))
        made.parts.append(Figures([_curve(shown, task, "epoch", looks) for task in tasks]))
    return made


def _curve(
    shown: Mapping[str, Sequence[Row]],
    metric: str,
    x: str,
    looks: Mapping[str, Look],
    minutes_problem: str = "",
) -> Figure:
    problem = minutes_problem if x == "minutes" else ""
    ends = []
    with style.styled():
        drawn, axes = style.axes(3.0)
        for name, rows in shown.items():
            points = _by_epoch(rows, x, metric)
            if not points:
                continue
            xs, means, lows, highs = (list(column) for column in zip(*points, strict=True))
            options = looks[name].line_options(grey=bool(problem))
            axes.plot(xs, means, label=name, markevery=max(1, len(xs) // 8), **options)
            if any(low < high for low, high in zip(lows, highs, strict=True)):
                axes.fill_between(
                    xs, lows, highs, color=options["color"], alpha=0.13, linewidth=0
                )  # fmt: skip
            ends.append(f"{name} {means[-1]:.4f} at {xs[-1]:,.4g}")
        label = AXES.get(x, x)
        if problem:
            axes.set_xlabel(
                f"{label}, not comparable:\n{style.wrapped(problem)}", color=style.SOFT
            )  # fmt: skip
        else:
            axes.set_xlabel(label)
        if x == "epoch":
            style.whole_numbers(axes)
        axes.set_ylabel(metric)
        style.with_legend(drawn, axes)
    grey = (
        f" Grey, because the minutes do not compare: {problem}." if problem else ""
    )  # fmt: skip
    return Figure(
        f"progress-{metric}-{x}",
        f"{metric} by {label}",
        f"{metric} by {label} of {len(ends)} methods; last points: {'; '.join(ends)}.",
        _CAPTIONS[x] + grey,
        drawn,
    )


_CAPTIONS = {
    "minutes": "What counts in the end: who is higher at the same minutes of training. "
    "They are the trials' own.",
    "updates": "The same curves by optimiser steps: an update of several tasks costs more than one "
    "of a single task.",
    "examples": "The same curves by sentences seen: who learns most from the same data.",
    "epoch": "The task's dev metric behind every epoch, each an epoch as its sampler defines it.",
}


def _by_epoch(rows: Sequence[Row], x: str, metric: str) -> list[tuple[float, float, float, float]]:
    """x, mean, lowest and highest of the seeds, for epochs that all seeds have."""
    epochs: dict[int, list[Row]] = {}
    for row in rows:
        if _value(row, metric) is not None:
            epochs.setdefault(row["epoch"], []).append(row)
    seeds = max((len(found) for found in epochs.values()), default=0)
    points = []
    for _, found in sorted(epochs.items()):
        if len(found) == seeds:
            values = [float(_value(row, metric)) for row in found]
            mean_x = statistics.fmean(row[x] for row in found)
            points.append((mean_x, statistics.fmean(values), min(values), max(values)))
    return points


def _value(row: Row, metric: str) -> Any:
    return row.get(metric) if metric in row else row["tasks"].get(metric)
