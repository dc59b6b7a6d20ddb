"""A paper's rows as a table, each with ours below it, and what the table's numbers mean."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.compare.configurations import Spread
from orchestrator.compare.published import MINUTES, SCORES, Pair, SideBySide
from orchestrator.table_data import Cell, Column, Content, TableData
from trainer.metrics import EPOCH, FIRST_CLOCK_NOTE
from trainer.storage.summary import BEST, LAST

_MARKS = {
    "†": "† measured by orch time.",
    "*": "* something else was running on the device.",
    "?": "? unknown whether something else was running on the device.",
    "°": FIRST_CLOCK_NOTE,
}


def published_table(pairs: Sequence[Pair]) -> TableData:
    """Two lines for a row: the paper's figures, and ours as mean ± standard deviation.

    A third line has the epoch that does not count, where its figures differ.

    Figures that no published row has are left out.  The last column has the number of the note
    that says what was run.
    """
    shown = _figures(pairs)
    has_B = any(pair.published_B or (pair.ran and pair.ran.B_text) for pair in pairs)
    names = [EPOCH[key].compare if key in EPOCH else key for key in shown]
    data = TableData(
        [
            Column("method", Content.LABEL),
            Column("seeds", Content.NUMBER, 5),
            *([Column("B", Content.NUMBER, 4)] if has_B else []),
            *(
                Column(name, Content.NUMBER, 1 if key in (*SCORES, MINUTES) else 3)
                for name, key in zip(names, shown, strict=True)
            ),
            Column("ran", Content.SENTENCE, 2),
        ]
    )
    setups = _setups(pairs)
    for pair in pairs:
        theirs = [_number(pair.published.get(key), key) for key in shown]
        of_B = [f"{pair.published_B:,}" if pair.published_B else ""] if has_B else []
        data.add(pair.method, "", *of_B, *theirs, "")
        if pair.absent or pair.ran is None:
            data.add("  ours", "-", *[""] * len(of_B), *["-"] * len(shown), pair.absent)
            continue
        cells = []
        for key in shown:
            mark = pair.minutes_mark if key == MINUTES else ""
            text = _spread(pair.ours.get(key), key, mark) + _too_high(pair, key, pair.score)
            cells.append(Cell(text, mark not in ("", "†")))
        number = setups.index(_setup(pair)) + 1
        of_B = [pair.ran.B_text] if has_B else []
        data.add("  ours", str(len(pair.seeds)), *of_B, *cells, f"[{number}]")
        if _epochs_differ(pair, shown):
            other = BEST if pair.score == LAST else LAST
            texts = [_spread(pair.other.get(key), key, "") for key in shown]
            texts = [
                text + _too_high(pair, key, other) for key, text in zip(shown, texts, strict=True)
            ]
            data.add(f"  {other} epoch", "", *([""] if has_B else []), *texts, "")
    return data


def published_notes(beside: SideBySide) -> list[str]:
    """What was run, what the paper ran instead, notes of rows, and marks of minutes."""
    notes, pairs = [], beside.pairs
    for number, (ran, differs) in enumerate(_setups(pairs), 1):
        notes.append(f"[{number}] {ran}")
        if differs:
            notes.append(f"    published: {differs}")
    notes += [beside.note] if beside.note else []
    notes += [f"{pair.method}: {pair.note}" for pair in pairs if pair.note]
    if any(_too_high(pair, key, BEST) for pair in pairs for key in pair.optimism):
        notes.append(
            "In brackets: by how much figures of the best epoch are too high, because the same dev "
            "examples chose it."
        )
    marks = {mark for pair in pairs if MINUTES in pair.ours for mark in pair.minutes_mark}
    if MINUTES in _figures(pairs):
        notes += [text for mark, text in _MARKS.items() if mark in marks]
    return notes


def _figures(pairs: Sequence[Pair]) -> list[str]:
    """The figures that some published row has: tasks first, then scores and minutes."""
    names = dict.fromkeys(name for pair in pairs for name in pair.published)
    last = [key for key in (*SCORES, MINUTES) if key in names]
    return [*(name for name in names if name not in last), *last]


def _setups(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """Every set-up once, each with what differs from the paper's."""
    return list(dict.fromkeys(_setup(pair) for pair in pairs if pair.ran is not None))


def _setup(pair: Pair) -> tuple[str, str]:
    assert pair.ran is not None
    # B has a column of its own.
    differs = [text for text in pair.differs if not text.startswith("B ")]
    return pair.ran.text, ", ".join(differs)


def _epochs_differ(pair: Pair, shown: Sequence[str]) -> bool:
    return any(pair.other[key] != pair.ours.get(key) for key in shown if key in pair.other)


def _too_high(pair: Pair, key: str, score: str) -> str:
    """The optimism of a figure of the best epoch, in brackets."""
    if score != BEST or key not in pair.optimism:
        return ""
    return f" ({pair.optimism[key].mean:+.3f})"


def _number(value: float | None, key: str) -> str:
    return "-" if value is None else f"{value:.{2 if key == MINUTES else 3}f}"


def _spread(value: Spread | None, key: str, mark: str) -> str:
    return "-" if value is None else value.text(2 if key == MINUTES else 3) + mark
