"""The JSON Schema of the sweep file, for completion and checks in an editor."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from typing import Any

from orchestrator.spec.models import SweepSpec, searchable
from trainer.config import DataConfig, TrainConfig, field_at, fields_of

_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


def sweep_schema() -> dict[str, Any]:
    """Pydantic's schema of the structure, with the trainer's keys in base, space and enqueue."""
    schema = SweepSpec.model_json_schema()
    definitions = schema["$defs"]
    dimension = definitions["Dimension"]
    dimension["required"] = [key for key in dimension.get("required", []) if key != "kind"]
    dimension["properties"]["when"]["additionalProperties"] = True  # a list or a single value
    definitions["Config"] = _config(TrainConfig, leave_out=("seed",))
    properties = schema["properties"]
    properties["base"] = {"$ref": "#/$defs/Config"}
    properties["space"] = {
        "type": "object",
        "properties": {key: {"$ref": "#/$defs/Dimension"} for key in searchable()},
        # Keys of mappings: `data.limit.qqp`, `batch_size.sst`.
        "patternProperties": {
            rf"^({'|'.join(map(re.escape, _mappings()))})\.\w+$": {"$ref": "#/$defs/Dimension"}
        },
        "additionalProperties": False,
    }
    properties["enqueue"] = {"type": "array", "items": {"type": "object"}}
    profile = {
        "type": "object",
        "description": "laid over the file: mappings key by key, dimensions whole, null removes",
        "properties": {key: True for key in properties},
        "additionalProperties": False,
    }
    properties["profiles"] = {"type": "object", "additionalProperties": profile}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Sweep file of orch-mtl",
    }


def _mappings() -> list[str]:
    """Keys whose entries can be searched separately."""
    return [key for key in searchable() if (f := field_at(key)) and "dict" in str(f.type)]


def _config(cls: type, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties = {
        key: _config(DataConfig) if key == "data" else _value(hints[f.name], f)
        for key, f in fields_of(cls).items()
        if key not in leave_out
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value(hint: Any, f: dataclasses.Field[Any]) -> dict[str, Any]:
    """One field: type, choices, range and default."""
    limits: dict[str, Any] = {}
    if "choices" in f.metadata:
        limits["enum"] = [*f.metadata["choices"], *f.metadata["more"]()]
    if "low" in f.metadata:
        limits["exclusiveMinimum" if f.metadata["open_low"] else "minimum"] = f.metadata["low"]
        if math.isfinite(f.metadata["high"]):
            limits["maximum"] = f.metadata["high"]
        if f.metadata["or_zero"]:
            limits = {"anyOf": [{"const": 0}, limits]}
    shapes = [_shape(option, limits) for option in _options(hint)]
    schema = shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
    if f.default is not dataclasses.MISSING:
        default = list(f.default) if isinstance(f.default, tuple) else f.default
        schema = {**schema, "default": default}
    return schema


def _options(hint: Any) -> tuple[Any, ...]:
    return (hint,) if typing.get_origin(hint) in (dict, tuple) else typing.get_args(hint) or (hint,)


def _shape(hint: Any, limits: dict[str, Any]) -> dict[str, Any]:
    origin = typing.get_origin(hint)
    if origin is dict:
        inner = typing.get_args(hint)[1]
        values: Any = True if inner is Any else {"type": _TYPES[inner], **limits}
        return {"type": "object", "additionalProperties": values}
    if origin is tuple:
        return {"type": "array", "items": {"type": "string"}}
    return {"type": _TYPES[hint], **limits}
