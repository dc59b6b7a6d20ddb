"""The answer as a block of text: no line is longer than 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from orchestrator.decision.answer import Answer, Bounded, Contest, Side

WIDTH = 80
_LABEL, _SIDE = 16, 19


def block(answer: Answer) -> str:
    """Question, verdict, a small table, how it was decided, and what to run next."""
    parts = [_wrapped(answer.question)] if answer.question else []
    if answer.contests:
        first, *others = answer.contests
        parts[-1:] = ["\n".join([*parts[-1:], _wrapped(f"{first.verdict}. {first.sentence}")])]
        if not first.problem:
            parts.append(_table(answer, first))
        parts += [_wrapped(_short(contest)) for contest in others]
    told = [answer.how, *answer.notes]
    if answer.best:
        told.append(f"Best:  {answer.best}")
    parts.append("\n".join(_wrapped(line) for line in told if line))
    if answer.plan:
        parts.append("\n".join(_wrapped(line) for line in answer.plan))
    if answer.next:
        parts.append(_commands(answer.next))
    return "\n\n".join(part for part in parts if part)


def headline(answer: Answer) -> str:
    """The verdict and its reason on one line, for places without room for the block."""
    if not answer.contests:
        return f"Best: {answer.best}" if answer.best else ""
    first = answer.contests[0]
    return f"{first.verdict}. {first.sentence}"


def _table(answer: Answer, contest: Contest) -> str:
    one, other = contest.one, contest.other
    metric = "dev score" if answer.metric == "dev_score" else answer.metric
    lines = [
        _row("", one.title, other.title, "difference (95 %)"),
        _row(metric, _three(one.score), _three(other.score), _difference(contest.difference)),
        _row("minutes/epoch", _minutes(one.minutes), _minutes(other.minutes),
             _ratio(contest.minutes_ratio) or "not measured alone"),
        _row("examples/epoch", _count(one.examples), _count(other.examples), ""),
    ]  # fmt: skip
    if contest.to_same_score is not None:
        mine, theirs = _total(one.minutes_to_score), _total(other.minutes_to_score)
        lines.append(_row("to same score", mine, theirs, _ratio(contest.to_same_score)))
    lines += _configurations(one, other)
    return "\n".join(line.rstrip() for line in lines)


def _row(label: str, one: str, other: str, difference: str) -> str:
    row = f"  {label:<{_LABEL}}{one:<{_SIDE}}{other:<{_SIDE}}{difference}"
    return row if len(row) <= WIDTH else f"{row[: WIDTH - 1]}…"


def _configurations(one: Side, other: Side) -> Iterable[str]:
    """The two configurations, over several lines where they are long."""
    columns = [textwrap.wrap(side.configuration, _SIDE - 2) or [""] for side in (one, other)]
    for number in range(max(map(len, columns))):
        mine, theirs = (column[number] if number < len(column) else "" for column in columns)
        yield _row("configuration" if number == 0 else "", mine, theirs, "")


def _short(contest: Contest) -> str:
    """Another method against the same baseline, on a line."""
    about = f"{contest.one.title} against {contest.other.title}: {contest.verdict}."
    return f"{about} {contest.sentence}"


def _difference(value: Bounded | None) -> str:
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return f"{value.value:+.3f}"
    return f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]"


def _ratio(value: Bounded | None) -> str:
    if value is None:
        return ""
    if value.low is None or value.high is None:
        return f"{value.value:.2f}"
    return f"{value.value:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _three(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _minutes(value: float | None) -> str:
    """Three digits."""
    return "-" if value is None else f"{value:#.3g}".rstrip(".")


def _total(value: float | None) -> str:
    return "-" if value is None else f"{_minutes(value)} min"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _commands(commands: Iterable[str]) -> str:
    """`Next:` with as many commands on a line as fit."""
    lines, line = [], "Next:"
    for command in commands:
        if line != "Next:" and len(line) + len(command) + 3 > WIDTH:
            lines.append(line)
            line = "     "
        line += ("  " if line.strip() in ("Next:", "") else "   ") + command
    return "\n".join([*lines, line])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
