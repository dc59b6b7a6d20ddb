"""Checks plain values against a dataclass: types, choices, ranges, nested groups.

It does not know what is configured.  It collects all mistakes and raises none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

#: Characters of a mistake that are shown: what was written may be long.
_LONGEST = 2_000


@dataclass(frozen=True)
class Problem:
    """One mistake: the dotted key, what is wrong with its value, and what is allowed."""

    key: str
    message: str
    allowed: str = ""
    #: Where it is written, if that is known.
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        start = "".join(f"{part}: " for part in (place, self.key) if part)
        tail = f"; allowed: {self.allowed}" if self.allowed else ""
        line = f"{start}{self.message}{tail}"
        return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


#: Mistakes that a message lists; it counts the others.
_SHOWN = 50


class ConfigError(ValueError):
    """All problems of a config or of a sweep file.  The message has one line for each.

    Args:
        all_found: whether these are all, or only so many that the others were not looked for.
    """

    def __init__(self, problems: list[Problem], *, all_found: bool = True):
        self.problems = problems
        lines = [str(problem) for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            least = "" if all_found else "at least "
            lines.append(f"and {least}{len(problems) - _SHOWN:,} more mistakes")
        super().__init__("\n".join(lines))


def unknown_key(key: str, prefix: str, allowed: typing.Iterable[str]) -> Problem:
    """The problem of a key that does not exist.  It names the most similar key."""
    allowed = sorted(allowed)
    return Problem(prefix + key, f"unknown key{did_you_mean(key, allowed)}", ", ".join(allowed))


#: A shorter text is the beginning of too many names; and how alike a beginning must be.
_SHORTEST, _ALIKE = 3, 0.7


def did_you_mean(name: str, allowed: typing.Iterable[str]) -> str:
    """` (did you mean 'arrp'?)` with the most similar name; empty if none is similar.

    Every message that lists what is allowed has it.
    """
    similar = most_similar(name, allowed)
    return f" (did you mean {similar!r}?)" if similar else ""


def most_similar(name: str, allowed: typing.Iterable[str]) -> str:
    """The most similar name; empty if none is similar.

    Capitals do not matter, and the beginning of a longer name will do, as where a method or a trial
    is named.
    """
    by_length = sorted(allowed, key=len, reverse=True)  # of equals, the shortest name
    spelled = {each.lower(): each for each in by_length}
    similar = get_close_matches(name.lower(), spelled, n=1)
    if not similar and len(name) >= _SHORTEST:
        spelled = {each[: len(name) + more].lower(): each for each in by_length for more in (1, 0)}
        similar = get_close_matches(name.lower(), spelled, n=1, cutoff=_ALIKE)
    return spelled[similar[0]] if similar else ""


def one_of(*choices: str, more: Callable[[], tuple[str, ...]] = tuple) -> dict[str, Any]:
    """Limits of a field: one of `choices`, or of the names that `more` looks up when needed."""
    return {"choices": choices, "more": more}


def in_range(
    low: float, high: float = math.inf, *, open_low: bool = False, or_zero: bool = False
) -> dict[str, Any]:
    """Limits of a field: a number from `low` (itself excluded if `open_low`) to `high`.

    `or_zero`: 0 is allowed too, below `low`.
    """
    return {"low": low, "high": high, "open_low": open_low, "or_zero": or_zero}


def by_task() -> dict[str, Any]:
    """Mark of a field that is one value for all tasks, or a mapping by task."""
    return {"by_task": True}


def born(value: Any) -> dict[str, Any]:
    """The default that a field had when it came, if its default has changed since.

    Ids leave a value out that equals it, so a new default does not rename old trials.  None: they
    leave no value out.
    """
    return {"born": value}


@functools.cache
def file_fields(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """Name in files -> dataclass field.  A trailing `_` avoids Python's keywords (`lambda_`)."""
    return {f.name.rstrip("_"): f for f in dataclasses.fields(cls)}


