"""Checks `task_declarations`: every mistake at once, each with its key and what is allowed."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from trainer.config.dialects import AUTO, QUOTES, SEPARATORS
from trainer.config.fields import Problem, unknown_key
from trainer.config.task_choices import LOSSES, METRICS
from trainer.config.tasks import SPLIT_VALUES, TASKS, Task

#: Most classes of a task: every one is an output of the head and a row of the confusion matrix.
MOST_CLASSES = 1000
#: The keys of an entry.
_KEYS = [f.name for f in dataclasses.fields(Task) if f.name != "name"]
_NEEDED = ("columns", "label", "loss", "metric", "train")


class TaskError(ValueError):
    """Declarations that cannot be used: all their problems."""

    def __init__(self, problems: list[Problem]):
        self.problems = problems
        super().__init__("\n".join(map(str, problems)))


class _Wrong(ValueError):
    """A value that its key cannot have, and what is allowed."""

    def __init__(self, message: str, allowed: str = ""):
        self.message, self.allowed = message, allowed
        super().__init__(message)


def declared_tasks(declarations: Mapping[str, Any]) -> dict[str, Task]:
    """The project's tasks, with `declarations` added or changing them.

    Raises `TaskError` with every problem of every declaration.
    """
    declared = dict(TASKS)
    problems: list[Problem] = []
    for name, entry in declarations.items():
        problems += _declare(declared, str(name), entry)
    if problems:
        raise TaskError(problems)
    return declared


def _declare(declared: dict[str, Task], name: str, entry: Any) -> list[Problem]:
    """Add the task that an entry declares, or that it changes another one into.

    Returns the problems: of single values, of missing ones, and of what does not fit together, as
    far as those values are right by themselves.
    """
    key = f"task_declarations.{name}"
    problems: list[Problem] = []
    if not name.isidentifier():
        problems.append(Problem(key, "a task's name may have letters, digits and underscores"))
    if not isinstance(entry, dict):
        return [*problems, Problem(key, "not a mapping", ", ".join(_KEYS))]
    values = _values(entry, key, problems)
    base = declared.get(name)
    values |= _derived(values, base)
    if base is not None:
        values = {f.name: getattr(base, f.name) for f in dataclasses.fields(Task)} | values
    wrong = {part for part in entry if part not in values}
    needed = [*_NEEDED, *(["dev"] if values.get("scored", True) else [])]
    missing = [part for part in needed if part not in wrong and not values.get(part)]
    if missing:
        problems.append(Problem(key, "missing " + ", ".join(missing)))
    # A right value stands in for one that is wrong or missing; no rule about it is asked.
    stand_ins = {part: getattr(TASKS["sst"], part) for part in needed if not values.get(part)}
    task = Task(**{**values, **stand_ins, "name": name})
    for parts, rule in _RULES:
        if not {*wrong, *missing} & set(parts):
            problems += [
                Problem(f"{key}.{part}", message, allowed) for part, message, allowed in rule(task)
            ]
    declared[name] = task
    return problems


def _values(entry: dict[Any, Any], key: str, problems: list[Problem]) -> dict[str, Any]:
    """The values of an entry that are right by themselves."""
    values = {}
    for part, value in entry.items():
        if part not in _CHECKS:
            problems.append(unknown_key(str(part), f"{key}.", _KEYS))
            continue
        try:
            values[part] = _CHECKS[part](value)
        except _Wrong as wrong:
            problems.append(Problem(f"{key}.{part}", wrong.message, wrong.allowed))
    return values


def _derived(values: dict[str, Any], base: Task | None) -> dict[str, Any]:
    """What follows from an entry's values: classes from labels, files from a split column."""
    derived: dict[str, Any] = {}
    loss = LOSSES.get(values.get("loss") or (base.loss if base else ""))
    if values.get("labels") and "classes" not in values and loss and loss.output_per_class:
        largest = max(number for _, number in values["labels"])
        derived["classes"] = int(min(max(largest, 1), MOST_CLASSES)) + 1
    if values.get("split_column") and values.get("train"):
        derived |= {part: values["train"] for part in ("dev", "test") if not values.get(part)}
    return derived


#: Key, message, and what is allowed.
_Misfits = Iterator[tuple[str, str, str]]


def _one_use_for_a_column(task: Task) -> _Misfits:
    columns = [*task.columns, task.label, *filter(None, (task.id, task.split_column))]
    for column in _repeated(columns):
        yield "columns", f"the column {column!r} is named twice", "another column for each use"


def _numbers_without_a_header(task: Task) -> _Misfits:
    columns = [*task.columns, task.label, task.id, task.split_column]
    named = [column for column in columns if column and isinstance(column, str)]
    if named and not task.header:
        message = f"a file without a header has no column {named[0]!r}"
        yield "header", message, "column numbers (the first one is 1), or header: true"


def _metric_of_the_labels(task: Task) -> _Misfits:
    if METRICS[task.metric].needs_classes and not LOSSES[task.loss].integer_labels:
        message = f"{task.metric} needs classes, and the labels of {task.loss} are real"
        yield "metric", message, ", ".join(m.name for m in METRICS.values() if not m.needs_classes)


def _numbers_of_labels(task: Task) -> _Misfits:
    low, high = task.label_bounds
    whole = LOSSES[task.loss].integer_labels
    for word, number in task.labels:
        if not low <= number <= high or (whole and number != int(number)):
            kind = "whole numbers" if whole else "numbers"
            yield f"labels.{word}", f"{number:g} is no label here", f"{kind} {low:g} to {high:g}"


