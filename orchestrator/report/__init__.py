"""The report of a sweep: one HTML file that needs nothing else, and its figures as files.

It depends on the ledger alone: the same trials and the same options give the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.compare.compare_sweep import SweepComparison, compare_sweep, trials_of
from orchestrator.compare.options import ComparisonOptions
from trainer.storage.local_folder import write_whole

if TYPE_CHECKING:
    from orchestrator.decision.answer.answer import Answer
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.report.figure import Figure

__all__ = ["Report", "make", "write_figures", "write_report"]


@dataclass(frozen=True)
class Report:
    """A page and its figures.

    Attributes:
        figures: key -> figure, each with `svg()` and `png()`.
        trials: the ids of the trials whose predictions are shown.
    """

    html: str
    figures: dict[str, Figure]
    answer: Answer
    trials: list[str]


def make(
    ledger: Ledger,
    options: ComparisonOptions | None = None,
    trials: Sequence[TrialRecord] = (),
    tell: Callable[[str], None] = lambda text: None,
    *,
    compared: SweepComparison | None = None,
    answer: Answer | None = None,
) -> Report:
    """Make a sweep's report; nothing is written.

    Args:
        trials: those whose predictions are shown; by default one that represents the best method.
        tell: is called with what is being done.
        compared: the sweep's comparison with these options, if there is one already.
        answer: the answer to the sweep's question, if there is one already.

    Raises `UserError` for a baseline, metric or key that does not exist.
    """
    from orchestrator.decision.answer.answers import answer_of
    from orchestrator.report.document import document
    from orchestrator.report.page import page

    options = options or ComparisonOptions()
    compared = compared or compare_sweep(ledger, trials_of(ledger), options, tell)
    answer = answer or answer_of(ledger, compared)
    content = document(ledger, compared, answer, options, trials, tell)
    tell("writing the page")
    figures = {figure.key: figure for figure in content.figures()}
    return Report(page(content), figures, answer, [t.trial_id for t in content.trials])


def write_report(report: Report, to: Path) -> int:
    """Write the page, whole or not at all; return its size in bytes. Raises `OSError`."""
    content = report.html.encode(errors="replace")
    write_whole(to, content)
    return len(content)


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Write every figure as SVG and PNG; return the paths. Raises `OSError`."""
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
