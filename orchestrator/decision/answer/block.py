"""The answer for people: a block of text, its table, and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.decision.answer.answer import Answer, Bounded, Contest
from orchestrator.decision.answer.words import difference_text, ratio_text
from trainer.printable import markdown_text, printable

#: Of the block, unless a terminal has another width.
WIDTH = 80
#: Of the table: a label, two methods, their difference; behind an indent of two.
_COLUMNS = (16, 18, 18, 26)
_NOT_ALONE, _NOT_COMPARED = "not measured alone", "not comparable"

Cells = tuple[str, str, str, str]


def block(answer: Answer, width: int | None = None) -> str:
    """Question, verdict, a small table, how it was decided, and what to run next.

    Args:
        width: in characters. A word is broken only if it is longer.
    """
    width = width or WIDTH
    head = [_wrapped(answer.question, width), _wrapped(headline(answer), width)]
    return printable(_joined([head, *_body(answer, width)]))


def markdown(answer: Answer) -> str:
    """The verdict in bold, and the rest of the block between code fences."""
    rest = printable(_joined([[_wrapped(answer.question, WIDTH)], *_body(answer, WIDTH)]))
    fence = "```"
    while fence in rest:  # in the question, perhaps
        fence += "`"
    return f"**{markdown_text(headline(answer))}**\n\n{fence}text\n{rest}\n{fence}"


def in_json(answer: Answer) -> dict[str, Any]:
    """The answer's fields in the JSON of every command."""
    return {
        "verdict": answer.verdict, "answer": headline(answer), "decision": answer.to_dict(),
    }  # fmt: skip


def headline(answer: Answer) -> str:
    """The verdict and its reason on one line; its first words come from a closed set."""
    if answer.contests:
        return f"{answer.verdict}. {answer.contests[0].sentence}"
    return f"{answer.verdict}. There are no two methods with complete trials to compare."


def also(contest: Contest) -> str:
    """Another method against the same baseline, on a line."""
    about = f"{contest.one.title} against {contest.other.title}: {contest.verdict}."
    return f"{about} {contest.sentence}"


def explained(answer: Answer) -> list[str]:
    """How it was decided, what a reader must know, and the best configuration."""
    best = f"Best:  {answer.best}" if answer.best else ""
    return [line for line in (answer.how, *answer.notes, best) if line]


def table(answer: Answer, contest: Contest) -> list[Cells]:
    """The rows of a contest's table, the first one with its titles.

    It is empty if a method has no score.
    """
    one, other = contest.one, contest.other
    if one.score is None or other.score is None:
        return []
    metric = "dev score" if answer.metric == "dev_score" else answer.metric
    difference = _NOT_COMPARED if contest.problem else difference_text(contest.difference)
    rows: list[Cells] = [
        ("", one.title, other.title, "difference (95 %)"),
        (metric, f"{one.score:.3f}", f"{other.score:.3f}", difference),
    ]
    if one.minutes is not None or other.minutes is not None:
        ratio = _times(contest.minutes_ratio)
        rows.append(("minutes/epoch", _digits(one.minutes), _digits(other.minutes), ratio))
    if one.examples is not None or other.examples is not None:
        rows.append(("examples/epoch", _count(one.examples), _count(other.examples), ""))
    if one.minutes_to_score is not None and other.minutes_to_score is not None:
        mine, theirs = (f"{_digits(side.minutes_to_score)} min" for side in (one, other))
        ratio = _times(contest.to_same_score)
        rows.append(("to same score", mine, theirs, ratio))
    if one.configuration or other.configuration:
        rows.append(("configuration", one.configuration, other.configuration, ""))
    return rows


def _times(ratio: Bounded | None) -> str:
    """A ratio in a column of differences."""
    text = ratio_text(ratio)
    return f"× {text}" if text else _NOT_ALONE


def _body(answer: Answer, width: int) -> list[list[str]]:
    """The paragraphs below the verdict, as lines."""
    first, others = answer.contests[:1], answer.contests[1:]
    return [
        [line for contest in first for line in _contest(table(answer, contest), width)],
        *([_wrapped(also(contest), width)] for contest in others),
        [_wrapped(line, width) for line in explained(answer)],
        [_wrapped(line, width) for line in answer.plan],
        _commands(answer.next, width),
    ]


def _contest(rows: Sequence[Cells], width: int) -> list[str]:
    """The lines of a contest's table; a paragraph for each row where it is too wide."""
    if width >= WIDTH:
        return [line for row in rows for line in _lines(row)]
    lines = []
    for title, *cells in rows[1:]:
        lines.append(title)
        for heading, cell in zip(rows[0][1:], cells, strict=True):
            lines += _entry(heading, cell, max(map(len, rows[0])), width) if cell else []
    return lines


def _entry(heading: str, cell: str, margin: int, width: int) -> list[str]:
    """`  ARRP  0.664`, over two lines if that is too wide, because numbers are not broken."""
    line = f"  {heading:<{margin}}  {cell}"
    if len(line) <= width:
        return [line]
    cells = textwrap.wrap(cell, width - 4, break_on_hyphens=False)
    return [f"  {heading}", *(f"    {part}" for part in cells)]


def _joined(paragraphs: Iterable[Sequence[str]]) -> str:
    texts = ("\n".join(filter(None, lines)) for lines in paragraphs)
    return "\n\n".join(filter(None, texts))


def _lines(cells: Cells) -> list[str]:
    """A row of the table, over several lines where a cell is longer than its column."""
    columns = [
        textwrap.wrap(cell, width - (2 if number < 3 else 0), break_on_hyphens=False)
        for number, (cell, width) in enumerate(zip(cells, _COLUMNS, strict=True))
    ]
    lines = []
    for number in range(max(map(len, columns))):
        parts = (column[number] if number < len(column) else "" for column in columns)
        padded = (f"{part:<{width}}" for part, width in zip(parts, _COLUMNS, strict=True))
        lines.append(f"  {''.join(padded)}".rstrip())
    return lines


def _digits(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _commands(commands: Iterable[str], width: int) -> list[str]:
    """`Next:` with as many commands on a line as fit; a command is never broken."""
    lines: list[str] = []
    for command in commands:
        if lines and len(lines[-1]) + 3 + len(command) <= width:
            lines[-1] += f"   {command}"
        else:
            lines.append(("       " if lines else "Next:  ") + command)
    return lines


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_on_hyphens=False)
