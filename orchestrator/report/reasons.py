"""Why methods differ: conflicts, cosines, surgery's cost, utilisation, single tasks, parameters."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.compare.diagnostics.conflicts import Row
from orchestrator.compare.output import tables
from orchestrator.report import style, surgery
from orchestrator.report.figure import Figure
from orchestrator.report.methods import MOST
from orchestrator.report.parts import Figures, Heading, Missing, Part, Section, Table
from orchestrator.report.style import Look

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord
    from orchestrator.ledger.timing_sessions import Session

#: Pairs of tasks whose cosines are drawn: all of five tasks.
_MOST_PAIRS = 10
_MOST_PARAMETERS = 12


def section(
    why: Mapping[str, Sequence[Row]],
    sessions: Sequence[Session],
    shown: Mapping[str, Sequence[TrialRecord]],
    looks: Mapping[str, Look],
) -> Section:
    """`why`: `MethodComparison.why()`; `shown`: method -> trials of its best configuration."""
    made = Section("why", "Why methods differ")
    for title, parts in {
        "Conflicting gradients": _conflicts(why["conflicts"], looks),
        "The cost of surgery": surgery.parts(sessions, shown),
        "Utilisation": _utilisation(why["utilisation"], looks),
        "Against single tasks": _single_tasks(why["against_single_task"], looks),
        "Importance of parameters": _importances(why["importances"]),
    }.items():
        key = "why-" + title.lower().replace(" ", "-")
        made.parts += [Heading(title, key), *parts]
    return made


def _conflicts(rows: Sequence[Row], looks: Mapping[str, Look]) -> Iterable[Part]:
    whole = [row for row in rows if row["phase"] == ""]
    methods = [name for name in looks if any(row["method"] == name for row in whole)][:MOST]
    if not methods:
        yield Missing(
            "No trial kept the gradients of its tasks apart (single tasks, plain sums), so that no "
            "conflict was measured."
        )
        return
    pairs = sorted({pair for row in whole for pair in row["cosines"]})
    figures = [
        _over_epochs(
            "conflicts", "share of conflicting pairs", whole, methods, looks,
            lambda row: row["conflict_share"],
            "How often two tasks' gradients in a step point against each other (negative cosine).",
        )
    ]  # fmt: skip
    for pair in pairs[:_MOST_PAIRS]:
        one, _, other = pair.partition("|")
        figures.append(
            _over_epochs(
                f"cosine-{one}-{other}", f"cosine of {one} and {other}", whole, methods, looks,
                lambda row, pair=pair: row["cosines"].get(pair),
                "Mean cosine of the two tasks' gradients in a step; below 0 they conflict.",
            )
        )  # fmt: skip
    yield Figures(figures)
    yield Table.of(
        tables.conflicts_sheet(whole),
        "How often the gradients of two tasks conflict in a step, and the mean cosine behind it: "
        "means over epochs and trials.",
    )
    if len(pairs) > _MOST_PAIRS:
        yield Missing(f"{len(pairs) - _MOST_PAIRS} more pairs of tasks are in orch compare --json.")


def _over_epochs(
    key: str, what: str, rows: Sequence[Row], methods: Sequence[str], looks: Mapping[str, Look],
    value: object, caption: str,
) -> Figure:  # fmt: skip
    assert callable(value)
    told = []
    with style.styled():
        drawn, axes = style.axes(2.7)
        for name in methods:
            points = [
                (row["epoch"], value(row))
                for row in rows
                if row["method"] == name and value(row) is not None
            ]
            if points:
                xs, ys = zip(*points, strict=True)
                axes.plot(xs, ys, label=name, **looks[name].line_options())
                told.append(f"{name} {ys[0]:.3f} to {ys[-1]:.3f}")
        if key == "conflicts":
            axes.set_ylim(0, 1.08 * axes.dataLim.y1 or 1)  # markers keep their heads
        else:
            axes.axhline(0, color=style.INK, linewidth=0.8)
        style.whole_numbers(axes)
        axes.set_xlabel("epoch")
        axes.set_ylabel(what)
        style.with_legend(drawn, axes)
    title = what[0].upper() + what[1:]
    alt = f"{title} by epoch, first to last: {'; '.join(told)}."
    return Figure(key, title, alt, f"{caption} Means over all complete trials of a method.", drawn)


def _utilisation(rows: Sequence[Row], looks: Mapping[str, Look]) -> Iterable[Part]:
    known = [row for row in rows if row["utilisation"] is not None]
    methods = [name for name in looks if any(row["method"] == name for row in known)][:MOST]
    if not methods:
        yield Missing("The trials did not record which share of each training set an epoch saw.")
        return
    tasks = list(dict.fromkeys(row["task"] for row in known))
    of_task = style.looks(tasks)
    mean = {
        (name, task): statistics.fmean(found)
        for name in methods
        for task in tasks
        if (found := [r["utilisation"] for r in known if (r["method"], r["task"]) == (name, task)])
    }
    with style.styled():
        drawn, axes = style.axes(style.height_of_rows(len(methods)))
        places = dict(zip(methods, style.rows_of_names(axes, methods), strict=True))
        for task in tasks:
            there = [name for name in methods if (name, task) in mean]
            axes.plot(
                [100 * mean[name, task] for name in there], [places[name] for name in there],
                label=task, clip_on=False, **of_task[task].point_options(),
            )  # fmt: skip
        axes.set_xlim(-2, 102)
        axes.set_xlabel("% of the training set seen in an epoch")
        style.with_legend(drawn, axes)
    told = "; ".join(f"{name}: {task} {100 * v:.1f} %" for (name, task), v in mean.items())
    yield Figures(
        [
            Figure(
                "utilisation",
                "Share of each training set that an epoch sees",
                f"Share of each training set that an epoch sees. {told}.",
                "What a method leaves unused of the large tasks (P0, Table 1). Means over epochs "
                "and complete trials.",
                drawn,
            )
        ]
    )


def _single_tasks(rows: Sequence[Row], looks: Mapping[str, Look]) -> Iterable[Part]:
    if not rows:
        yield Missing(
            "No difference to single tasks: the sweep has no complete single_task trials, or no "
            "others."
        )
        return
    methods = [name for name in looks if any(row["method"] == name for row in rows)][:MOST]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    of_task = style.looks(tasks)
    with style.styled():
        drawn, axes = style.axes(style.height_of_rows(len(methods)))
        places = dict(zip(methods, style.rows_of_names(axes, methods), strict=True))
        axes.axvline(0, color=style.INK, linewidth=0.8)
        for task in tasks:
            some = [row for row in rows if row["task"] == task and row["method"] in places]
            axes.plot(
                [row["difference"] for row in some], [places[row["method"]] for row in some],
                label=task, **of_task[task].point_options(),
            )  # fmt: skip
        axes.set_xlabel("metric less that of the task alone")
        style.with_legend(drawn, axes)
    told = "; ".join(f"{r['method']}: {r['task']} {r['difference']:+.4f}" for r in rows)
    yield Figures(
        [
            Figure(
                "against-single-tasks",
                "Every task against the task alone",
                f"Each task's dev metric less that of a model for this task alone. {told}.",
                "Right of the line the other tasks helped, left of it they did harm. Best "
                "configurations, means over seeds on the whole dev set.",
                drawn,
            )
        ]
    )
    cells = [
        [r["method"], r["task"], f"{r['metric']:.4f}", f"{r['single_task']:.4f}",
         f"{r['difference']:+.4f}"]
        for r in rows
    ]  # fmt: skip
    columns = ["method", "task", "metric", "task alone", "difference"]
    yield Table.plain("Every task against the task alone.", columns, cells, words=(0, 1))


def _importances(rows: Sequence[Row]) -> Iterable[Part]:
    if not rows:
        yield Missing(
            "Importance of parameters cannot be said: fewer than 20 configurations were tried to "
            "the end, or nothing tells the best of them apart."
        )
        return
    figures = []
    for target in dict.fromkeys(row["target"] for row in rows):
        some = [row for row in rows if row["target"] == target]
        some = sorted(some, key=lambda row: -row["importance"])[:_MOST_PARAMETERS]
        with style.styled():
            drawn, axes = style.axes(style.height_of_rows(len(some)))
            places = style.rows_of_names(axes, [row["parameter"] for row in some])
            axes.barh(places, [row["importance"] for row in some], 0.42, color=style.PALETTE[0])
            axes.set_xlabel(f"importance for {target}")
        told = "; ".join(f"{row['parameter']} {row['importance']:.2f}" for row in some)
        figures.append(
            Figure(
                f"importance-{target}",
                f"Importance for {target}",
                f"Importance of the searched parameters for {target}: {told}.",
                "How much a parameter's values among the best tenth of the configurations (at "
                "least five) differ from those among all: where tries differ, not what "
                "a parameter causes.",
                drawn,
            )
        )
    yield Figures(figures)
