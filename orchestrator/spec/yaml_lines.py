"""YAML with a line number for every key, so that messages can name the line of a mistake.

Scalars follow YAML 1.2's core schema, not PyYAML's 1.1: `1e-5` is a number and `no` is text.
A key is text as it is written, and one that appears twice in a mapping is a mistake.  Every failure
is a `YamlError`, in bounded time and memory: a file may come from anybody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

#: Where a value stands in the document: keys and list positions from the top.
Path = tuple[str | int, ...]


#: Limits of a document: characters, mappings and lists within each other, keys of a mapping, keys
#: and values in all with aliases written out, and the largest whole number (64 bits).
MAX_CHARACTERS, MAX_DEPTH, MAX_KEYS, MAX_VALUES = 1_000_000, 50, 1_000, 50_000
LARGEST = 2**63 - 1


_TAG = "tag:yaml.org,2002:"
_HALF = re.compile("[\ud800-\udfff]")


class YamlError(ValueError):
    """A document that cannot be read, with the line (from 1, or None) and the reason."""

    def __init__(self, line: int | None, message: str):
        self.line, self.message = line, message
        super().__init__(message)


@dataclass(frozen=True)
class Duplicate:
    """A key that appears twice in a mapping."""

    path: Path
    line: int
    first_line: int


@dataclass
class Document:
    """Plain values, the line of every path in them, and the keys that appear twice."""

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)
    duplicates: list[Duplicate] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema (and `24_000`)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    _depth = _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As in the base class, but it stops at the first node beyond a limit."""
        self._depth, self._nodes = self._depth + 1, self._nodes + 1
        line = self.peek_event().start_mark.line + 1
        if self._depth > MAX_DEPTH:
            raise YamlError(line, f"more than {MAX_DEPTH} lists and mappings within each other")
        if self._nodes > MAX_VALUES:
            raise _too_many(line)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes every text which YAML 1.1 or 1.2 would not read as that text."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # In double quotes all of these are escaped; elsewhere some are line breaks.
        style = '"' if any(not c.isprintable() and c != "\n" for c in text) else None
        return self.represent_scalar(f"{_TAG}str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?\d+(?:_\d+)*|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.\d+|\d+(?:_\d+)*(?:\.\d*)?)(?:[eE][-+]?\d+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),
):
    # The empty string is the first character of an empty scalar, which is null.
    _characters = ["" if character == "\0" else character for character in _first]
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"{_TAG}{_tag}", re.compile(rf"^(?:{_pattern})$"), _characters)


