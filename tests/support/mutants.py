"""Mutants of a sweep's folder: what another person's folder, or a damaged one, can hold.

A mutant is a copy of a small sound sweep in which one to three things were changed: bytes, values,
names, sizes, kinds of files.
"""

from __future__ import annotations

import functools
import io
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger import Ledger
from orchestrator.ledger.driver_status import STATUS, DriverStatus, RunningTrial
from orchestrator.ledger.timing_sessions import FOLDER
from tests.support.evaluations import write_all
from tests.support.sessions import made_up
from tests.support.simulated import World, write_predicted

SWEEP = """\
format: 2
name: s
question: which?
base: {epochs: 2, sampler: arrp, data: {source: synthetic}}
search: {num_trials: 2, algorithm: random, seeds: [1, 2]}
space: {sampler: {choices: [arrp, annealed]}}
decide: {compare: [arrp, annealed]}
"""
#: Seconds since 1970 of a far day, so that a driver on another host always seems to live.
_LATER = 9e9


def write_sound_sweep(out: Path) -> Ledger:
    """`out/s`: two methods, two seeds, and every kind of file that a sweep's folder can hold."""
    sweep, rng = out / "s", np.random.default_rng(0)
    world = World.of(rng, sst=30, qqp=40, sts=30)
    trials = [
        write_predicted(
            sweep, world, world.predictions(rng, 0.6), sampler=sampler, seed=seed, epochs=2
        )
        for sampler in ("arrp", "annealed")
        for seed in (1, 2)
    ]
    ledger = Ledger(out, "s")
    for name in trials:
        directory = ledger.directory(name)
        write_all(directory, world, world.predictions(rng, 0.6))
        directory.write("logs/001.txt", b"a line\nanother\n")
        directory.write("analysis.json", b'{"sst": {"confusion": [[1, 2], [3, 4]]}}')
    status = DriverStatus(
        "s", "search", planned=4, running=1, host="elsewhere", pid=4, started="x",
        heartbeat=_LATER, trials=(RunningTrial(trials[0], "a", 1, 1, 2),),
    )  # fmt: skip
    files = {
        "sweep.yaml": SWEEP.encode(),
        "lock": b'{"host": "elsewhere", "pid": 4, "started": "x"}',
        STATUS: json.dumps(status.to_dict()).encode(),
        "stop.json": b'{"pid": 4, "started": "x", "now": false}',
        "driver.log": b"2026-01-01 WARNING a: b\n",
        "origin.json": b'{"sweep_id": "0123"}',
        f"{FOLDER}/1.json": made_up({"a": [1.0] * 5, "b": [2.0] * 5}).model_dump_json().encode(),
    }
    for name, content in files.items():
        ledger.folder.write(name, content)
    return ledger


def mutate(sweep: Path, rng: random.Random) -> list[str]:
    """Change one to three files of a sweep; returns what was done, in words."""
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        files = sorted(path for path in sweep.rglob("*") if path.is_file() or path.is_symlink())
        if not files:
            break
        path = rng.choice(files)
        kinds = _OF_KIND.get(path.suffix, ()) if path.is_file() and not path.is_symlink() else ()
        change = rng.choice((*kinds, *kinds, *_ANY))
        change(path, rng)
        done.append(f"{change.__name__} {path.relative_to(sweep)}")
    return done


# Changes of any file.


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(_bytes(path) or b"\0")
    for _ in range(rng.choice((1, 1, 3, 20))):
        content[rng.randrange(len(content))] = rng.randrange(256)
    _put(path, bytes(content))


def _cut(path: Path, rng: random.Random) -> None:
    content = _bytes(path)
    _put(path, content[: rng.randrange(len(content) + 1)])


def _repeat_a_part(path: Path, rng: random.Random) -> None:
    content = _bytes(path)
    begin = rng.randrange(len(content) + 1)
    part = content[begin : begin + rng.randrange(1, 50)]
    _put(path, content[:begin] + part * rng.choice((2, 10, 10_000)) + content[begin:])


def _swap(path: Path, rng: random.Random) -> None:
    others = [each for each in path.parent.parent.rglob("*") if each.is_file()]
    _put(path, _bytes(rng.choice(others)) if others else b"")


