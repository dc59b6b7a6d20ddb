"""What a task is: data and a declaration.  Another task needs a config entry and no code.

docs/reference/methods.md describes the tasks declared here.  `task_declarations` in a config adds
others, or changes single entries of these:
`{"mine": {"train": "mine.tsv", "columns": ["text"], ...}}`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from trainer.config.task_choices import LOSSES, METRICS

DEFAULT_TASKS = ("sst", "qqp", "sts")


class TaskError(ValueError):
    """A declaration that cannot be used.  `key` is the dotted key below `task_declarations`."""

    def __init__(self, key: str, message: str, allowed: str = ""):
        self.key, self.message, self.allowed = key, message, allowed
        super().__init__(f"{key}: {message}" + (f"; allowed: {allowed}" if allowed else ""))


@dataclass(frozen=True)
class Task:
    """Declaration of one task."""

    name: str
    #: The text columns: one for a sentence, two for a pair.
    columns: tuple[str, ...]
    #: The label's column.
    label: str
    #: A name of `LOSSES`.  It decides the outputs of the head and which labels are allowed.
    loss: str
    #: A name of `METRICS`.
    metric: str
    #: Files.  `dev` is empty for an auxiliary task that is not scored.
    train: str
    dev: str = ""
    test: str = ""
    classes: int = 2
    label_range: tuple[float, float] = (0.0, 1.0)
    #: Whether the task takes part in `dev_score` and `dev_mean`.
    scored: bool = True
    #: Whether its texts are long.  `data.max_length: 0` then cuts them at 512 tokens, not at 128.
    long: bool = False

    @property
    def is_pair(self) -> bool:
        return len(self.columns) == 2

    def identity(self) -> dict[str, Any]:
        """What fingerprints and caches name.  `long` is not in it: `data.max_length` says more.

        A key that came later is left out where it has its default, so that the fingerprints of
        earlier trials stay.
        """
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "long"}

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


def declared_tasks(declarations: dict[str, Any]) -> dict[str, Task]:
    """The tasks above, with `declarations` added or changing them.  Raises `TaskError`."""
    declared = dict(TASKS)
    for name, entry in declarations.items():
        declared[name] = _declare(name, entry, declared.get(name))
    return declared


def _declare(name: str, entry: Any, base: Task | None) -> Task:
    """The task that an entry declares, or that it changes `base` into.  Raises `TaskError`."""
    allowed = [f.name for f in dataclasses.fields(Task) if f.name != "name"]
    if not name.isidentifier():
        raise TaskError(name, "a task's name may have letters, digits and underscores")
    if not isinstance(entry, dict):
        raise TaskError(name, "not a mapping", ", ".join(allowed))
    for key in entry:
        if key not in allowed:
            raise TaskError(f"{name}.{key}", "unknown key", ", ".join(allowed))
    merged: dict[str, Any] = dataclasses.asdict(base) if base else {"name": name}
    merged.update(entry)
    needed = ["columns", "label", "loss", "metric", "train"]
    if merged.get("scored", True):
        needed.append("dev")
    missing = [key for key in needed if not merged.get(key)]
    if missing:
        raise TaskError(name, "missing " + ", ".join(missing))
    for key in ("label", "loss", "metric", "train", "dev", "test"):
        if not isinstance(merged.get(key, ""), str):
            raise TaskError(f"{name}.{key}", f"{merged[key]!r} is not text")
    for key in ("scored", "long"):
        if not isinstance(merged.get(key, True), bool):
            raise TaskError(f"{name}.{key}", f"{merged[key]!r} is not true or false")
    columns = merged["columns"]
    columns = [columns] if isinstance(columns, str) else columns
    texts = isinstance(columns, list | tuple) and all(isinstance(c, str) for c in columns)
    merged["columns"] = tuple(columns) if texts else ()
    if len(merged["columns"]) not in (1, 2):
        raise TaskError(f"{name}.columns", "needs one sentence or a pair", "1 or 2 column names")
    for key, choices in (("loss", LOSSES), ("metric", METRICS)):
        if merged[key] not in choices:
            raise TaskError(f"{name}.{key}", f"unknown value {merged[key]!r}", ", ".join(choices))
    if METRICS[merged["metric"]].needs_classes and not LOSSES[merged["loss"]].integer_labels:
        message = f"{merged['metric']} needs classes, and the labels of {merged['loss']} are real"
        allowed_metrics = [metric.name for metric in METRICS.values() if not metric.needs_classes]
        raise TaskError(f"{name}.metric", message, ", ".join(allowed_metrics))
    if not isinstance(merged.get("classes", 2), int) or merged.get("classes", 2) < 2:
        raise TaskError(f"{name}.classes", "needs at least 2 classes")
    bounds = merged.get("label_range", (0.0, 1.0))
    numbers = isinstance(bounds, list | tuple) and all(isinstance(b, int | float) for b in bounds)
    bounds = tuple(bounds) if numbers else ()
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise TaskError(f"{name}.label_range", "needs two numbers, the smaller one first")
    merged["label_range"] = bounds
    return Task(**merged)
