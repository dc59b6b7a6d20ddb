"""Writes a comparison as Markdown, as LaTeX and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from orchestrator.compare.output.tables import all_tables
from orchestrator.compare.results import Contrast, MethodComparison, Standing
from trainer.printable import markdown_text, printable

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "λ": r"$\lambda$",
}


def markdown(head: str, comparison: MethodComparison, why: bool = False) -> str:
    """The head, the tables and the notes; `why` adds tables on why methods differ.

    Args:
        head: the answer, in Markdown.
    """
    parts = [head]
    for table in all_tables(comparison, why):
        sides = ["---" if table.is_text(n) else "---:" for n in range(len(table.columns))]
        lines = [[markdown_text(name) for name in table.columns], sides]
        lines += [[markdown_text(cell.text) for cell in row] for row in table.rows]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    parts.append("\n".join(f"- {markdown_text(note)}" for note in comparison.notes))
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(head: str, comparison: MethodComparison, why: bool = False) -> str:
    """The tables (package booktabs), with the head and the notes as comments.

    Args:
        head: the answer, as text.
    """
    parts = [_comment(head)]
    for table in all_tables(comparison, why):
        sides = "".join("l" if table.is_text(n) else "r" for n in range(len(table.columns)))
        lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule"]
        lines += [_latex_row(table.columns), r"\midrule"]
        lines += [_latex_row(cell.text for cell in row) for row in table.rows]
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    parts += [_comment(note) for note in comparison.notes]
    return printable("\n".join(parts)) + "\n"


def comma_separated(comparison: MethodComparison) -> str:
    """One line per method, with all digits; the baseline has no differences."""
    lines = method_rows(comparison)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return printable(sink.getvalue())


def method_rows(comparison: MethodComparison) -> list[dict[str, object]]:
    """A row per method, column -> value; None where there is no value."""
    contrasts = {contrast.method: contrast for contrast in comparison.contrasts}
    return [_line(comparison, each, contrasts.get(each.method)) for each in comparison.standings]


def _line(
    comparison: MethodComparison, standing: Standing, contrast: Contrast | None
) -> dict[str, object]:
    """Column -> value; None is written as an empty field."""
    line: dict[str, object] = {
        "method": standing.method,
        "configurations": standing.configurations,
        "seeds": len(standing.seeds),
    }
    for name in comparison.metrics:
        line |= _interval(name, standing.scores.get(name))
    for key in ("naive", "optimism", "minutes_per_epoch", "minutes_problem"):
        line[key] = getattr(standing, key)
    line |= {"diverged": standing.diverged, "score_with_diverged": standing.score_with_diverged}
    line["baseline"] = contrast and contrast.baseline
    line["paired_seeds"] = contrast and len(contrast.seeds)
    line["unpaired_seeds"] = contrast and len(contrast.unpaired_seeds)
    for name in comparison.metrics:
        line |= _interval(f"{name}_difference", contrast and contrast.differences.get(name))
    line |= _interval("interval", contrast and contrast.interval)
    for key in ("confidence", "p_different", "p_equivalent", "dominates", "dominated"):
        line[key] = getattr(contrast, key, None)
    for key in ("minutes_ratio", "same_score_ratio"):
        line |= _interval(key, getattr(contrast, key, None))
    line["speed_problem"] = contrast and contrast.speed_problem
    line["verdict"] = contrast and contrast.sentence
    line["problem"] = standing.problem
    return line


def _interval(name: str, estimate: object) -> dict[str, object]:
    ends = {"value": "", "low": "_low", "high": "_high"}
    return {name + end: getattr(estimate, key, None) for key, end in ends.items()}


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join("".join(_LATEX.get(c, c) for c in cell) for cell in cells) + r" \\"


def _comment(text: str) -> str:
    return "\n".join(f"% {line}".rstrip() for line in text.splitlines())
