"""The section on why methods differ: conflicts, surgery's cost, utilisation, single tasks, keys."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from orchestrator.compare.diagnostics.conflicts import Row
from orchestrator.compare.output import tables
from orchestrator.report import style, surgery
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST, MOST_CURVES, methods_of
from orchestrator.report.parts import Code, Figures, Heading, Missing, Part, Section, Table, Text
from orchestrator.report.style import Look

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.ledger.timing_sessions import Session

#: Pairs of tasks whose cosines are shown: all pairs of five tasks.
_MOST_PAIRS = 10
_MOST_PARAMETERS = 12


def section(
    diagnostics: Mapping[str, Sequence[Row]],
    sessions: Sequence[Session],
    shown: Mapping[str, Sequence[TrialRecord]],
    looks: Mapping[str, Look],
    sweep: str,
) -> Section:
    """Why methods differ.

    Args:
        diagnostics: `MethodComparison.diagnostics()`.
        shown: method -> trials of its best configuration.
        sweep: the sweep's name.
    """
    result = Section("why", "Why methods differ")
    for title, parts in {
        "Conflicting gradients": _conflicts(diagnostics["conflicts"], looks),
        "The cost of surgery": surgery.parts(sessions, shown),
        "Utilisation": _utilisation(diagnostics["utilisation"], looks),
        "Against single tasks": _single_tasks(diagnostics["against_single_task"], looks),
        "Importance of parameters": _importances(diagnostics["importances"], sweep),
    }.items():
        key = "why-" + title.lower().replace(" ", "-")
        result.parts += [Heading(title, key), *parts]
    return result


def _conflicts(rows: Sequence[Row], looks: Mapping[str, Look]) -> Iterable[Part]:
    whole = [row for row in rows if row["phase"] == ""]
    methods = methods_of(whole, looks)[:MOST_CURVES]
    if not methods:
        yield Missing(
            "No conflict was measured: no trial kept the gradients of its tasks separate (single "
            "tasks and plain sums do not)."
        )
        return
    by_method = {name: [row for row in whole if row["method"] == name] for name in methods}
    pairs = sorted({pair for row in whole for pair in row["cosines"]})
    shares = {
        name: [(row["epoch"], row["conflict_share"]) for row in own]
        for name, own in by_method.items()
    }
    figures = [
        _by_epoch(
            "conflicts", "share of conflicting pairs", shares, looks,
            "How often two tasks' gradients in a step point against each other (negative cosine).",
        )
    ]  # fmt: skip
    for pair in pairs[:_MOST_PAIRS]:
        one, _, other = pair.partition("|")
        cosines = {
            name: [(row["epoch"], row["cosines"].get(pair)) for row in own]
            for name, own in by_method.items()
        }
        figures.append(
            _by_epoch(
                f"cosine-{one}-{other}", f"cosine of {one} and {other}", cosines, looks,
                "Mean cosine of the two tasks' gradients in a step. Below 0 they conflict.",
            )
        )  # fmt: skip
    yield Figures(figures)
    yield Table(
        "How often the gradients of two tasks conflict in a step, with the mean cosine in "
        "brackets. Both are means over epochs and trials.",
        tables.conflicts_table(whole),
    )
    if len(pairs) > _MOST_PAIRS:
        yield Missing(f"{len(pairs) - _MOST_PAIRS} more pairs of tasks are in orch compare --json.")


def _by_epoch(
    key: str,
    what: str,
    curves: Mapping[str, Sequence[tuple[int, float | None]]],
    looks: Mapping[str, Look],
    caption: str,
) -> Figure:
    """`curves`: method -> epoch and value; an epoch without a value has no point."""
    texts, ends = [], {}
    with style.axes(style.height_of_curves(len(curves), 2.7)) as (canvas, axes):
        for name, curve in curves.items():
            points = [(epoch, value) for epoch, value in curve if value is not None]
            if points:
                xs, ys = zip(*points, strict=True)
                axes.plot(xs, ys, **looks[name].line_options())
                ends[name] = float(xs[-1]), float(ys[-1])
                texts.append(f"{name} {ys[0]:.3f} to {ys[-1]:.3f}")
        if key == "conflicts":
            axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1)  # room for the highest markers
        else:
            axes.axhline(0, color=style.INK, linewidth=0.8)
        style.label_whole(axes, "epoch")
        axes.set_ylabel(what)
        style.label_ends(axes, ends, [looks[name].point_options() for name in ends])
    title = what[0].upper() + what[1:]
    alt = f"{title} by epoch, first to last: {'; '.join(texts)}."
    return Figure(key, title, alt, f"{caption} Means over all complete trials of a method.", canvas)


def _utilisation(rows: Sequence[Row], looks: Mapping[str, Look]) -> Iterable[Part]:
    known = [row for row in rows if row["utilisation"] is not None]
    methods = methods_of(known, looks)[:MOST]
    if not methods:
        yield Missing("The trials did not record which share of each training set an epoch saw.")
        return
    tasks = list(dict.fromkeys(row["task"] for row in known))
    percent = {
        (name, task): 100 * statistics.fmean(values)
        for name in methods
        for task in tasks
        if (values := [r["utilisation"] for r in known if (r["method"], r["task"]) == (name, task)])
    }

    def draw(width: float) -> Canvas:
        with style.axes(style.height_of_rows(len(methods), width), width) as (canvas, axes):
            _draw_tasks(axes, methods, tasks, percent, clip_on=False)
            axes.set_xlim(-2, 102)
            axes.set_xlabel("% of the training set seen in an epoch")
        return canvas

    texts = "; ".join(f"{name}: {task} {value:.1f} %" for (name, task), value in percent.items())
    figure = Figure(
        "utilisation",
        "Share of each training set that an epoch sees",
        f"Share of each training set that an epoch sees. {texts}.",
        "What a method leaves unused of the large tasks. Means over epochs and complete trials.",
        draw(style.WIDE),
        draw(style.WIDTH),
    )
    yield Figures([figure])


def _single_tasks(rows: Sequence[Row], looks: Mapping[str, Look]) -> Iterable[Part]:
    if not rows:
        yield Missing(
            "No difference to single tasks: the sweep has no complete single_task trials, or no "
            "other ones."
        )
        return
    methods = methods_of(rows, looks)[:MOST]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    differences = {(row["method"], row["task"]): row["difference"] for row in rows}

    def draw(width: float) -> Canvas:
        with style.axes(style.height_of_rows(len(methods), width), width) as (canvas, axes):
            axes.axvline(0, color=style.INK, linewidth=0.8)
            _draw_tasks(axes, methods, tasks, differences)
            axes.set_xlabel("metric minus that of the task alone")
        return canvas

    texts = "; ".join(f"{name}: {task} {v:+.4f}" for (name, task), v in differences.items())
    figure = Figure(
        "against-single-tasks",
        "Every task against the task alone",
        f"Each task's dev metric minus that of a model for this task alone. {texts}.",
        "Right of the line the other tasks helped, left of it they did harm. Best configurations, "
        "means over seeds on the whole dev set.",
        draw(style.WIDE),
        draw(style.WIDTH),
    )
    yield Figures([figure])
    data = tables.TableData(["method", "task", "metric", "task alone", "difference"])
    for row in rows:
        numbers = f"{row['metric']:.4f}", f"{row['single_task']:.4f}", f"{row['difference']:+.4f}"
        data.add(row["method"], row["task"], *numbers)
    yield Table("Every task against the task alone.", data)


def _draw_tasks(
    axes: Axes,
    methods: Sequence[str],
    tasks: Sequence[str],
    values: Mapping[tuple[str, str], float],
    **options: Any,
) -> None:
    """One row per method with a point per task; `values` are by method and task."""
    places = dict(zip(methods, style.rows_of_names(axes, methods), strict=True))
    for task, look in style.looks(tasks).items():
        there = [name for name in methods if (name, task) in values]
        axes.plot(
            [values[name, task] for name in there], [places[name] for name in there], label=task,
            **look.point_options() | options,
        )  # fmt: skip


def _importances(rows: Sequence[Row], sweep: str) -> Iterable[Part]:
    if not rows:
        yield Missing(
            "The importance of parameters cannot be estimated: fewer than 20 configurations were "
            "trained to the end, or nothing distinguishes the best of them."
        )
        return
    by_target = {
        target: sorted(
            (row for row in rows if row["target"] == target), key=lambda row: -row["importance"]
        )[:_MOST_PARAMETERS]
        for target in dict.fromkeys(row["target"] for row in rows)
    }
    for target, ranked in by_target.items():
        sure = [row["parameter"] for row in ranked if row["importance"] > row["chance"]]
        count = f"With {ranked[0]['configurations']} configurations"
        yield Text(
            f"{count}, more important for {target} than chance explains: {', '.join(sure)}."
            if sure
            else f"{count}, no parameter's importance for {target} can be told from chance."
        )
    alone = len(by_target) == 1
    yield Figures([_importance(target, own, alone) for target, own in by_target.items()])
    yield Text(
        "Parallel coordinates of all trials: optuna-dashboard shows them from the same study. This "
        "starts it beside MLflow (it is an extra: pip install '.[dashboard]'):"
    )
    yield Code(f"orch ui {shlex.quote(sweep)}", "How to see parallel coordinates")


def _importance(target: str, ranked: Sequence[Row], alone: bool) -> Figure:
    """`alone`: whether no other figure stands beside it."""

    def draw(width: float) -> Canvas:
        with style.axes(style.height_of_rows(len(ranked), width), width) as (canvas, axes):
            places = style.rows_of_names(axes, [row["parameter"] for row in ranked])
            axes.barh(
                places, [row["chance"] for row in ranked], 0.42, color=style.GRID,
                label="the most that chance gave in 100 cases",
            )  # fmt: skip
            look = style.looks([target])[target]
            for place, row in zip(places, ranked, strict=True):
                axes.plot([row["low"], row["high"]], [place, place], color=look.colour)
                axes.plot(row["importance"], place, clip_on=False, **look.point_options())
            axes.set_xlim(0, 1)
            axes.set_xlabel(f"importance for {target}, with 95 % interval")
        return canvas

    texts = "; ".join(
        f"{row['parameter']} {row['importance']:.2f} [{row['low']:.2f}, {row['high']:.2f}], chance "
        f"{row['chance']:.2f}"
        for row in ranked
    )
    return Figure(
        f"importance-{target}",
        f"Importance for {target}",
        f"Importance of the searched parameters for {target}: {texts}.",
        "How much a parameter's values among the best tenth of the configurations (at least five) "
        "differ from its values among all of them; the importances add up to 1. Lines: the same "
        "for resampled configurations. Grey: for shuffled scores, where nothing matters. A point "
        "within the grey says nothing. This shows where tries differ, not what a parameter causes.",
        draw(style.WIDE if alone else style.WIDTH),
        draw(style.WIDTH) if alone else None,
    )