def _splits_of_a_column(task: Task) -> _Misfits:
    if task.splits and not task.split_column:
        yield "splits", "needs the column that says a row's split", "split_column"
    values = [value for split in SPLIT_VALUES for value in task.split_values(split)]
    if task.split_column and len(set(values)) < len(values):
        yield "splits", "a value stands for two splits", "each value once"


_COLUMNS = ("columns", "label", "id", "split_column")
#: The keys that a rule reads, and the rule.
_RULES: list[tuple[tuple[str, ...], Callable[[Task], _Misfits]]] = [
    (_COLUMNS, _one_use_for_a_column),
    ((*_COLUMNS, "header"), _numbers_without_a_header),
    (("loss", "metric"), _metric_of_the_labels),
    (("loss", "classes", "label_range", "labels"), _numbers_of_labels),
    (("split_column", "splits"), _splits_of_a_column),
]


def _repeated(values: Iterable[Any]) -> list[Any]:
    """The values that stand there more than once, each once."""
    return [value for value, count in Counter(values).items() if count > 1]


def _true_or_false(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(f"{value!r} is not true or false")
    return value


def _column(value: Any) -> str | int:
    if isinstance(value, bool) or not isinstance(value, str | int) or value in ("", "\0"):
        raise _Wrong(f"{value!r} is no column", "a name, or a number (the first column is 1)")
    if isinstance(value, int) and not 1 <= value <= 100_000:
        raise _Wrong(f"{value} is no column's number", "1 is the first column")
    return value


def _optional_column(value: Any) -> str | int:
    return "" if value == "" else _column(value)


def _columns(value: Any) -> tuple[str | int, ...]:
    listed = value if isinstance(value, list | tuple) else [value]
    if not 1 <= len(listed) <= 2:
        raise _Wrong("needs one sentence or a pair", "1 or 2 columns")
    return tuple(map(_column, listed))


def _files(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        raise _Wrong(f"{value!r} is no file", "a path, or a list of paths")
    if repeated := _repeated(value):
        raise _Wrong(f"{repeated[0]} is named twice", "every file once")
    return value[0] if len(value) == 1 else tuple(value)


def _name_of(registry: Mapping[str, Any], *more: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in (*registry, *more):
            raise _Wrong(f"unknown value {value!r}", ", ".join((*more, *registry)))
        return value

    return check


def _separator(value: Any) -> str:
    names = (AUTO, *SEPARATORS)
    single = isinstance(value, str) and len(value) == 1 and value not in '"\r\n\0'
    if value not in names and not (single and not value.isalnum()):
        raise _Wrong(f"unknown value {value!r}", f"{', '.join(names)}, or one character")
    return str(value)


def _classes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= MOST_CLASSES:
        raise _Wrong("needs at least 2 classes", f"a whole number from 2 to {MOST_CLASSES:,}")
    return value


def _finite(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) <= 1e300 or not math.isfinite(value):
        raise _Wrong(f"{value!r} is not a number")
    return float(value)


def _label_range(value: Any) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise _Wrong("needs two numbers, the smaller one first")
    low, high = map(_finite, value)
    if not low < high:
        raise _Wrong("needs two numbers, the smaller one first")
    return low, high


def _word(value: Any) -> str:
    """A label as files write it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        message = f"{value!r} is no label's name"
        raise _Wrong(message, "text (true and false in quotation marks), or a number")
    if not (word := str(value).strip()):
        raise _Wrong("a label's name is empty")
    return word


def _labels(value: Any) -> tuple[tuple[str, float], ...]:
    """A list of class names, or a mapping from names to numbers."""
    if isinstance(value, list | tuple):
        value = {_word(each): number for number, each in enumerate(_distinct(value))}
    if not isinstance(value, dict) or not value:
        raise _Wrong(f"{value!r} names no labels", "a list of names, or a mapping name: number")
    if len(value) > 10 * MOST_CLASSES:
        raise _Wrong(f"{len(value):,} labels", f"at most {10 * MOST_CLASSES:,}")
    # In order of the numbers: a config is the same wherever its mappings were sorted.
    pairs = [(_word(word), _finite(number)) for word, number in value.items()]
    return tuple(sorted(pairs, key=lambda pair: (pair[1], pair[0])))


def _distinct(names: Any) -> Any:
    if repeated := _repeated(map(_word, names)):
        raise _Wrong(f"{repeated[0]!r} is named twice", "every label once")
    return names


def _splits(value: Any) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(value, dict) or not set(value) <= set(SPLIT_VALUES):
        allowed = ", ".join(SPLIT_VALUES) + ": what the split column says, a value or a list"
        raise _Wrong(f"{value!r} names no splits", allowed)
    listed = {
        key: each if isinstance(each, list | tuple) else [each] for key, each in value.items()
    }
    return tuple((key, tuple(map(_word, each))) for key, each in sorted(listed.items()))


#: Key of an entry -> its check, which gives the value as `Task` holds it.
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "columns": _columns,
    "label": _column,
    "loss": _name_of(LOSSES),
    "metric": _name_of(METRICS),
    "train": _files,
    "dev": _files,
    "test": _files,
    "classes": _classes,
    "label_range": _label_range,
    "scored": _true_or_false,
    "long": _true_or_false,
    "id": _optional_column,
    "separator": _separator,
    "quotes": _name_of(QUOTES, AUTO),
    "header": _true_or_false,
    "split_column": _optional_column,
    "splits": _splits,
    "labels": _labels,
}
