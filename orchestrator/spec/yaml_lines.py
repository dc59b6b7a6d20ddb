"""YAML with a line number for every key, so that messages can name the line of a mistake.

Scalars follow YAML 1.2's core schema, not PyYAML's 1.1: `1e-5` is a number and `no` is text.
A key that appears twice in a mapping is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

#: Where a value stands in the document: keys and list positions from the top.
Path = tuple[str | int, ...]


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
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}",
        re.compile(rf"^(?:{_pattern})$"),
        ["" if character == "\0" else character for character in _first],
    )


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 16) if text.startswith("0x") else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def read(text: str) -> Document:
    """Parse one document; raises `YamlError` if it is not valid."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None)
        document = Document(None)
        for path, line in _walk(node, (), frozenset(), document.duplicates):
            document.lines.setdefault(path, line)
        document.value = loader.construct_document(node)
        return document
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(line, f"the character {error.character!r} is not allowed") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(mark.line + 1 if mark else None, reason) from error
    except yaml.YAMLError as error:
        raise YamlError(None, str(error)) from error
    finally:
        loader.dispose()


def _walk(
    node: yaml.Node, path: Path, above: frozenset[int], duplicates: list[Duplicate]
) -> Iterator[tuple[Path, int]]:
    """Every path below `node` with its line; a mapping's own keys come before merged ones."""
    if id(node) in above:
        raise YamlError(node.start_mark.line + 1, "an alias refers to what contains it")
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield (*path, position), item.start_mark.line + 1
            yield from _walk(item, (*path, position), above, duplicates)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError(line, "a key must be text")
            if key.tag == "tag:yaml.org,2002:merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            name = str(key.value)
            if name in seen:
                duplicates.append(Duplicate((*path, name), line, seen[name]))
                continue
            seen[name] = line
            yield (*path, name), line
            yield from _walk(value, (*path, name), above, duplicates)
        for source in merged:
            yield from _walk(source, path, above, duplicates)
