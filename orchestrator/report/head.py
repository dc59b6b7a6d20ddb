"""The beginning of a report: question, verdict, table, how it was decided, and what next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.compare.output.tables import TableData
from orchestrator.decision.answer.block import also, explained, headline, table
from orchestrator.report.parts import Code, Part, Table, Text

if TYPE_CHECKING:
    from orchestrator.decision.answer.answer import Answer, Contest


@dataclass(frozen=True)
class Head:
    """The same answer as at the end of `orch sweep`.

    Attributes:
        verdict: its first words, from a closed set.
        reason: the sentence after them.
    """

    question: str
    verdict: str
    reason: str
    parts: list[Part]


def head(answer: Answer) -> Head:
    parts: list[Part] = []
    for number, contest in enumerate(answer.contests):
        if number:
            parts.append(Text(also(contest)))
        if data := _table(answer, contest):
            caption = f"{contest.one.title} against {contest.other.title}."
            parts.append(Table(caption, data))
    parts += [Text(line) for line in (*explained(answer), *answer.plan)]
    if answer.next:
        parts += [Text("Next:"), Code("\n".join(answer.next), "What to run next")]
    reason = headline(answer).removeprefix(f"{answer.verdict}. ")
    return Head(answer.question, answer.verdict, reason, parts)


def _table(answer: Answer, contest: Contest) -> TableData | None:
    rows = table(answer, contest)
    if not rows:
        return None
    data = TableData(list(rows[0]))
    for row in rows[1:]:
        data.add(*map(_unbroken, row))
    return data


def _unbroken(cell: str) -> str:
    """An interval and a number with its unit stay on one line on a narrow page."""
    return cell.replace(", ", ",\u00a0").replace(" min", "\u00a0min")
