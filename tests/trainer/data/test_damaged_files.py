"""Files that are damaged at random: a reader refuses the file, or counts every one of its lines."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.config.task_declaration import declared_tasks
from trainer.config.tasks import Task
from trainer.data.readers import DataError, Examples, read_examples

ROWS = [
    ("a", "warm and funny", "so it is", "1"),
    ("b", 'it is "fine"', "", "0"),
    ("c", "far, too; long", "not | at all", "1"),
    ("d", "café", "naïve", "0"),
    ("e", "don't", "do", "1"),
]
HEADER = ("id", "one", "two", "label")
#: Pieces that are put into a file.  Single bytes come in too.
PIECES = [
    b'"', b'""', b"\t", b",", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"{", b"}",
    b"\\", b'"\n', b'\t"', b"1_0", "４".encode(), "\u2028".encode(), b"\x1a", b"\x0b", b"\x85",
]  # fmt: skip


def declared(**changes: Any) -> Task:
    entry = {
        "columns": ["one", "two"], "label": "label", "loss": "bce", "metric": "accuracy",
        "train": "train.csv", "dev": "dev.csv",
    }  # fmt: skip
    return declared_tasks({"pairs": entry | changes})["pairs"]


def separated(separator: str, quoting: Any) -> bytes:
    stream = io.StringIO()
    writer = csv.writer(
        stream, delimiter=separator, quoting=quoting, quotechar=None if quoting == 3 else '"'
    )
    writer.writerows([HEADER, *ROWS])
    return stream.getvalue().encode()


def json_lines() -> bytes:
    objects = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in objects).encode()


def parquet() -> bytes:
    sink = io.BytesIO()
    columns = [list(column) for column in zip(*ROWS, strict=True)]
    pq.write_table(pa.table(dict(zip(HEADER, columns, strict=True))), sink)
    return sink.getvalue()


def lines_in(content: bytes) -> int:
    """Physical lines, by the three line ends that text files have."""
    return len(
        re.findall(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z", content.removeprefix(b"\xef\xbb\xbf"))
    )


def records_in(content: bytes, separator: str = ",") -> int:
    """Records of the csv module."""
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return sum(1 for _ in csv.reader(text, delimiter=separator))


def unpacked_lines(content: bytes) -> int:
    return lines_in(gzip.decompress(content))


#: Kind of file -> its name, its content, its declaration, and how many lines a content has.
KINDS: dict[str, tuple[str, bytes, Task, Callable[[bytes], int] | None]] = {
    "course": ("a.csv", separated("\t", csv.QUOTE_MINIMAL), declared(), lines_in),
    "glue": ("a.tsv", separated("\t", csv.QUOTE_NONE), declared(), lines_in),
    "comma": ("b.csv", separated(",", csv.QUOTE_ALL), declared(), lines_in),
    "by number": (
        "c.txt", separated(";", csv.QUOTE_MINIMAL),
        declared(header=False, columns=[2, 3], label=4), lines_in,
    ),
    "records": ("d.csv", separated(",", csv.QUOTE_ALL), declared(quotes="many_lines"), records_in),
    "json lines": ("e.jsonl", json_lines(), declared(), lines_in),
    "compressed": (
        "f.csv.gz", gzip.compress(separated(",", csv.QUOTE_ALL), mtime=0), declared(),
        unpacked_lines,
    ),
    "parquet": ("g.parquet", parquet(), declared(), None),
}  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A content with a few pieces put in, cut out, repeated or replaced."""
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(len(content), start + draw(st.sampled_from([0, 1, 9])))))
        piece = draw(
            st.sampled_from(PIECES)
            | st.binary(min_size=1, max_size=2)
            | st.just(content[start:end] * 2)
            | st.just(b"")
        )
        content = content[:start] + piece + content[end:]
    return content


def check(folder: Path, kind: str, content: bytes) -> Examples | None:
    name, _, task, lines = KINDS[kind]
    (folder / name).write_bytes(content)
    try:
        examples = read_examples(folder / name, task, labelled=True)
    except DataError as error:
        assert str(folder / name) in str(error)
        return None
    counted = examples.header + examples.blank + examples.elsewhere
    assert examples.lines == counted + len(examples.texts) + sum(examples.dropped.values())
    assert len(examples.ids) == len(examples.texts) == len(examples.labels or [])
    assert set(examples.labels or []) <= {0, 1}
    if lines is not None:
        assert examples.lines == lines(content)
    return examples


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_loses_nothing(tmp_path: Path, kind: str) -> None:
    examples = check(tmp_path, kind, KINDS[kind][1])
    assert examples is not None and examples.texts == [[one, two] for _, one, two, _ in ROWS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("damaged")


def _mutate(folder: Path, kind: str, examples: int) -> None:
    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(damaged(KINDS[kind][1]))
    def run(content: bytes) -> None:
        check(folder, kind, content)

    run()


@pytest.mark.parametrize("kind", KINDS)
def test_no_line_of_a_damaged_file_is_lost_uncounted(folder: Path, kind: str) -> None:
    _mutate(folder, kind, 150)


@pytest.mark.exhaustive(reason="80,000 damaged files take minutes")
@pytest.mark.parametrize("kind", KINDS)
def test_no_line_of_many_damaged_files_is_lost_uncounted(folder: Path, kind: str) -> None:
    _mutate(folder, kind, 10_000)


@settings(
    max_examples=150, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(
    kind=st.sampled_from(["course", "glue", "comma", "json lines"]),
    place=st.integers(1, len(ROWS)),
    damage=st.text(st.sampled_from('"\t,;{}\\x1 '), min_size=1, max_size=8),
    at=st.integers(0, 20),
)
def test_damage_within_a_line_leaves_all_other_rows_as_they_are(
    folder: Path, kind: str, place: int, damage: str, at: int
) -> None:
    lines = KINDS[kind][1].decode().splitlines(keepends=True)
    line = place - 1 + len(lines) - len(ROWS)  # JSON Lines have no header
    at = min(at, len(lines[line].rstrip("\r\n")))
    lines[line] = lines[line][:at] + damage + lines[line][at:]
    examples = check(folder, kind, "".join(lines).encode())
    assert examples is not None
    rows = dict(zip(examples.ids, examples.texts, strict=True))
    others = {row[0]: [row[1], row[2]] for row in ROWS if row != ROWS[place - 1]}
    assert others.items() <= rows.items()
