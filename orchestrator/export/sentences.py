"""The sentences that a model is asked about: from a file, or line by line from a pipe.

They come in blocks, so the answers of the first ones are there before the last ones are read.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from pathlib import Path

from orchestrator.errors import UserError
from trainer.config.tasks import Task

#: Most examples of a block.
BLOCK = 1024
#: Bytes that a pipe gives at once, at most.
_CHUNK = 1 << 16


@dataclass
class Block:
    """Some examples: an id and one or two sentences for each."""

    ids: list[str] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """How a file is read where that differs from the task's own files.

    Attributes:
        columns: names or numbers of the columns with the sentences; empty for the task's.
        header: whether the first line names the columns; None for as the task's.
        separator: as in a declaration; empty for the task's.
    """

    columns: tuple[str | int, ...] = ()
    header: bool | None = None
    separator: str = ""

    def of(self, task: Task) -> Task:
        """The task, declared for such a file.  Its rows have no splits.  Raises `UserError`."""
        if self.columns and len(self.columns) != len(task.columns):
            raise UserError(
                f"--column: task {task.name} has {len(task.columns)} column(s) of text, "
                f"and {len(self.columns)} are given"
            )
        return dataclasses.replace(
            task,
            columns=self.columns or task.columns,
            header=task.header if self.header is None else self.header,
            separator=self.separator or task.separator,
            split_column="",
        )


def read_file(path: Path, task: Task, reading: Reading, left_out: Counter[str]) -> Iterator[Block]:
    """The examples of a file, without its labels.

    A file with a single column needs no certain name for it.

    Args:
        left_out: gets the number of rows that are left out, by reason.

    Raises:
        UserError: the file cannot be read, or lacks a column.
    """
    from trainer.data.readers import DataError, MissingColumn, read_examples

    declared = reading.of(task)
    try:
        try:
            examples = read_examples(path, declared, labelled=False)
        except MissingColumn as missing:
            if reading.columns or declared.is_pair or len(missing.present) != 1:
                raise
            single = dataclasses.replace(declared, columns=tuple(missing.present))
            examples = read_examples(path, single, labelled=False)
    except DataError as error:
        raise UserError(str(error)) from error
    left_out.update(examples.dropped)
    for start in range(0, len(examples.ids), BLOCK):
        chosen = slice(start, start + BLOCK)
        yield Block(examples.ids[chosen], examples.texts[chosen])


def read_lines(stream: BufferedIOBase, task: Task, name: str) -> Iterator[Block]:
    """Sentences from a pipe or a file of lines: one a line, a pair with a tab between.

    What is there is answered at once, so a person can type.  Blank lines are skipped.  The id is
    the line's number.

    Raises:
        UserError: a line is not UTF-8, or no pair.
    """
    number = 0
    for lines in _lines(stream):
        block = Block()
        for line in lines:
            number += 1
            texts = _sentences(line, task, f"{name}: line {number}", first=number == 1)
            if texts:
                block.ids.append(str(number))
                block.texts.append(texts)
        yield block


def _lines(stream: BufferedIOBase) -> Iterator[list[bytes]]:
    """The lines of a stream, as many at once as are there."""
    rest = b""
    while chunk := stream.read1(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
    yield [rest]


def _sentences(line: bytes, task: Task, where: str, *, first: bool) -> list[str]:
    try:
        text = line.decode("utf-8-sig" if first else "utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text: {error.reason}") from error
    if not text.strip():
        return []
    texts = text.split("\t") if task.is_pair else [text]
    if len(texts) != len(task.columns):
        raise UserError(
            f"{where}: task {task.name} needs two sentences with a tab between them; "
            f"this line has {len(texts)}"
        )
    return [sentence.strip() for sentence in texts]


def column_names(given: Sequence[str]) -> tuple[str | int, ...]:
    """Columns from the command line: names, or numbers from 1."""
    return tuple(int(each) if each.isascii() and each.isdigit() else each for each in given)
