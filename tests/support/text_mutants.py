"""Mutants of texts that people write or send: sweep files, configs, packs.

Each takes what it changes and a random generator, and returns the changed one.
"""

from __future__ import annotations

import copy
import functools
import io
import json
import lzma
import random
import re
import tarfile
from collections.abc import Callable
from typing import Any

import yaml

_DEEP: Any = functools.reduce(lambda inner, _: [inner], range(200), 0)
#: Values that stand where another was.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e15, 1e308, float("inf"), float("nan"),
    2**31, 2**53 + 1, 2**63, 10**30, 10**400, "", "x", "1", "nan", "arrp", "../../x", "/dev/zero",
    "x" * 30_000, "\x1b[2J\r\x07", "\ud800", "[/red]", "\0", "${HOME}", "a:b", "layers:0-9999999",
    [], {}, [[]], {"": {}}, [None], [1], ["arrp", "arrp"], {"a": 1}, {"low": 1, "high": 2},
    {"choices": []}, {"choices": [1, 2]}, _DEEP, list(range(3_000)),
    {str(n): n for n in range(2_000)},
)  # fmt: skip
#: Parts of a document that stand between others.
_TOKENS = (
    "[", "]", "{", "}", ":", "- ", ",", "\n", "\t", "'", '"', "&a ", "*a", "<<: ", "!!int ", "!x ",
    "|\n", ">\n", "%", "@", "`", "? ", "---\n", "...\n", "null", "~", ".nan", "-.inf", "1e999",
    "0x1f", "9" * 400, "\x00", "\x1b", "\x85", "\u2028", "\ufeff", "\\ud800", '"\\x1b"', "[" * 100,
    "{a: " * 60, "#", "  ", "${ORCH_X}", "é",
)  # fmt: skip
_WORD = re.compile(r"\w+|\s+|[^\w\s]")


