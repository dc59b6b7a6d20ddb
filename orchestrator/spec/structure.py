"""Pydantic's findings about a sweep file as readable messages with lines."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from orchestrator.spec.dimension import Dimension
from orchestrator.spec.layers import Draft
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.tracking import STUDY_SCHEMES, TRACKING_SCHEMES
from orchestrator.spec.yaml_lines import Path
from trainer.config import did_you_mean

_WORDS = {
    "string_type": "is not text",
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "bool_type": "is not true or false",
    "list_type": "is not a list",
    "dict_type": "is not a mapping of keys to values",
    "model_type": "is not a mapping of keys to values",
    "finite_number": "is not a finite number",
}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_PLACES: dict[Path, str] = {
    ("tracking", "uri"): ", ".join(TRACKING_SCHEMES) + " ://...",
    ("tracking", "study"): "journal, none, " + ", ".join(STUDY_SCHEMES) + " ://...",
}
_CHOOSE: Path = ("decide", "choose")
_RULE = "literal['fastest','best']"
_NAME = "small letters, digits, _ and -, beginning with a letter or digit"


def report_pydantic(draft: Draft, error: ValidationError) -> None:
    """Report each of pydantic's findings at its line."""
    for detail in error.errors(include_url=False, include_context=True):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        if path[:1] == ("space",) and path[-1] in ("int", "float"):
            path = path[:-1]  # a branch of `int | float`
        if path[-1:] == ("kind",) and detail["type"] == "missing":
            continue
        if path[:2] == _CHOOSE and len(path) > 2:  # a branch of a rule's name or params
            if isinstance(draft.value["decide"]["choose"], dict) == (path[2] == _RULE):
                continue
            path = (*_CHOOSE, *path[3:])
        message, allowed = _words_for(detail, path)
        draft.report(path, message, allowed)


def _words_for(detail: ErrorDetails, path: Path) -> tuple[str, str]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = sorted(_fields_at(path[:-1]))
        hint = did_you_mean(str(path[-1]), known)
        return f"unknown key{hint}", ", ".join(known)
    if kind == "missing":
        return "is missing", _NAME if path == ("name",) else ""
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        hint = did_you_mean(str(value), expected.split(", "))
        return f"unknown value {value!r}{hint}", expected
    if kind == "string_pattern_mismatch":
        return f"{value!r} cannot name a folder", _NAME
    if kind == "too_short":
        return "is empty", "at least one"
    if kind == "too_long":
        return f"has {context['actual_length']:,} entries", f"at most {context['max_length']:,}"
    if kind == "string_too_long":
        return f"is {len(value):,} characters long", f"at most {context['max_length']:,}"
    for short, sign in _SIGNS.items():
        if short in context:
            return f"{value!r} is outside its range", f"value {sign} {context[short]:g}"
    if kind == "value_error":
        return str(context["error"]), _PLACES.get(path, "")
    if kind in _WORDS:
        return f"{value!r} {_WORDS[kind]}", ""
    return f"{value!r}: {detail['msg']}", ""


def _fields_at(path: Path) -> set[str]:
    """The keys of the model at `path`."""
    if path[:1] == ("space",):
        return set(Dimension.model_fields) - {"kind"}
    if not path:
        return set(SweepSpec.model_fields) | {"profiles"}
    model: Any = SweepSpec
    for part in path:
        if isinstance(part, int):  # an item of a list, whose type is the model already
            continue
        field = getattr(model, "model_fields", {}).get(str(part))
        annotation = field.annotation if field is not None else None
        options = (annotation, *typing.get_args(annotation))  # of `DecideSpec | None`
        model = next((each for each in options if hasattr(each, "model_fields")), None)
    return set(getattr(model, "model_fields", ()))
