"""From the cells of rows to examples, each checked against the task's declaration."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from trainer.config.tasks import SPLIT_VALUES, Task
from trainer.data.readers.rows import Rows, Unusable

#: What a label's number may look like.  `float` also reads `0_1` and the digits of all scripts.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
#: How many labels a message lists.
_LISTED = 5
#: Type of a value in JSON or Parquet that can be a sentence or a label.
_PLAIN = (str, int, float, bool)


@dataclass
class Examples:
    """The examples of one split, column by column.

    `lines` = `header` + `blank` + `elsewhere` + dropped rows + examples.
    """

    ids: list[str] = field(default_factory=list)
    #: One or two sentences for each example.
    texts: list[list[str]] = field(default_factory=list)
    #: None for a test split.
    labels: list[float] | None = field(default_factory=list)
    #: By reason: rows that are left out, and rows that are kept although they look odd.
    dropped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    #: Lines of the files, or records where a record may have several lines.
    lines: int = 0
    #: Lines that are a header, blank lines, and rows of other splits (outside train also of none).
    header: int = 0
    blank: int = 0
    elsewhere: int = 0
    #: How the files are read, in words (`comma-separated, quotation marks enclose fields`).
    dialect: str = ""

    def report(self) -> dict[str, Any]:
        """The counts, as plain values."""
        return {
            "dropped": dict(self.dropped),
            "noted": dict(self.noted),
            "lines": self.lines,
            "header": self.header,
            "blank": self.blank,
            "elsewhere": self.elsewhere,
            "dialect": self.dialect,
        }


def add_rows(examples: Examples, rows: Rows, task: Task, split: str = "") -> None:
    """Add the rows of one more file.  Rows without an id get their number, which counts on."""
    before = examples.lines
    examples.lines += rows.header + rows.blank
    examples.header += rows.header
    examples.blank += rows.blank
    examples.dialect = examples.dialect or rows.dialect
    for number, row in enumerate(rows.rows, start=before):
        examples.lines += 1
        if isinstance(row, Unusable):
            if row.reason:
                examples.dropped[row.reason] += 1
            else:
                examples.blank += 1
        elif split and task.split_column and (other := _other_split(row[-1], task, split)):
            # A row that belongs to no split is dropped once, not from each split anew.
            if other in SPLIT_VALUES or split != "train":
                examples.elsewhere += 1
            else:
                examples.dropped[other] += 1
        else:
            _add_example(examples, row, task, number)
    examples.noted.update(rows.noted)


def _other_split(value: Any, task: Task, split: str) -> str:
    """The split of a row outside `split`, or why it is in none; empty for a row of `split`."""
    word = "" if value is None else str(value).strip()
    for name in SPLIT_VALUES:
        if word in task.split_values(name):
            return "" if name == split else name
    listed = [each for name in SPLIT_VALUES for each in task.split_values(name)]
    return f"the split is none of {_some(listed)}" if word else "the split is missing"


def _add_example(examples: Examples, row: tuple[Any, ...], task: Task, number: int) -> None:
    """Add a row's example, or count why it is none."""
    texts = row[: len(task.columns)]
    if any(_is_missing(text) for text in texts):
        examples.dropped["a sentence column is missing"] += 1
        return
    if not all(isinstance(text, _PLAIN) for text in texts):
        examples.dropped["a sentence is not text"] += 1
        return
    rest = row[len(texts) :]
    if examples.labels is not None:
        label = _label(rest[0], task)
        if isinstance(label, str):
            examples.dropped[label] += 1
            return
        examples.labels.append(label)
        rest = rest[1:]
    stripped = [str(text).strip() for text in texts]
    if not all(stripped):
        examples.noted["empty sentence, kept"] += 1
    examples.texts.append(stripped)
    given = "" if _is_missing(rest[0]) else str(rest[0]).strip()
    examples.ids.append(given or str(number))


def _is_missing(value: Any) -> bool:
    """Whether a file says nothing: null, or the NaN that pandas writes for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _label(value: Any, task: Task) -> float | str:
    """The label as a number, or the reason why it cannot be used."""
    if _is_missing(value) or (isinstance(value, str) and not value.strip()):
        return "the label is missing"
    number = _number_of_word(value, task) if task.labels else _number(value)
    if number is None and task.labels:
        return f"the label is none of {_some([word for word, _ in task.labels])}"
    if number is None:
        return "the label is not a number"
    low, high = task.label_bounds
    if not low <= number <= high:
        return f"the label is outside {low:g}..{high:g}"
    if task.integer_labels and number != int(number):
        return "the label is not a whole number"
    return number


def _number_of_word(value: Any, task: Task) -> float | None:
    """The number that stands for a label in words.  pandas writes 1 as 1.0 beside missing ones."""
    if isinstance(value, bool):
        return task.label_of(str(value).lower())
    number = task.label_of(str(value).strip())
    if number is None and isinstance(value, float) and value.is_integer():
        return task.label_of(str(int(value)))
    return number


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value := value.strip()) else None
    if isinstance(value, bytes):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _some(words: list[str]) -> str:
    more = ["..."] if len(words) > _LISTED else []
    return ", ".join(words[:_LISTED] + more)