def _kind(path: Path, rng: random.Random) -> None:
    """Another kind of file, or a link."""
    path.unlink()
    rng.choice(_KINDS)(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(path.parent, os.O_RDONLY)
        try:  # the address of a socket has at most 107 characters
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(40 * 2**30)


_KINDS: tuple[Callable[[Path], None], ...] = (
    os.mkfifo,
    _socket,
    _sparse,
    lambda path: path.mkdir(),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to("/etc/passwd"),
    lambda path: path.symlink_to("/proc/self/environ"),
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("nowhere"),
    lambda path: path.symlink_to("../../../../../../../../etc"),
)


def _folder(path: Path, rng: random.Random) -> None:
    """The file's folder becomes something else, or a link."""
    folder = path.parent
    if folder.name == "s":  # the sweep itself
        return
    shutil.rmtree(folder)
    rng.choice(_KINDS)(folder)


def _beside(path: Path, rng: random.Random) -> None:
    """A copy under another name."""
    names = ("003.json", "0٣.json", "²", "000.json", "1000000.json", "a b.json", "-", "999.txt")
    _put(path.with_name(rng.choice(names)), _bytes(path))


def _gone(path: Path, rng: random.Random) -> None:
    path.unlink()


_ANY = (_flip, _cut, _repeat_a_part, _swap, _kind, _folder, _beside, _gone)

# Changes of JSON.

_DEEP: Any = functools.reduce(lambda inner, _: [inner], range(200), 0)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e-320, 1e15, 1e299, -1e299, 1e308, float("inf"),
    float("nan"), 2**31, 2**53 + 1, 2**63, 10**30, 10**400, "", "x", "1", "nan", "arrp", "../../x",
    "x" * 100_000, "\x1b[2J\r\x07", "\ud800", "[/red]", "\0", [], {}, [[]], {"": {}}, [None], [1],
    {"a": 1}, _DEEP, list(range(100_000)), "2026-01-01T00:00:00+00:00", "0001-01-01",
)  # fmt: skip


def _value(path: Path, rng: random.Random) -> None:
    """Another value somewhere."""
    where = _somewhere(value := _json(path), rng)
    if where is not None:
        where[0][where[1]] = rng.choice(_VALUES)
    _put_json(path, value)


def _key(path: Path, rng: random.Random) -> None:
    """A key is renamed, deleted or added somewhere."""
    where = _somewhere(value := _json(path), rng)
    if where is not None:
        inside, key = where
        kept = inside[key]
        rng.choice((lambda: None, lambda: inside.__delitem__(key)))()
        if isinstance(inside, dict):
            inside[rng.choice(("x", "", "\ud800", "epoch", "y" * 10_000, "\x1b[2J"))] = kept
    _put_json(path, value)


def _scaled(path: Path, rng: random.Random) -> None:
    """Every number is multiplied."""
    factor = rng.choice((-1, 0, 1e150, 1e-150, 1e250))

    def scaled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: scaled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [scaled(each) for each in value]
        return value * factor if isinstance(value, float) else value

    _put_json(path, scaled(_json(path)))


def _somewhere(value: Any, rng: random.Random) -> tuple[Any, Any] | None:
    places: list[tuple[Any, Any]] = []

    def walk(inside: Any) -> None:
        for key in list(inside if isinstance(inside, dict) else range(len(inside))):
            places.append((inside, key))
            if isinstance(inside[key], dict | list):
                walk(inside[key])

    if isinstance(value, dict | list):
        walk(value)
    return rng.choice(places) if places else None


# Changes of Parquet.


def _table(path: Path, rng: random.Random) -> None:
    """Another table with the same columns, or most of them."""
    columns = _columns(path)
    name = rng.choice(list(columns))
    count = len(columns[name])
    made: dict[str, Callable[[], Any]] = {
        "null": lambda: pa.nulls(count),
        "nulls": lambda: pa.nulls(count, columns[name].type),
        "lists": lambda: pa.array([[1.0]] * count),
        "structs": lambda: pa.array([{"a": 1}] * count),
        "text": lambda: pa.array(["x" * 1_000] * count),
        "bytes": lambda: pa.array([b"\xff"] * count),
        "dictionary": lambda: pa.array([0.5] * count).dictionary_encode(),
        "large": lambda: pa.array([1e300] * count),
        "infinite": lambda: pa.array([float("inf")] * count),
        "not numbers": lambda: pa.array([float("nan")] * count),
        "times": lambda: pa.array([0] * count, pa.timestamp("ns")),
        "decimals": lambda: pa.array([0] * count, pa.decimal256(70)),
        "whole": lambda: pa.array([2**62] * count),
        "one": lambda: pa.array(["sst"] * count),
    }
    _put_table(path, {**columns, name: made[rng.choice(list(made))]()})


