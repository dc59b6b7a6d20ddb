"""A comparison as tables, whatever they are written as: a terminal's, Markdown, LaTeX."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.compare.diagnostics.conflicts import Row
from orchestrator.compare.output import sentences
from orchestrator.compare.results import MethodComparison, Standing

#: Columns of words, besides the first one.
_TEXTS = ("verdict", "mostly")
#: A configuration that is on the frontier less often is not shown.
_SELDOM = 0.05
_POINTS = 20


@dataclass(frozen=True)
class Cell:
    """What stands in a table; grey is what must not be relied on."""

    text: str
    grey: bool = False


@dataclass
class Sheet:
    """A table, whatever it is written as."""

    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)

    def is_text(self, column: int) -> bool:
        """Whether a column holds words; the others hold figures."""
        return column == 0 or self.columns[column] in _TEXTS

    def add(self, *cells: str | Cell) -> None:
        self.rows.append([c if isinstance(c, Cell) else Cell(c) for c in cells])


def sheets(comparison: MethodComparison, why: bool = False) -> list[Sheet]:
    """The methods, the verdicts, the differences by metric, the frontier, and `why` methods differ;
    without empty ones."""
    kinds = methods_sheet, verdicts_sheet, differences_sheet, frontier_sheet
    made = [sheet_of(comparison) for sheet_of in kinds]
    if why:
        reasons = comparison.why()
        made.append(conflicts_sheet(reasons["conflicts"]))
        made.append(single_tasks_sheet(reasons["against_single_task"]))
        made.append(utilisation_sheet(reasons["utilisation"]))
        made.append(importances_sheet(reasons["importances"]))
    return [sheet for sheet in made if sheet.rows]


def methods_sheet(comparison: MethodComparison) -> Sheet:
    """Every method by falling score."""
    metric = comparison.question.metric
    others = [name for name in comparison.metrics if name != metric]
    equal, best = _at_equal_budget(comparison)
    columns = ["method", "tried", "seeds", f"{metric} [95 %]", "optimism", *others]
    sheet = Sheet([*columns, f"best of {equal}", "min/epoch", "mostly"])
    for made in comparison.standings:
        score = made.scores.get(metric)
        minutes = Cell("-")
        if made.minutes_per_epoch is not None:
            unfair = bool(made.minutes_problem)
            minutes = Cell(f"{made.minutes_per_epoch:.3f}{'*' if unfair else ''}", unfair)
        sheet.add(
            made.method,
            str(made.configurations),
            str(len(made.seeds)),
            sentences.interval(score, 4, "") if score else _naive(made),
            "-" if made.optimism is None else f"{round(made.optimism, 4) + 0.0:+.4f}",
            *(f"{made.scores[name].value:.4f}" if score else "-" for name in others),
            f"{best[made.method]:.4f}" if made.method in best else "-",
            minutes,
            made.configuration,
        )
    return sheet


def verdicts_sheet(comparison: MethodComparison) -> Sheet:
    """Every method against the baseline, by the metric in question and by minutes."""
    metric = comparison.question.metric
    columns = [f"against {comparison.baseline}", "seeds", f"{metric} [95 %]", "p", "p comparable"]
    sheet = Sheet([*columns, "times as fast [95 %]", "to the same score", "dominates", "verdict"])
    for made in comparison.contrasts:
        speed = Cell("not comparable" if not made.problem else "-", grey=True)
        if made.apart:
            speed = Cell(f"{sentences.ratio(made.apart)}*", grey=True)
        elif made.speed_up:
            speed = Cell(sentences.ratio(made.speed_up))
        sheet.add(
            made.method,
            str(len(made.seeds)),
            sentences.interval(made.differences[metric], 4) if made.differences else "-",
            _probability(made.p_different),
            _probability(made.p_equivalent),
            speed,
            sentences.ratio(made.to_same_score) if made.to_same_score else "-",
            _probability(made.dominates),
            made.sentence,
        )
    return sheet


def differences_sheet(comparison: MethodComparison) -> Sheet:
    """Every method's other metrics less the baseline's; intervals of their own, not Holm's."""
    others = [name for name in comparison.metrics if name != comparison.question.metric]
    sheet = Sheet([f"against {comparison.baseline}", *(f"{name} [95 %]" for name in others)])
    for made in comparison.contrasts:
        if made.differences:
            sheet.add(made.method, *(sentences.interval(made.differences[n], 4) for n in others))
    return sheet


