"""A comparison of a sweep's methods in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.api import html
from orchestrator.api.answer import Answer, parts_of
from orchestrator.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.compare.options import ComparisonOptions
    from orchestrator.ledger import Ledger


class Comparison:
    """Which way of training is better, by how much, and how certain that is.

    `print(comparison)` prints it as Markdown.  A notebook shows it as HTML.

    Attributes:
        answer: the answer to the sweep's question.
    """

    def __init__(self, compared: SweepComparison, answer: Answer):
        self._compared = compared
        self.answer = answer

    @property
    def baseline(self) -> str:
        """The method that the others are compared with; empty without a complete trial."""
        return self._compared.methods.baseline if self._compared.methods else ""

    @property
    def methods(self) -> pa.Table:
        """A row per method: scores with 95 % intervals, minutes, differences to the baseline.

        It has the columns of `orch compare --format csv`.  Raises `UserError` without a complete
        trial.
        """
        import pyarrow as pa

        from orchestrator.compare.output.formats import method_rows

        if self._compared.methods is None:
            raise UserError("no complete trial, so there are no methods to compare")
        return pa.Table.from_pylist(method_rows(self._compared.methods))

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers must know."""
        return list(self._compared.notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `orch compare --json` prints them."""
        methods = self._compared.methods
        parts = methods.to_dict() if methods else {}
        first = {
            "verdict": self.answer.verdict, "answer": self.answer.sentence,
            "decision": self.answer.to_dict(),
        }  # fmt: skip
        return {**first, **self._compared.rows.to_dict(), **parts}

    def __str__(self) -> str:
        from orchestrator.compare.output.formats import markdown

        methods = self._compared.methods
        return markdown(self.answer.text, methods) if methods else self.answer.text

    def __repr__(self) -> str:
        methods = self._compared.methods
        names = [standing.method for standing in methods.standings] if methods else []
        return f"Comparison({names}, baseline={self.baseline!r})"

    def _repr_html_(self) -> str:
        from orchestrator.compare.output.configuration_table import configurations_table, footnotes
        from orchestrator.compare.output.tables import all_tables

        compared = self._compared
        parts = parts_of(self.answer)
        if compared.methods:
            parts += map(html.data_table, all_tables(compared.methods))
        if compared.rows.rows:
            parts.append(html.data_table(configurations_table(compared.rows)))
        notes = [*footnotes(compared.rows), *compared.notes]
        return html.page(*parts, *(html.text(note, grey=True) for note in notes))


def comparison_of(ledger: Ledger, options: ComparisonOptions) -> Comparison:
    """Compare a sweep's methods.  Raises `UserError` for a name that does not exist."""
    from orchestrator.compare.compare_sweep import compare_sweep, trials_of
    from orchestrator.decision.answer.answers import answer_of

    compared = compare_sweep(ledger, trials_of(ledger), options)
    return Comparison(compared, Answer(answer_of(ledger, compared)))
