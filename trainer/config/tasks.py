"""What a task is: data and a declaration.  Another task needs a config entry and no code.

docs/reference/methods.md describes the tasks declared here.  `task_declarations` in a config adds
others, or changes single entries of these:
`{"mine": {"train": "mine.tsv", "columns": ["text"], ...}}`.  trainer/config/task_declaration.py
checks them.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from trainer.config.dialects import AUTO, SEPARATORS
from trainer.config.task_choices import LOSSES

DEFAULT_TASKS = ("sst", "qqp", "sts")
#: Values of a split column that name a split, unless the declaration says others (`splits`).
SPLIT_VALUES = {
    "train": ("train",),
    "dev": ("dev", "validation", "valid", "val"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Task:
    """Declaration of one task.

    A column is named, or given as its number (the first one is 1).
    """

    name: str
    #: The text columns: one for a sentence, two for a pair.
    columns: tuple[str | int, ...]
    #: The label's column.
    label: str | int
    #: A name of `LOSSES`.  It decides the outputs of the head and which labels are allowed.
    loss: str
    #: A name of `METRICS`.
    metric: str
    #: Files, a single one or several; read them with `files`.  `dev` is empty for an auxiliary task
    #: that is not scored.
    train: str | tuple[str, ...]
    dev: str | tuple[str, ...] = ""
    test: str | tuple[str, ...] = ""
    classes: int = 2
    label_range: tuple[float, float] = (0.0, 1.0)
    #: Whether the task takes part in `dev_score` and `dev_mean`.
    scored: bool = True
    #: Whether its texts are long.  `data.max_length: 0` then cuts them at 512 tokens, not at 128.
    long: bool = False
    #: The column of the examples' ids.  If empty, it is `id`, and without one the row's number.
    id: str | int = ""
    #: A name of `SEPARATORS`, or the character itself.  `auto` finds it in the first line.
    separator: str = AUTO
    #: A name of `QUOTES`.  `auto` is `none` in `.tsv` files and `one_line` in others.
    quotes: str = AUTO
    #: Whether the first line names the columns.
    header: bool = True
    #: The column that says to which split a row belongs, and what it says for each split.
    split_column: str | int = ""
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    #: What the label's column says, and the number that stands for it.  If empty, it says numbers.
    labels: tuple[tuple[str, float], ...] = ()

    @property
    def is_pair(self) -> bool:
        return len(self.columns) == 2

    def identity(self) -> dict[str, Any]:
        """What fingerprints and caches name.  `long` is not in it: `data.max_length` says more.

        A key that came later is left out where it has its default, so that the fingerprints of
        earlier trials stay.
        """
        return {
            key: value
            for key, value in dataclasses.asdict(self).items()
            if key != "long" and not (key in _LATER and value == _LATER[key])
        }

    def files(self, split: str) -> tuple[str, ...]:
        """The files of `train`, `dev` or `test`; empty if the task has no such split."""
        named = getattr(self, split)
        return named if isinstance(named, tuple) else tuple(filter(None, (named,)))

    def split_values(self, split: str) -> tuple[str, ...]:
        """What the split column says in the rows of a split."""
        return dict(self.splits).get(split, SPLIT_VALUES[split])

    @property
    def separator_character(self) -> str:
        """The character between two fields; empty for `auto`."""
        if self.separator == AUTO:
            return ""
        named = SEPARATORS.get(self.separator)
        return named.character if named else self.separator

    @property
    def label_name(self) -> str:
        """What to call the label for people; a column may have no name."""
        return self.label if isinstance(self.label, str) else "label"

    def label_of(self, text: str) -> float | None:
        """The number that stands for a label in words; None if it is none of `labels`."""
        return _numbers(self.labels).get(text)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of every class, which is its number if `labels` has none; empty without classes.

        Of several words for one class, the first of the alphabet is its name.
        """
        names = {number: word for word, number in reversed(self.labels)}
        return tuple(names.get(number, str(number)) for number in range(self.label_classes))

    @property
    def outputs(self) -> int:
        """Width of the head's output."""
        return self.classes if LOSSES[self.loss].output_per_class else 1

    @property
    def integer_labels(self) -> bool:
        return LOSSES[self.loss].integer_labels

    @property
    def label_bounds(self) -> tuple[float, float]:
        """Smallest and largest allowed label."""
        if not self.integer_labels:
            return self.label_range
        return 0.0, float(self.classes - 1 if LOSSES[self.loss].output_per_class else 1)

    @property
    def label_classes(self) -> int:
        """How many classes the labels have; 0 if they are real numbers."""
        return int(self.label_bounds[1]) + 1 if self.integer_labels else 0


@functools.lru_cache(maxsize=64)
def _numbers(labels: tuple[tuple[str, float], ...]) -> dict[str, float]:
    return dict(labels)


#: Keys that came after the first fingerprints -> their defaults.
_LATER = {
    f.name: f.default
    for f in dataclasses.fields(Task)
    if f.name in ("id", "separator", "quotes", "header", "split_column", "splits", "labels")
}

_SENTENCE, _PAIR = ("sentence",), ("sentence1", "sentence2")


def _files(prefix: str) -> tuple[str, str, str]:
    """The course's names of the train, dev and test file."""
    return f"{prefix}-train.csv", f"{prefix}-dev.csv", f"{prefix}-test-student.csv"


#: The course's tasks, and P1's auxiliary one: 500 Yelp reviews per star, label stars - 1.
TASKS = {
    task.name: task
    for task in (
        Task("sst", _SENTENCE, "sentiment", "cross_entropy", "accuracy", *_files("ids-sst"),
             classes=5),
        Task("qqp", _PAIR, "is_duplicate", "bce", "accuracy", *_files("quora")),
        Task("sts", _PAIR, "similarity", "mse", "pearson", *_files("sts"), label_range=(0.0, 5.0)),
        Task("cfimdb", _SENTENCE, "sentiment", "cross_entropy", "accuracy", *_files("ids-cfimdb"),
             long=True),
        Task("yelp", _SENTENCE, "sentiment", "cross_entropy", "accuracy", "yelp-train.csv",
             classes=5, scored=False, long=True),
    )
}  # fmt: skip