def frontier_sheet(comparison: MethodComparison) -> Sheet:
    """Configurations that are on the frontier of score against minutes, or may be."""
    columns = ["frontier", comparison.question.metric, "min/epoch", "probability", "knee"]
    sheet = Sheet(columns)
    likely = sorted(comparison.frontier, key=lambda p: (p.on_frontier, p.probability))[-_POINTS:]
    for point in comparison.frontier:
        if point in likely and (point.on_frontier or point.probability >= _SELDOM):
            sheet.add(
                Cell(point.label, not point.on_frontier),
                f"{point.score:.4f}",
                f"{point.minutes:.3f}",
                f"{point.probability:.2f}",
                "knee" if point.knee else "",
            )
    return sheet


def conflicts_sheet(rows: Sequence[Row]) -> Sheet:
    """How often gradients conflict, by method and pair of tasks, with the mean cosine behind it:
    means over trials and epochs."""
    whole = [row for row in rows if row["phase"] == ""]
    pairs = sorted({pair for row in whole for pair in row["cosines"]})
    sheet = Sheet(["conflicts (mean cosine)", "epochs", "of all pairs", *pairs])
    for method, found in _by_method(whole).items():
        cells = []
        for pair in pairs:
            share = _mean([row["conflicts"].get(pair) for row in found])
            cosine = _mean([row["cosines"].get(pair) for row in found])
            cells.append(f"{_share(share)} ({'-' if cosine is None else f'{cosine:+.3f}'})")
        every = _share(_mean([row["conflict_share"] for row in found]))
        sheet.add(method, str(len(found)), every, *cells)
    return sheet


def single_tasks_sheet(rows: Sequence[Row]) -> Sheet:
    """Every task of a method's best configuration beside the task alone."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    sheet = Sheet(["against the task alone", *tasks])
    for method, found in _by_method(rows).items():
        by_task = {row["task"]: row for row in found}
        cells = [
            f"{by_task[t]['metric']:.4f} ({by_task[t]['difference']:+.4f})" if t in by_task else "-"
            for t in tasks
        ]
        sheet.add(method, *cells)
    return sheet


def utilisation_sheet(rows: Sequence[Row]) -> Sheet:
    """The share of every training set that an epoch sees (P0, Table 1): means over epochs."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    sheet = Sheet(["share of the training set in an epoch", *tasks])
    for method, found in _by_method(rows).items():
        means = {t: _mean([r["utilisation"] for r in found if r["task"] == t]) for t in tasks}
        sheet.add(method, *(_share(means[task]) for task in tasks))
    return sheet


def importances_sheet(rows: Sequence[Row]) -> Sheet:
    """Which parameters decide, by falling importance for the score."""
    targets = list(dict.fromkeys(row["target"] for row in rows))
    sheet = Sheet(["importance of", *(f"for {target}" for target in targets)])
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["parameter"], {})[row["target"]] = row["importance"]
    for name, values in found.items():
        if any(round(value, 3) for value in values.values()):
            sheet.add(name, *(_share(values.get(target)) for target in targets))
    return sheet


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _naive(made: Standing) -> Cell:
    """A score of whom nothing better is known: chosen and scored on the same dev set."""
    return Cell("-" if made.naive is None else f"{made.naive:.4f} naive", grey=True)


def _at_equal_budget(comparison: MethodComparison) -> tuple[int, dict[str, float]]:
    """The largest k on all curves, and the expected best of k configurations.

    A method of one configuration is not searched: its score stands for any k.
    """
    curves: dict[str, dict[int, float]] = {}
    for point in comparison.best_of_k:
        curves.setdefault(point.method, {})[point.k] = point.value
    searched = [set(curve) for curve in curves.values() if len(curve) > 1]
    k = max(set.intersection(*searched)) if searched else 1
    return k, {name: curve[k if len(curve) > 1 else 1] for name, curve in curves.items()}


def _probability(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
