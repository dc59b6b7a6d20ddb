"""A comparison as tables, independent of the format: terminal, Markdown, LaTeX or HTML."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.compare.output import sentences
from orchestrator.table_data import Cell as Cell
from orchestrator.table_data import Column, Content
from orchestrator.table_data import TableData as TableData

if TYPE_CHECKING:
    from orchestrator.compare.diagnostics.conflicts import Row
    from orchestrator.compare.results import MethodComparison

#: A configuration that is on the frontier in a smaller share of draws is not shown.
_SELDOM = 0.05
_POINTS = 20
#: (is it on the frontier, is it the knee) -> what a table says of a configuration.
_ON_IT = {(True, False): "yes", (True, True): "yes, knee", (False, False): "maybe"}


def all_tables(comparison: MethodComparison, why: bool = False) -> list[TableData]:
    """Every table that has rows; `why` adds those on why methods differ."""
    tables = [
        methods_table(comparison),
        verdicts_table(comparison),
        differences_table(comparison),
        frontier_table(comparison),
    ]
    if why:
        diagnostics = comparison.diagnostics()
        tables += [
            conflicts_table(diagnostics["conflicts"]),
            single_tasks_table(diagnostics["against_single_task"]),
            utilisation_table(diagnostics["utilisation"]),
            importances_table(diagnostics["importances"]),
        ]
    return [table for table in tables if table.rows]


def methods_table(comparison: MethodComparison) -> TableData:
    """Every method by falling score.

    What only a search of several configurations can show stands there only after a search.
    """
    metric = comparison.options.metric
    others = [name for name in comparison.metrics if name != metric]
    searched = any(standing.configurations > 1 for standing in comparison.standings)
    k, best = _at_equal_budget(comparison)
    table = TableData(
        [
            Column("method"),
            Column("tried", Content.NUMBER, 4),
            Column("seeds", Content.NUMBER, 3),
            Column(f"{metric} [95 %]", Content.NUMBER),
            *([Column("optimism", Content.NUMBER, 7)] if searched else []),
            *(Column(name, Content.NUMBER, 6) for name in others),
            *([Column(f"best of {k}", Content.NUMBER, 5)] if k > 1 else []),
            Column("min/epoch", Content.NUMBER, 1),
            Column("mostly", Content.LABEL, 2),
        ]
    )
    for standing in comparison.standings:
        score = standing.scores.get(metric)
        naive = "-" if standing.naive is None else f"{standing.naive:.4f} naive"
        minutes = Cell("-")
        if standing.minutes_per_epoch is not None:
            unfair = bool(standing.minutes_problem)
            minutes = Cell(f"{standing.minutes_per_epoch:.3f}{'*' if unfair else ''}", unfair)
        flattery = "-"
        if standing.optimism is not None and standing.configurations > 1:
            flattery = f"{round(standing.optimism, 4) + 0.0:+.4f}"
        table.add(
            standing.method,
            str(standing.configurations),
            str(len(standing.seeds))
            + (f" ({sentences.diverged(standing)})" if standing.diverged else ""),
            sentences.interval(score, 4, "") if score else Cell(naive, grey=True),
            *([flattery] if searched else []),
            *(f"{standing.scores[name].value:.4f}" if score else "-" for name in others),
            *(
                [f"{best[standing.method]:.4f}" if standing.method in best else "-"]
                if k > 1
                else []
            ),
            minutes,
            standing.configuration,
        )
    return table


def verdicts_table(comparison: MethodComparison) -> TableData:
    """Every method against the baseline, by the compared metric and by minutes.

    The interval is the one that belongs to the verdict, at its level.
    """
    metric = comparison.options.metric
    table = TableData(
        [
            Column(f"against {comparison.baseline}"),
            Column("seeds", Content.NUMBER, 5),
            Column(f"{metric} [interval of the verdict]", Content.NUMBER, 1),
            Column("level", Content.NUMBER, 6),
            Column("p", Content.NUMBER, 4),
            Column("of its minutes [95 %]", Content.NUMBER, 2),
            Column("to the same score", Content.NUMBER, 3),
            Column("verdict", Content.SENTENCE),
        ]
    )
    for contrast in comparison.contrasts:
        minutes = Cell("not comparable" if not contrast.problem else "-", grey=True)
        if contrast.trials_ratio:
            minutes = Cell(f"{sentences.ratio(contrast.trials_ratio)}*", grey=True)
        elif contrast.minutes_ratio:
            minutes = Cell(sentences.ratio(contrast.minutes_ratio))
        single = len(contrast.unpaired_seeds)
        equal = contrast.outcome == "equivalent"
        same_score = contrast.same_score_ratio
        table.add(
            contrast.method,
            f"{len(contrast.seeds)}{f' + {single} unpaired' if single else ''}",
            sentences.interval(contrast.interval, 4) if contrast.interval else "-",
            sentences.percent(contrast.confidence) if contrast.interval else "-",
            _number(contrast.p_equivalent if equal else contrast.p_different),
            minutes,
            sentences.ratio(same_score) if same_score else "-",
            contrast.sentence,
        )
    return table


def differences_table(comparison: MethodComparison) -> TableData:
    """Every method's other metrics minus the baseline's; the intervals are not corrected."""
    others = [name for name in comparison.metrics if name != comparison.options.metric]
    table = TableData([f"against {comparison.baseline}", *(f"{name} [95 %]" for name in others)])
    for each in comparison.contrasts:
        if each.differences:
            table.add(each.method, *(sentences.interval(each.differences[n], 4) for n in others))
    return table


def frontier_table(comparison: MethodComparison) -> TableData:
    """Configurations that are on the frontier of score against minutes, or may be."""
    table = TableData(
        [
            Column("frontier", Content.LABEL),
            *(comparison.options.metric, "min/epoch", "probability", "on it"),
        ]
    )
    likely = sorted(comparison.frontier, key=lambda p: (p.on_frontier, p.probability))[-_POINTS:]
    for point in comparison.frontier:
        if point in likely and (point.on_frontier or point.probability >= _SELDOM):
            table.add(
                Cell(point.label, not point.on_frontier),
                f"{point.score:.4f}",
                f"{point.minutes:.3f}",
                f"{point.probability:.2f}",
                _ON_IT[point.on_frontier, point.knee],
            )
    return table


def conflicts_table(rows: Sequence[Row]) -> TableData:
    """How often gradients conflict, by method and pair of tasks, with the mean cosine in brackets.

    Both are means over trials and epochs.
    """
    whole = [row for row in rows if row["phase"] == ""]
    pairs = sorted({pair for row in whole for pair in row["cosines"]})
    table = TableData(["conflicts (mean cosine)", "epochs", "of all pairs", *pairs])
    for method, own in _by_method(whole).items():
        cells = []
        for pair in pairs:
            share = _mean([row["conflicts"].get(pair) for row in own])
            cosine = _mean([row["cosines"].get(pair) for row in own])
            cells.append(f"{_share(share)} ({'-' if cosine is None else f'{cosine:+.3f}'})")
        every = _share(_mean([row["conflict_share"] for row in own]))
        table.add(method, str(len(own)), every, *cells)
    return table


def single_tasks_table(rows: Sequence[Row]) -> TableData:
    """Every task of a method's best configuration, and its difference to the task alone."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    table = TableData(["against the task alone", *tasks])
    for method, own in _by_method(rows).items():
        cells = dict.fromkeys(tasks, "-")
        cells |= {row["task"]: f"{row['metric']:.4f} ({row['difference']:+.4f})" for row in own}
        table.add(method, *cells.values())
    return table


