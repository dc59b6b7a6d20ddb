"""JSON that anybody may have written: plain values within limits, or one `JsonError`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from trainer.storage.limits import LARGEST, MAX_DEPTH, MAX_VALUES

#: Files of fewer bytes cannot have too many values.
_SMALL = MAX_VALUES
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[{}]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TOO_DEEP = f"has more than {MAX_DEPTH} lists and mappings within each other"


class JsonError(ValueError):
    """Bytes that are not JSON, or beyond a limit; the text says which: `is not JSON`."""


def parse(content: bytes) -> Any:
    """The value of a JSON document.  NaN and infinities are read as such.

    Half of a surrogate pair, which nothing could print, becomes U+FFFD.

    Raises:
        JsonError: it is not JSON, or goes beyond a limit of `trainer.storage.limits`.
    """
    if len(content) > _SMALL and sum(map(content.count, (b",", b"[", b"{", b":"))) > MAX_VALUES:
        raise JsonError(f"has more than {MAX_VALUES:,} values")
    value = _loaded(content)
    if _may_be_deep(content) and _is_deep(value):
        raise JsonError(_TOO_DEEP)
    return value


def parse_object(content: bytes) -> dict[str, Any]:
    """As `parse`, of a document that is an object."""
    value = parse(content)
    if not isinstance(value, dict):
        raise JsonError("is not a JSON object")
    return value


def _complete(content: bytes) -> Any:
    """By Python's own parser, which also takes NaN; slower."""
    try:
        value = json.loads(content, parse_int=_integer)
        if _SURROGATE.search(content):
            text = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
            value = json.loads(text.decode("utf-16-le", "replace"))
    except RecursionError as error:
        raise JsonError(_TOO_DEEP) from error
    except ValueError as error:
        raise JsonError("is not JSON") from error
    return value


try:
    from orjson import JSONDecodeError, loads
except ImportError:  # the trainer does not require it

    def _loaded(content: bytes) -> Any:
        return _complete(content)
else:

    def _loaded(content: bytes) -> Any:
        """By a parser that is faster, and refuses NaN and halves of surrogate pairs."""
        try:
            return loads(content)
        except JSONDecodeError:
            return _complete(content)


def _integer(text: str) -> int | float:
    """A whole number; beyond 64 bits the nearest float, as `orjson` does."""
    if len(text) > len(str(LARGEST)) + 1 or abs(int(text)) > LARGEST:
        return float(text)
    return int(text)


def _may_be_deep(content: bytes) -> bool:
    """False if its brackets say that it is not deep; much quicker than a walk over the value.

    Brackets in texts can make it True.
    """
    brackets = content.translate(None, _NO_BRACKETS)
    if len(brackets) <= 2 * MAX_DEPTH:
        return False
    for _ in range(MAX_DEPTH):  # each round takes the innermost ones away
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
    return True


def _is_deep(value: Any) -> bool:
    """Whether it has more than `MAX_DEPTH` containers within each other."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [each for outer in level for each in _inner(outer) if type(each) in (dict, list)]
        if not level:
            return False
    return True


def _inner(value: Any) -> Iterable[Any]:
    if type(value) is dict:
        return value.values()
    return value if type(value) is list else ()
