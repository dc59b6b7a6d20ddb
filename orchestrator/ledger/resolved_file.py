"""A sweep's sweep.yaml, which another person may have written: plain values, or why not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.ledger.ledger import RESOLVED, Ledger
from orchestrator.spec.published import by_position
from orchestrator.spec.yaml_lines import YamlError, read
from trainer.config.formats import FIRST_FORMAT
from trainer.storage.folder import Refused

#: Key -> what readers may rely on where it is given and not null.  Old versions wrote some of these
#: files, so it is no SweepSpec.
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "format": (int,),
    "question": (str,),
    "enqueue": (list,),
    **dict.fromkeys(
        ("base", "space", "search", "published", "decide", "scheduler", "resources", "budget")
        + ("tracking", "resolved"),
        (dict,),
    ),
}
#: The same of keys in `base`.
_BASE: dict[str, tuple[type, ...]] = {"data": (dict,), "epochs": (int,)}
_WORDS = {str: "text", int: "a whole number", list: "a list", dict: "a mapping"}


def resolved_spec(ledger: Ledger) -> dict[str, Any]:
    """The content of sweep.yaml; empty if it is missing or cannot be read."""
    return read_resolved(ledger)[0]


def read_resolved(ledger: Ledger) -> tuple[dict[str, Any], str]:
    """The content of sweep.yaml, and why it cannot be read; either is empty."""
    try:
        value = read((ledger.folder.read(RESOLVED) or b"").decode()).value
    except OSError as error:
        return {}, f"{RESOLVED}: {error.strerror or error}"
    except Refused as error:
        return {}, f"{RESOLVED}: {error.why}"
    except UnicodeDecodeError:
        return {}, f"{RESOLVED}: is not UTF-8"
    except YamlError as error:
        return {}, f"{RESOLVED}:{error.line or ''}: {error.message}"
    if value is None:
        return {}, ""
    if not isinstance(value, dict):
        return {}, f"{RESOLVED}: is not a mapping"
    given = {k: v for k, v in json_value(value).items() if v is not None or k not in _TYPES}
    plain: dict[str, Any] = {"format": FIRST_FORMAT, **given}
    if wrong := _wrong_type(plain):
        return {}, f"{RESOLVED}: {wrong}"
    return (by_position(plain) if plain["format"] == FIRST_FORMAT else plain), ""


def _wrong_type(spec: Mapping[str, Any]) -> str:
    """Which key has another type than readers rely on; empty if none."""
    base = spec.get("base", {})
    for prefix, values, types in (("", spec, _TYPES), ("base.", base, _BASE)):
        for key, allowed in types.items():
            if key in values and type(values[key]) not in allowed:
                return f"{prefix}{key}: is not {_WORDS[allowed[0]]}"
    if not all(isinstance(each, dict) for each in spec.get("enqueue", ())):
        return "enqueue: is not a list of mappings"
    return ""


def json_value(value: Any) -> Any:
    """The value as plain JSON: NaN and infinities become null, keys become text."""
    text = json.dumps(value, default=str)
    return json.loads(text, parse_constant=lambda name: None)
