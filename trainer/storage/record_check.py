"""The check of an epoch's record, after which readers can rely on `trainer.metrics`."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from trainer.metrics import EPOCH, PHASE, TASK, TOO_LARGE, Field, Kind, Must, is_number
from trainer.storage.folder import is_inside


def problem_with(record: dict[str, Any], epoch: int) -> str:
    """What is wrong with the record of this epoch; empty if nothing."""
    if type(record.get("epoch")) is not int or record["epoch"] != epoch:
        return f"is of epoch {reprlib.repr(record.get('epoch'))}"
    if wrong := _EPOCH.first_wrong(record):
        return f"{wrong.name} {_complaint(wrong)}"
    return _problem_with_tasks(record["tasks"]) or _problem_with_phases(record.get("phases") or [])


def _problem_with_tasks(tasks: dict[str, Any]) -> str:
    for name, values in tasks.items():
        if not isinstance(values, dict) or not name.isprintable():
            return f"tasks.{name!a} is not a mapping"
        if wrong := _TASK.first_wrong(values):
            return f"tasks.{name}.{wrong.name} {_complaint(wrong)}"
        if "dev_metric" in values and values.get("metric") is None:
            return f"tasks.{name}.metric is not a name"
    return ""


def _problem_with_phases(phases: list[dict[str, Any]]) -> str:
    for phase in phases:
        if wrong := _PHASE.first_wrong(phase):
            return f"{wrong.name} of a phase {_complaint(wrong)}"
    return ""


def _is_mapping_of_numbers(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    for each in value.values():
        if not (type(each) is float and 0.0 <= each < TOO_LARGE or each is None or is_number(each)):
            return False
    return True


def _is_time(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


_IS: dict[Kind, Callable[[Any], bool]] = {
    Kind.NUMBER: is_number,
    Kind.NUMBERS: _is_mapping_of_numbers,
    Kind.FLAG: lambda value: isinstance(value, bool),
    Kind.TEXT: lambda value: isinstance(value, str),
    Kind.TIME: _is_time,
    Kind.EPOCH: lambda value: type(value) is int,
    Kind.TASKS: lambda value: isinstance(value, dict),
    Kind.PHASES: lambda value: isinstance(value, list) and all(type(v) is dict for v in value),
    Kind.FILES: lambda value: isinstance(value, dict) and all(map(is_inside, value)),
    Kind.NOTES: lambda value: isinstance(value, list),
}
_MISSING = object()


class _Rules:
    """A table's requirements, prepared for the 100,000 records of a large sweep."""

    def __init__(self, table: Mapping[str, Field]):
        self._fields = [
            (
                field,
                field.name,
                field.must in (Must.BE_THERE, Must.BE_THERE_OR_NULL),
                field.must in (Must.BE_THERE_OR_NULL, Must.MAY_BE_NULL),
                field.kind is Kind.NUMBER,
                _IS[field.kind],
            )
            for field in table.values()
            if field.must is not Must.NOTHING
        ]

    def first_wrong(self, values: Mapping[str, Any]) -> Field | None:
        """The first field that does not meet its requirement."""
        get = values.get
        for field, name, must_be_there, may_be_null, is_a_number, is_right in self._fields:
            value = get(name, _MISSING)
            if is_a_number and type(value) is float and 0.0 <= value < TOO_LARGE:
                continue  # most values are such, and `is_number` would say the same
            if value is _MISSING:
                if must_be_there:
                    return field
            elif not (value is None and may_be_null or is_right(value)):
                return field
        return None


_EPOCH, _TASK, _PHASE = _Rules(EPOCH), _Rules(TASK), _Rules(PHASE)


def _complaint(field: Field) -> str:
    if field.kind is Kind.FILES:
        return "names something outside the trial"
    return f"is not {field.kind.value}"