def utilisation_table(rows: Sequence[Row]) -> TableData:
    """The share of every training set that an epoch sees (P0, Table 1): means over epochs."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    table = TableData(["share of the training set in an epoch", *tasks])
    for method, own in _by_method(rows).items():
        shares = (_mean([r["utilisation"] for r in own if r["task"] == task]) for task in tasks)
        table.add(method, *map(_share, shares))
    return table


def importances_table(rows: Sequence[Row]) -> TableData:
    """The important parameters, by falling importance for the score."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    table = TableData(["importance of", *(f"for {target}" for target in targets)])
    parameters: dict[str, dict[str, Row]] = {}
    for row in rows:
        parameters.setdefault(row["parameter"], {})[row["target"]] = row
    for name, found in parameters.items():
        if any(round(row["importance"], 3) for row in found.values()):
            table.add(name, *(_importance(found.get(target)) for target in targets))
    return table


def _importance(row: Row | None) -> Cell:
    """The share with its interval; grey where chance explains it."""
    if row is None:
        return Cell("-")
    ends = f"[{row['low']:.0%}, {row['high']:.0%}]"
    if row["importance"] > row["chance"]:
        return Cell(f"{_share(row['importance'])} {ends}")
    return Cell(f"{_share(row['importance'])} {ends} (chance)", grey=True)


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    methods: dict[str, list[Row]] = {}
    for row in rows:
        methods.setdefault(row["method"], []).append(row)
    return methods


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def _at_equal_budget(comparison: MethodComparison) -> tuple[int, dict[str, float]]:
    """The largest k that all curves have, and the expected best of k configurations by method.

    A method with one configuration was not searched: its score counts for any k.
    """
    curves: dict[str, dict[int, float]] = {}
    for point in comparison.best_of_k:
        curves.setdefault(point.method, {})[point.k] = point.value
    searched = [set(curve) for curve in curves.values() if len(curve) > 1]
    k = max(set.intersection(*searched)) if searched else 1
    return k, {name: curve[k if len(curve) > 1 else 1] for name, curve in curves.items()}