def mutated_text(text: str, rng: random.Random) -> bytes:
    """A document with one to four changes of its bytes or words."""
    content = text.encode()
    for _ in range(rng.choice((1, 1, 2, 4))):
        content = rng.choice(_OF_TEXT)(content, rng)
    return content


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(rng.choice((1, 1, 3, 20))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    begin = rng.randrange(len(content) + 1)
    return content[:begin] + content[begin + rng.randrange(200) :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    begin = rng.randrange(len(content) + 1)
    part = content[begin : begin + rng.randrange(1, 80)]
    return content[:begin] + part * rng.choice((2, 3, 50, 3_000)) + content[begin:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    words = _WORD.findall(content.decode(errors="replace")) or [""]
    words.insert(rng.randrange(len(words) + 1), rng.choice(_TOKENS))
    return "".join(words).encode()


def _replace(content: bytes, rng: random.Random) -> bytes:
    words = _WORD.findall(content.decode(errors="replace")) or [""]
    words[rng.randrange(len(words))] = rng.choice((*_TOKENS, *words[:500]))
    return "".join(words).encode()


def _move(content: bytes, rng: random.Random) -> bytes:
    """A line stands elsewhere, perhaps in another depth."""
    lines = content.split(b"\n")
    line = lines.pop(rng.randrange(len(lines)))
    lines.insert(rng.randrange(len(lines) + 1), b" " * rng.randrange(5) + line)
    return b"\n".join(lines)


_OF_TEXT: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _cut, _repeat, _insert, _insert, _replace, _replace, _move,
)  # fmt: skip


def mutated_value(value: Any, rng: random.Random) -> Any:
    """Plain values of which one to three are changed, renamed, moved, doubled or gone."""
    value = {"": copy.deepcopy(value)}
    for _ in range(rng.choice((1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        _collect(value, places)
        if not places:
            break
        inside, key = rng.choice(places)
        rng.choice(_OF_VALUES)(inside, key, [place[0][place[1]] for place in places], rng)
    return value.get("", {})


def _collect(inside: Any, places: list[tuple[Any, Any]]) -> None:
    for key in list(inside) if isinstance(inside, dict) else range(len(inside)):
        places.append((inside, key))
        if isinstance(inside[key], dict | list) and len(places) < 5_000:
            _collect(inside[key], places)


def _set(inside: Any, key: Any, others: list[Any], rng: random.Random) -> None:
    inside[key] = copy.deepcopy(rng.choice(VALUES))


def _as_another(inside: Any, key: Any, others: list[Any], rng: random.Random) -> None:
    inside[key] = copy.deepcopy(rng.choice(others))


def _delete(inside: Any, key: Any, others: list[Any], rng: random.Random) -> None:
    del inside[key]


def _rename(inside: Any, key: Any, others: list[Any], rng: random.Random) -> None:
    kept = inside[key]
    if isinstance(inside, dict) and key != "":
        del inside[key]
        names = ("x", "", "\x1b[2J", f"{key}s", f"{key}.x", "y" * 5_000, "seed", "[/red]", "a\nb")
        inside[rng.choice(names)] = kept


def _wrap(inside: Any, key: Any, others: list[Any], rng: random.Random) -> None:
    inside[key] = rng.choice(([inside[key]], {"x": inside[key]}, [inside[key]] * 3))


_OF_VALUES = (_set, _set, _set, _as_another, _delete, _rename, _wrap)


def as_yaml(value: Any) -> bytes:
    return yaml.dump(value, sort_keys=False, allow_unicode=False).encode(errors="replace")


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def mutated_pack(packed: bytes, rng: random.Random) -> bytes:
    """A tar.xz whose compressed bytes, unpacked bytes or members are changed."""
    return rng.choice(_OF_PACKS)(packed, rng)


def _compressed(packed: bytes, rng: random.Random) -> bytes:
    return rng.choice((_flip, _flip, _cut, _repeat))(packed, rng)


def _unpacked(packed: bytes, rng: random.Random) -> bytes:
    return _again(rng.choice((_flip, _cut, _repeat))(lzma.decompress(packed), rng))


def _headers(packed: bytes, rng: random.Random) -> bytes:
    """A few bytes of one header change; its checksum is right afterwards."""
    content = bytearray(lzma.decompress(packed))
    starts = [n for n in range(0, len(content), 512) if content[n + 257 : n + 262] == b"ustar"]
    for _ in range(rng.choice((1, 2))):
        start = rng.choice(starts)
        place = rng.choice((range(100), range(100, 108), range(124, 136), range(156, 157),
                            range(157, 257), range(257, 265), range(345, 500)))  # fmt: skip
        for _ in range(rng.choice((1, 1, 4, 12))):
            content[start + rng.choice(place)] = rng.choice(
                (*b"\0 ./057Lx\x80\xff", rng.randrange(256))
            )
        content[start + 148 : start + 156] = b" " * 8
        total = sum(content[start : start + 512])
        content[start + 148 : start + 156] = f"{total:06o}\0 ".encode()
    return _again(bytes(content))


def _members(packed: bytes, rng: random.Random) -> bytes:
    """Members get other names, kinds, sizes and orders."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        found = [(info, (archive.extractfile(info) or io.BytesIO()).read()) for info in archive]
    info, content = rng.choice(found)
    changed = copy.copy(info)
    name = rng.choice((
        "/etc/x", "../x", "s/../../x", "s/trials", "s", "", ".", "s/trials/a/config.json/x",
        "s//sweep.yaml", "S/sweep.yaml", "s\\sweep.yaml", "x" * 5_000, "s/lock", "s/status.json",
        "s/\x1b[2J", "s/\ud800", "-s/sweep.yaml", info.name.upper(), info.name,
        *(each.name for each, _ in found[:20]),
    ))  # fmt: skip
    changed.name = name
    changed.type = rng.choice((b"0", b"0", b"\0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S",
                               b"x", b"g", b"L", b"K", b"Z"))  # fmt: skip
    changed.linkname = rng.choice(("", "/etc/passwd", "../../x", info.name))
    changed.mode = rng.choice((0o644, 0o4755, 0o2755, 0o777, 0))
    changed.pax_headers = rng.choice(({}, {}, {"path": name}, {"size": "1" * 30}, {"a": "b" * 70}))
    content = rng.choice((content, b"", bytes(3_000_000), content * 30))
    changed.size = rng.choice((len(content), len(content), 2**40, 0))
    found.insert(rng.randrange(len(found) + 1), (changed, content))
    sink = io.BytesIO()
    packing = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    for each, data in found:
        try:
            sink.write(each.tobuf(packing, errors="surrogateescape"))
        except (ValueError, UnicodeError):
            continue
        sink.write(data + bytes(-len(data) % 512))
    return _again(sink.getvalue() + bytes(rng.choice((1024, 0, 10_240))))


def _again(content: bytes) -> bytes:
    return lzma.compress(content, preset=0)


_OF_PACKS = (_compressed, _unpacked, _headers, _headers, _members, _members)
