"""A comparison written for a terminal, as Markdown, as LaTeX, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from orchestrator.compare.output.tables import Sheet, sheets
from orchestrator.compare.results import Contrast, MethodComparison, Standing

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "λ": r"$\lambda$",
}


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


def markdown(comparison: MethodComparison, why: bool = False) -> str:
    """The answer, the tables (those of `why` methods differ too), the notes."""
    parts = [f"**{_as_is(comparison.answer)}**"]
    for sheet in sheets(comparison, why):
        sides = ["---" if sheet.is_text(n) else "---:" for n in range(len(sheet.columns))]
        lines = [[_as_is(name) for name in sheet.columns], sides]
        lines += [[_as_is(cell.text) for cell in row] for row in sheet.rows]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append("\n".join(f"- {_as_is(note)}" for note in comparison.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(comparison: MethodComparison, why: bool = False) -> str:
    """Tabulars (package booktabs), the answer and the notes as comments."""
    parts = [_comment(comparison.answer)]
    for sheet in sheets(comparison, why):
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
    for key in ("speed_up", "to_same_score"):
        ratio = getattr(pair, key, None)
        found |= {f"{key}{end}": _or_empty(getattr(ratio, k, None)) for k, end in _ENDS.items()}
    found["speed_problem"] = pair.speed_problem if pair else ""
    found["verdict"] = pair.sentence if pair else ""
    found["problem"] = made.problem
    return found


_ENDS = {"value": "", "low": "_low", "high": "_high"}


def _or_empty(value: object) -> object:
    return "" if value is None else value


def _as_is(text: str) -> str:
    """Neither the border of a cell nor emphasis nor a list in a list."""
    return text.replace("|", "\\|").replace("*", "\\*")


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"


def _comment(text: str) -> str:
    return "\n".join(f"% {line}" for line in text.splitlines())