def check_fields(cls: type, mapping: Any, prefix: str, problems: list[Problem]) -> dict[str, Any]:
    """Field name -> checked value, for a mapping that describes the dataclass `cls`.

    Problems are appended to `problems`.  Their key is the one in the file, after `prefix`.
    """
    fields = _fields(cls)
    if not isinstance(mapping, dict):
        problems.append(Problem(prefix.rstrip(".") or "config", "not a mapping of keys to values"))
        return {}
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        if key not in fields:
            if len(problems) < _SHOWN:
                problems.append(unknown_key(str(key), prefix, fields))
            else:  # a guess takes milliseconds, and nobody would see it
                problems.append(Problem(f"{prefix}{key}", "unknown key"))
            continue
        field = fields[key]
        if type(value) is field.default_type and value == field.default:
            # Most values are the default, and a ledger checks thousands of configs.
            values[field.name] = field.default
        elif field.nested is not None:
            before = len(problems)
            inner = check_fields(field.nested, value, f"{prefix}{key}.", problems)
            if len(problems) == before:
                values[field.name] = field.nested(**inner)
        else:
            values[field.name] = _check_value(
                field.hint, field.limits, prefix + key, value, problems
            )
    return values


class _Field(typing.NamedTuple):
    """What the check of a value needs to know about its field."""

    name: str
    default: Any
    default_type: type
    nested: type | None
    hint: Any
    limits: typing.Mapping[str, Any]


@functools.cache
def _fields(cls: type) -> dict[str, _Field]:
    """The fields of a dataclass by their names in files."""
    hints, fields = typing.get_type_hints(cls), {}
    for key, f in file_fields(cls).items():
        hint = hints[f.name]
        nested = hint if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None
        fields[key] = _Field(f.name, f.default, type(f.default), nested, hint, f.metadata)
    return fields


#: The parts of an annotation.  Cached, because they are needed for every value of every config.
_origin: Callable[[Any], Any] = functools.cache(typing.get_origin)
_parts: Callable[[Any], Any] = functools.cache(typing.get_args)


def _check_value(
    hint: Any, limits: typing.Mapping[str, Any], key: str, value: Any, problems: list[Problem]
) -> Any:
    if isinstance(hint, types.UnionType):
        options = _parts(hint)
        hint = next((o for o in options if _container(o) == isinstance(value, dict)), options[0])
    origin = _origin(hint) or hint
    if origin is dict:
        if not isinstance(value, dict):
            problems.append(Problem(key, f"{value!r} is not a mapping"))
            return {}
        inner = (_parts(hint) or (str, Any))[1]
        return {
            str(k): _check_value(inner, limits, f"{key}.{k}", v, problems) for k, v in value.items()
        }
    if origin is tuple:
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            problems.append(Problem(key, f"{value!r} is not a list of names"))
            return ()
        return tuple(value)
    if hint is Any:
        return value
    return _check_scalar(hint, limits, key, value, problems)


def _container(hint: Any) -> bool:
    return (_origin(hint) or hint) is dict


def _check_scalar(
    hint: type, limits: typing.Mapping[str, Any], key: str, value: Any, problems: list[Problem]
) -> Any:
    if hint is float and isinstance(value, int | str) and not isinstance(value, bool):
        # YAML 1.1 reads 1e-5 as text.  A whole number may be beyond all real ones.
        with contextlib.suppress(ValueError, OverflowError):
            value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        problems.append(Problem(key, f"{value!r} is not {words[hint]}", describe(limits)))
        return value
    choices = limits.get("choices")
    if choices and value not in choices and value not in (more := limits["more"]()):
        choices = (*choices, *more)
        guess = did_you_mean(str(value), choices)
        problems.append(Problem(key, f"unknown value {value!r}{guess}", ", ".join(choices)))
    if "low" in limits and isinstance(value, int | float) and hint is not bool:
        too_low = value <= limits["low"] if limits["open_low"] else value < limits["low"]
        too_low = too_low and not (limits["or_zero"] and value == 0)
        if too_low or value > limits["high"] or (hint is float and not math.isfinite(value)):
            problems.append(Problem(key, f"{value!r} is outside its range", describe(limits)))
    return value


def describe(limits: typing.Mapping[str, Any]) -> str:
    """What a field allows, as text: `round_robin, arrp` or `0 < value <= 1`."""
    if "choices" in limits:
        return ", ".join((*limits["choices"], *limits["more"]()))
    if "low" in limits:
        sign = "<" if limits["open_low"] else "<="
        high = f" <= {limits['high']:g}" if math.isfinite(limits["high"]) else ""
        zero = "0, or " if limits["or_zero"] else ""
        return f"{zero}{limits['low']:g} {sign} value{high}"
    return ""