def dump(value: Any) -> str:
    """Plain values as a document, which `read` reads as the same values.  Keys keep their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


#: Words of a document and their values.
_WORDS = {"null": None, "true": True, "false": False, "~": None, "": None}
_UNSIGNED = {".inf": math.inf, ".nan": math.nan}


def _word(text: str) -> None | bool:
    return _WORDS[text.lower()]


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    if len(digits) > 2 * len(str(LARGEST)):  # Python itself refuses thousands of digits
        raise OverflowError
    value = int(digits, 16) if digits.startswith("0x") else int(digits)
    if abs(value) > LARGEST:
        raise OverflowError
    return value


def _real(text: str) -> float:
    digits = text.replace("_", "").lower()
    sign = -1.0 if digits.startswith("-") else 1.0
    unsigned = digits.lstrip("+-")
    return sign * _UNSIGNED[unsigned] if unsigned in _UNSIGNED else float(digits)


#: The scalars that a file can have: what makes the value from its text, and what that is called.
_SCALARS: dict[str, tuple[Callable[[str], Any], str]] = {
    f"{_TAG}null": (_word, "null"),
    f"{_TAG}bool": (_word, "true or false"),
    f"{_TAG}int": (_integer, "a whole number"),
    f"{_TAG}float": (_real, "a number"),
    f"{_TAG}str": (str, "text"),
    "!": (str, "text"),
}
_ALLOWED_TAGS = "!!null, !!bool, !!int, !!float, !!str, !!seq, !!map"


def read(text: str) -> Document:
    """Parse one document; raises `YamlError` if it is not valid or goes beyond a limit."""
    if len(text) > MAX_CHARACTERS:
        raise YamlError(None, f"is longer than {MAX_CHARACTERS:,} characters")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        # PyYAML gives the character as text or as its number.
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise YamlError(line, f"the character U+{code:04X} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(mark.line + 1 if mark else None, reason) from error
    except yaml.YAMLError as error:
        raise YamlError(None, str(error)) from error
    document = Document(None)
    if node is not None:
        document.value = _Reader(document).value(node, (), frozenset())
    return document


class _Reader:
    """Makes the values of nodes and notes their lines.

    It visits a node once for each alias to it, so that a limit on visits also bounds aliases that
    multiply.
    """

    def __init__(self, document: Document):
        self._document = document
        self._visits = 0

    def value(self, node: yaml.Node, path: Path, above: frozenset[int]) -> Any:
        line = node.start_mark.line + 1
        self._visits += 1
        if self._visits > MAX_VALUES:
            raise _too_many(line)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, line)
        if id(node) in above:
            raise YamlError(line, "an alias refers to what contains it")
        above |= {id(node)}
        if isinstance(node, yaml.SequenceNode) and node.tag in (f"{_TAG}seq", "!"):
            return [self._item(item, (*path, n), above) for n, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag in (f"{_TAG}map", "!"):
            return self._mapping(node, path, above)
        raise _tag_error(node, line)

    def _item(self, node: yaml.Node, path: Path, above: frozenset[int]) -> Any:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        return self.value(node, path, above)

    def _mapping(self, node: yaml.MappingNode, path: Path, above: frozenset[int]) -> dict[str, Any]:
        """Keys are text as written; a mapping's own keys come before merged ones."""
        if len(node.value) > MAX_KEYS:
            line = node.value[MAX_KEYS][0].start_mark.line + 1
            raise YamlError(line, f"a mapping with more than {MAX_KEYS:,} keys")
        own: dict[str, Any] = {}
        seen: dict[str, int] = {}
        sources: list[yaml.Node] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}null":
                raise YamlError(line, "a key must be text")
            if key.tag == f"{_TAG}merge":
                sources += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            name = _whole(str(key.value), line)
            if name in seen:
                self._document.duplicates.append(Duplicate((*path, name), line, seen[name]))
                continue
            seen[name] = line
            self._document.lines.setdefault((*path, name), line)
            own[name] = self.value(value, (*path, name), above)
        merged: dict[str, Any] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise YamlError(source.start_mark.line + 1, "<< must be followed by a mapping")
            merged = self.value(source, path, above) | merged
        return merged | own


def _scalar(node: yaml.ScalarNode, line: int) -> Any:
    if node.tag not in _SCALARS:
        raise _tag_error(node, line)
    make, name = _SCALARS[node.tag]
    text = _whole(node.value, line)
    try:
        return make(text)
    except OverflowError as error:
        raise YamlError(
            line, f"a whole number beyond {LARGEST:,}; write it as text, in quotes"
        ) from error
    except (ValueError, KeyError) as error:
        raise YamlError(line, f"{node.value!r} is not {name}") from error


def _whole(text: str, line: int) -> str:
    """The text, if it has no half of a character, which an escape can write and no file can."""
    if half := _HALF.search(text):
        raise YamlError(line, f"the character U+{ord(half[0]):04X} is not allowed")
    return text


def _too_many(line: int) -> YamlError:
    return YamlError(
        line, f"more than {MAX_VALUES:,} keys and values, counted again for each alias to them"
    )


def _tag_error(node: yaml.Node, line: int) -> YamlError:
    tag = str(node.tag).replace(_TAG, "!!")
    return YamlError(line, f"the tag {tag} is not allowed; allowed: {_ALLOWED_TAGS}")