def _rows(path: Path, rng: random.Random) -> None:
    """Other rows: none, half, twice, in another order."""
    table = pa.table(_columns(path))
    order = list(range(table.num_rows))
    rng.shuffle(order)
    some = (table.slice(0, 0), table.slice(0, 50), pa.concat_tables([table, table]),
            table.take(order), table.slice(0, 1))  # fmt: skip
    chosen = rng.choice(some)
    _put_table(path, dict(zip(chosen.column_names, chosen.columns, strict=True)))


def _bomb(path: Path, rng: random.Random) -> None:
    _put(path, bomb(rng.choice(("rows", "text", "columns"))))


@functools.cache
def bomb(kind: str) -> bytes:
    """A small file that stands for gigabytes: many equal rows, one long text often, columns."""
    count = {"rows": 20_000_000, "text": 500_000, "columns": 3}[kind]
    text = "x" * (100_000 if kind == "text" else 1)
    texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, "int32")), pa.array([text]))
    numbers = pa.array(np.zeros(count))
    columns = {"task": texts, "id": texts, "label": numbers, "prediction": numbers}
    if kind == "columns":
        columns |= {f"c{n}": numbers for n in range(20_000)}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", store_schema=kind == "rows")
    return sink.getvalue()


def _columns(path: Path) -> dict[str, Any]:
    small = {"task": pa.array(["sst"]), "id": pa.array(["a"]), "label": pa.array([1.0])}
    try:
        file = pq.ParquetFile(io.BytesIO(_bytes(path)))
        if not 0 < file.metadata.num_rows < 10_000:  # before a `bomb` is read: it takes 50 GB
            return small
        table = file.read()
    except (pa.ArrowException, OSError, ValueError):
        return small
    if not table.column_names:
        return small
    return dict(zip(table.column_names, table.combine_chunks().columns, strict=True))


def _put_table(path: Path, columns: dict[str, Any]) -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    _put(path, sink.getvalue())


# Changes of YAML.


def _words(path: Path, rng: random.Random) -> None:
    """Words are replaced by others of the file, or by hostile ones."""
    text = _bytes(path).decode(errors="replace")
    words = text.split(" ")
    more = ("null", "{}", "[]", "[[]]", "1", "-1", ".nan", "1e400", '"\\e[2J"', "&a", "*a", "<<:")
    words[rng.randrange(len(words))] = rng.choice((*words, *more))
    _put(path, " ".join(words).encode())


def _lines(path: Path, rng: random.Random) -> None:
    """The value of one line becomes another."""
    lines = _bytes(path).decode(errors="replace").splitlines() or [""]
    number = rng.randrange(len(lines))
    key = lines[number].partition(":")[0]
    values = ("", "3", "x", "[]", "[1]", "{}", "{a: 1}", "null", "[" * 60 + "]" * 60, "1e400")
    lines[number] = f"{key}: {rng.choice(values)}"
    _put(path, "\n".join(lines).encode())


_OF_KIND: dict[str, tuple[Callable[[Path, random.Random], None], ...]] = {
    ".json": (_value, _value, _value, _key, _scaled),
    "": (_value, _key),
    ".parquet": (_table, _table, _rows, _bomb),
    ".yaml": (_words, _lines),
}


def _bytes(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 2**26:
        return b""
    return path.read_bytes()


def _put(path: Path, content: bytes) -> None:
    if path.is_symlink() or path.is_dir() or path.is_fifo() or path.is_socket():
        return
    path.write_bytes(content)


def _json(path: Path) -> Any:
    try:
        return json.loads(_bytes(path))
    except (ValueError, RecursionError):
        return {}


def _put_json(path: Path, value: Any) -> None:
    try:
        _put(path, json.dumps(value).encode())
    except (RecursionError, ValueError):
        _put(path, b"[" * 5_000)
