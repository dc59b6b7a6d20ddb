"""The report of a sweep: one HTML file that needs nothing else, and its figures as files.

It is drawn from the ledger alone; the same trials and the same question give the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.compare.compare_sweep import SweepComparison, compare_sweep, trials_of
from orchestrator.compare.options import Question
from trainer.storage.local_folder import write_whole

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.report.figure import Figure

__all__ = ["Report", "make", "write_figures", "write_report"]


@dataclass(frozen=True)
class Report:
    """`html`: the page; `figures`: key -> figure, each with `svg()` and `png()`; `trials`: the ids
    of those whose predictions are drawn."""

    html: str
    figures: dict[str, Figure]
    answer: str
    trials: list[str]


def make(
    ledger: Ledger,
    question: Question | None = None,
    trials: Sequence[TrialRecord] = (),
    tell: Callable[[str], None] = lambda text: None,
    *,
    compared: SweepComparison | None = None,
) -> Report:
    """Draw a sweep's report; nothing is written.

    Args:
        trials: those whose predictions are drawn; none: one that stands for the best method.
        tell: is told what is being done.
        compared: the sweep's comparison by this question, where there is one already.

    Raises `UserError` for a baseline, metric or key that is not there.
    """
    from orchestrator.report.document import document
    from orchestrator.report.page import page

    question = question or Question()
    compared = compared or compare_sweep(ledger, trials_of(ledger), question, tell)
    made = document(ledger, compared, question, trials, tell)
    tell("writing the page")
    figures = [figure for section in made.sections for figure in section.figures()]
    drawn = [part.trial_id for part in made.trials]
    return Report(page(made), {figure.key: figure for figure in figures}, made.answer, drawn)


def write_report(report: Report, to: Path) -> int:
    """Write the page, whole or not at all; returns its size in bytes.  Raises `OSError`."""
    content = report.html.encode(errors="replace")
    write_whole(to, content)
    return len(content)


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Write every figure as SVG and PNG; returns their paths.  Raises `OSError`."""
    written = []
    for key, figure in report.figures.items():
        for ending, content in (
            ("svg", figure.svg().encode(errors="replace")),
            ("png", figure.png()),
        ):
            path = folder / f"{key}.{ending}"
            write_whole(path, content)
            written.append(path)
    return written
