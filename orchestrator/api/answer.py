"""A sweep's answer in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.api import html

if TYPE_CHECKING:
    from orchestrator.decision.answer import answer as computed


class Answer:
    """The answer to a sweep's question, with the words that the terminal shows.

    `print(answer)` prints the whole block.  A notebook shows it as HTML.
    """

    def __init__(self, answer: computed.Answer):
        self._answer = answer

    @property
    def question(self) -> str:
        """The sweep's question."""
        return self._answer.question

    @property
    def verdict(self) -> str:
        """`YES`, `NO`, `NO DIFFERENCE THAT MATTERS` or `NOT DECIDED`."""
        return self._answer.verdict

    @property
    def sentence(self) -> str:
        """The verdict and its reason."""
        from orchestrator.decision.answer.block import headline

        return headline(self._answer)

    @property
    def text(self) -> str:
        """Question, verdict, table, how it was decided, and what to run next."""
        from orchestrator.decision.answer.block import block

        return block(self._answer)

    @property
    def next(self) -> list[str]:
        """The commands to run next."""
        return list(self._answer.next)

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values, as under `decision` in `orch compare --json`."""
        return self._answer.to_dict()

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Answer({self.verdict!r})"

    def _repr_html_(self) -> str:
        return html.page(*parts_of(self))


def parts_of(answer: Answer) -> list[str]:
    """The answer as pieces of HTML."""
    from orchestrator.decision.answer import block

    found = answer._answer
    reason = block.headline(found).removeprefix(f"{found.verdict}. ")
    parts = [html.text(found.question), html.verdict(found.verdict, reason)]
    for number, contest in enumerate(found.contests):
        parts.append(html.text(block.also(contest)) if number else "")
        rows = block.table(found, contest)
        parts.append(html.table(rows[0], rows[1:], range(4)) if rows else "")
    parts += map(html.text, (*block.explained(found), *found.plan))
    return [*parts, html.code("\n".join(found.next))]
