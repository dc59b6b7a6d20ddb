"""The beginning of a report: question, verdict, table, how it was decided, and what next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.compare.output.tables import TableData
from orchestrator.compare.published import MINUTES
from orchestrator.decision.answer.block import also, explained, headline, table
from orchestrator.report.parts import Code, Part, Table, Text, Words
from orchestrator.report.words import of_papers, used_in

if TYPE_CHECKING:
    from orchestrator.decision.answer.answer import Answer, Contest
    from orchestrator.report.figure import Figure
    from orchestrator.report.measures import Published


@dataclass(frozen=True)
class Head:
    """The same answer as at the end of `orch sweep`.

    Attributes:
        verdict: its first words, from a closed set.
        reason: the sentence after them.
        picture: the two methods; None if there is nothing to draw.
        beside: what stands beside the picture: the table of both methods.
        parts: what stands below: other methods, how it was decided, what words mean.
        next: what to run next.
    """

    question: str
    verdict: str
    reason: str
    picture: Figure | None
    beside: list[Part]
    parts: list[Part]
    next: list[Part]


def head(answer: Answer, picture: Figure | None, published: Published | None) -> Head:
    """The beginning of the report of an answer.

    Args:
        published: a paper's rows of the first contest's configurations.
    """
    beside: list[Part] = []
    parts: list[Part] = []
    for number, contest in enumerate(answer.contests):
        if number:
            parts.append(Text(also(contest)))
        if data := _table(answer, contest, None if number else published):
            caption = f"{contest.one.title} against {contest.other.title}."
            (parts if number else beside).append(Table(caption, data))
    parts += [Text(line) for line in explained(answer)]
    if published:
        parts.append(Text(f"Published: {of_papers(published.source)}."))
    if words := used_in(_texts(answer, [*beside, *parts])):
        parts.append(Words(words))
    steps: list[Part] = [Text(line) for line in answer.plan]
    if answer.next:
        steps.append(Code("\n".join(answer.next), "What to run next"))
    reason = headline(answer).removeprefix(f"{answer.verdict}. ")
    return Head(answer.question, answer.verdict, reason, picture, beside, parts, steps)


def _texts(answer: Answer, parts: list[Part]) -> list[str]:
    """All that the beginning says."""
    texts = [headline(answer), answer.question]
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
        if isinstance(part, Table):
            texts += [*part.data.columns, *(cell.text for row in part.data.rows for cell in row)]
    return texts


def _table(answer: Answer, contest: Contest, published: Published | None) -> TableData | None:
    rows = table(answer, contest)
    if not rows:
        return None
    data = TableData(list(rows[0]))
    for row in rows[1:]:
        data.add(*map(_unbroken, row))
        if published and row[0] == rows[1][0]:
            data.add(*_published_row(published, answer.metric))
        if published and row[0].startswith("minutes"):
            data.add(*_published_row(published, MINUTES))
    return data


def _published_row(published: Published, key: str) -> tuple[str, str, str, str]:
    """The paper's figures of both methods, and their difference or ratio."""
    one, other = (row.published.get(key) for row in published.rows)
    if key == MINUTES:
        between = published.ratio()
        text = "-" if between is None else f"{between:.2f}"
    else:
        between = published.difference(key)
        text = "-" if between is None else f"{between:+.3f}"
    digits = 2 if key == MINUTES else 3
    first, second = ("-" if end is None else f"{end:.{digits}f}" for end in (one, other))
    return "published", first, second, text


def _unbroken(cell: str) -> str:
    """An interval and a number with its unit stay on one line on a narrow page."""
    return cell.replace(", ", ",\u00a0").replace(" min", "\u00a0min")
