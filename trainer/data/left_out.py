"""What a reader left out or found odd in a split, in one line for people.

A split is described by plain values: `rows` (those that are used), `usable` (those that could be
used), and the counts of `dropped` and `noted` rows by reason.  So config.json can keep it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: A larger share of dropped rows is an error, unless `data.allow_dropped` names the task.
MOST_DROPPED = 1 / 3
#: How the course's files and generated ones are read.  Any other way is told.
_USUAL = ("tab-separated", "generated")


@dataclass(frozen=True)
class LeftOut:
    """What happened to the rows of one task and split.

    Attributes:
        usable: the rows that could be used, before `data.limit`.
        dropped: reason -> rows that are left out.
        noted: reason -> rows that are kept although they look odd, or that were cut.
        dialect: how the files were read, in words; empty if unknown.
    """

    task: str
    split: str
    usable: int
    dropped: dict[str, int]
    noted: dict[str, int]
    dialect: str = ""

    @property
    def lost(self) -> int:
        """The number of dropped rows."""
        return sum(self.dropped.values())

    @property
    def share(self) -> float:
        """The dropped rows as a share of all rows of the split."""
        return self.lost / max(1, self.usable + self.lost)

    @property
    def told(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.dropped or self.noted or self._unusual)

    @property
    def _unusual(self) -> str:
        return "" if self.dialect.startswith(_USUAL) else self.dialect

    def line(self) -> str:
        """`mine train: 33 of 100 rows dropped (33.0 %): the label is missing: 33 (33.0 %)`, and
        the rows that were cut or noted, as shares of those that are kept."""
        total = self.usable + self.lost
        parts = [f"{total:,} rows, none dropped"]
        if self.lost:
            reasons = by_reason(self.dropped, total)
            parts = [f"{self.lost:,} of {total:,} rows dropped ({self.share:.1%}): {reasons}"]
        if self.noted:
            parts.append(by_reason(self.noted, self.usable))
        if self._unusual:
            parts.append(f"read as {self._unusual}")
        return f"{self.task} {self.split}: {'; '.join(parts)}"


def of_rows(rows: Any) -> list[LeftOut]:
    """From task -> split -> description, as config.json has it; what is not one is skipped."""
    return list(_of_rows(rows))


def lines(parts: Iterable[LeftOut]) -> list[str]:
    """A line for each split with something to tell, and one that names the others."""
    told, clean = [], dict[str, list[str]]()
    for part in parts:
        if part.told:
            told.append(f"data: {part.line()}")
        else:
            clean.setdefault(part.task, []).append(part.split)
    if clean:
        names = ", ".join(f"{task} ({', '.join(splits)})" for task, splits in clean.items())
        told.append(f"data: no row dropped or cut: {names}")
    return told


def too_much(parts: Iterable[LeftOut], allowed: Iterable[str]) -> str:
    """The message if more than a third of a split was dropped; empty if that is nowhere so.

    Args:
        allowed: `data.allow_dropped`, the tasks that may lose more.
    """
    much = [part for part in parts if part.share > MOST_DROPPED and part.task not in allowed]
    if not much:
        return ""
    names = ", ".join(dict.fromkeys(part.task for part in much))
    return "\n".join(
        [
            *(part.line() for part in much),
            "more than a third of the rows cannot be used: correct the files or the declaration, "
            f"or set data.allow_dropped to [{names}]",
        ]
    )


def _of_rows(rows: Any) -> Iterator[LeftOut]:
    for task, splits in _items(rows):
        for split, about in _items(splits):
            if isinstance(about, Mapping):
                usable = about.get("usable", about.get("rows"))
                yield LeftOut(
                    task,
                    split,
                    usable if isinstance(usable, int) else 0,
                    _counts(about.get("dropped")),
                    _counts(about.get("noted")),
                    str(about.get("dialect") or ""),
                )


def _items(value: Any) -> list[tuple[str, Any]]:
    return [(str(key), each) for key, each in value.items()] if isinstance(value, Mapping) else []


def _counts(value: Any) -> dict[str, int]:
    return {key: count for key, count in _items(value) if isinstance(count, int) and count}


def by_reason(counts: Mapping[str, int], total: int) -> str:
    """`the label is missing: 3 (1.5 %), ...`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{why}: {n:,} ({n / max(1, total):.1%})" for why, n in ordered)
