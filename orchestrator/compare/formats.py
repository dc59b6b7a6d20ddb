"""A comparison as tables for a terminal, as Markdown, as LaTeX, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from orchestrator.compare import words
from orchestrator.compare.results import Contrast, MethodComparison, Standing

#: Columns of words, besides the first one.
_TEXTS = ("verdict", "mostly")
#: A configuration that is on the frontier less often is not shown.
_SELDOM = 0.05
_POINTS = 20
_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "λ": r"$\lambda$",
}


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


def sheets(comparison: MethodComparison) -> list[Sheet]:
    """The methods, the verdicts, the differences by metric, the frontier; without empty ones."""
    kinds = methods_sheet, verdicts_sheet, differences_sheet, frontier_sheet
    made = [sheet_of(comparison) for sheet_of in kinds]
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
            words.interval(score, 4, "") if score else _naive(made),
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
    sheet = Sheet([*columns, "times as fast [95 %]", "dominates", "verdict"])
    for made in comparison.contrasts:
        speed = Cell("not comparable" if not made.problem else "-", grey=True)
        if made.apart:
            speed = Cell(f"{words.ratio(made.apart)}*", grey=True)
        elif made.speed_up:
            speed = Cell(words.ratio(made.speed_up))
        sheet.add(
            made.method,
            str(len(made.seeds)),
            words.interval(made.differences[metric], 4) if made.differences else "-",
            _probability(made.p_different),
            _probability(made.p_equivalent),
            speed,
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
            sheet.add(made.method, *(words.interval(made.differences[n], 4) for n in others))
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


def rich_table(sheet: Sheet) -> Table:
    """For a terminal."""
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(sheet.columns):
        text = sheet.is_text(number)
        table.add_column(
            name, justify="left" if text else "right", overflow="fold", no_wrap=not text
        )
    for row in sheet.rows:
        table.add_row(*(Text(cell.text, style="dim" if cell.grey else "") for cell in row))
    return table


def markdown(comparison: MethodComparison) -> str:
    """The answer, the tables, the notes."""
    parts = [f"**{comparison.answer}**"]
    for sheet in sheets(comparison):
        sides = ["---" if sheet.is_text(n) else "---:" for n in range(len(sheet.columns))]
        lines = [sheet.columns, sides]
        lines += [[cell.text.replace("|", "\\|") for cell in row] for row in sheet.rows]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append("\n".join(f"- {note}" for note in comparison.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(comparison: MethodComparison) -> str:
    """Tabulars (package booktabs), the answer and the notes as comments."""
    parts = [_comment(comparison.answer)]
    for sheet in sheets(comparison):
        sides = "".join("l" if sheet.is_text(n) else "r" for n in range(len(sheet.columns)))
        lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule"]
        lines += [_latex_row(sheet.columns), r"\midrule"]
        lines += [_latex_row(cell.text for cell in row) for row in sheet.rows]
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    parts += [_comment(note) for note in comparison.notes]
    return "\n".join(parts) + "\n"


def comma_separated(comparison: MethodComparison) -> str:
    """One line a method, numbers in full; the baseline's differences are empty."""
    against = {made.method: made for made in comparison.contrasts}
    lines = [_values(comparison, made, against.get(made.method)) for made in comparison.standings]
    sink = io.StringIO()
    writer = csv.DictWriter(sink, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return sink.getvalue()


def _values(
    comparison: MethodComparison, made: Standing, pair: Contrast | None
) -> dict[str, object]:
    found: dict[str, object] = {
        "method": made.method,
        "configurations": made.configurations,
        "seeds": len(made.seeds),
    }
    for name in comparison.metrics:
        score = made.scores.get(name)
        found |= {name + end: getattr(score, key, "") for key, end in _ENDS.items()}
    found |= {"naive": _or_empty(made.naive), "optimism": _or_empty(made.optimism)}
    found["minutes_per_epoch"] = _or_empty(made.minutes_per_epoch)
    found["minutes_problem"] = made.minutes_problem
    found["baseline"] = comparison.baseline if pair else ""
    found["paired_seeds"] = len(pair.seeds) if pair else ""
    for name in comparison.metrics:
        there = pair.differences.get(name) if pair else None
        found |= {f"{name}_difference{e}": getattr(there, k, "") for k, e in _ENDS.items()}
    for key in ("p_different", "p_equivalent", "seeds_needed", "dominates", "dominated"):
        found[key] = _or_empty(getattr(pair, key, None))
    speed = pair.speed_up if pair else None
    found |= {f"speed_up{end}": _or_empty(getattr(speed, k, None)) for k, end in _ENDS.items()}
    found["speed_problem"] = pair.speed_problem if pair else ""
    found["verdict"] = pair.sentence if pair else ""
    found["problem"] = made.problem
    return found


_ENDS = {"value": "", "low": "_low", "high": "_high"}


def _or_empty(value: object) -> object:
    return "" if value is None else value


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


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"


def _comment(text: str) -> str:
    return "\n".join(f"% {line}" for line in text.splitlines())
