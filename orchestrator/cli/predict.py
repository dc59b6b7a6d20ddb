"""`orch predict`: a trained model answers about sentences of a file or a pipe."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, cast

import typer

from orchestrator.cli.streams import unescaped
from orchestrator.cli.terminal import (
    DataFolder,
    Device,
    Epoch,
    Json,
    Out,
    Patience,
    Trial,
    say,
)
from orchestrator.errors import UserError, unknown_name

if TYPE_CHECKING:
    from io import BufferedIOBase

    from orchestrator.export.sentences import Block, Reading
    from trainer.config.tasks import Task

#: What stands for the standard input.
_PIPE = "-"
#: The ending of a file with one sentence a line, which is read as a pipe is.
_LINES = ".txt"


def predict(
    name: Trial,
    source: Annotated[
        str, typer.Argument(metavar="FILE|-", help="A file, or - for lines of a pipe.")
    ],
    task: Annotated[
        str, typer.Option(metavar="TASK", help="The task, if the model has several.")
    ] = "",
    form: Annotated[
        str,
        typer.Option("--format", metavar="csv|tsv|jsonl", help="By the ending of -o, else csv."),
    ] = "",
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="Write to a file.")
    ] = "",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME|NUMBER",
            help="A column of the sentences, if the file's are not the task's; repeatable.",
        ),
    ] = None,
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether the first line names the columns."),
    ] = None,
    separator: Annotated[
        str, typer.Option(metavar="NAME", help="auto, tab, comma, semicolon, pipe, or a character.")
    ] = "",
    epoch: Epoch = "counted",
    device: Device = "auto",
    data: DataFolder = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Let a trained model answer about the sentences of a file, or about lines of a pipe.

    Every row has the id, the sentences, the prediction, and the probability of every class. A pipe
    has a sentence on each line, or a pair with a tab between. So has a file that ends in .txt.
    """
    from orchestrator.export.answer_formats import FORMATS
    from orchestrator.export.answers import answer_blocks
    from orchestrator.export.chosen_trial import choose_trial
    from orchestrator.export.sentences import Reading, column_names
    from orchestrator.export.trained_model import load_model, task_of

    ending = Path(output).suffix.removeprefix(".")
    form = "jsonl" if as_json else form or (ending if ending in FORMATS else "csv")
    if form not in FORMATS:
        raise unknown_name(f"--format {form}: no such format", form, FORMATS)
    if source != _PIPE and not Path(source).expanduser().is_file():
        raise UserError(f"{source}: there is no such file; - reads a pipe")
    chosen = choose_trial(name, out)
    asked = task_of(chosen, task)
    with Patience("loading the model"):
        model = load_model(chosen, epoch=epoch, device=device, data=data)
    left_out: Counter[str] = Counter()
    reading = Reading(column_names(columns or ()), header, separator)
    blocks = _blocks(source, asked, reading, left_out)
    writer, count = FORMATS[form](asked), 0
    with _opened(output, source) as stream:
        begin = writer.header()
        for rows in answer_blocks(model, asked, blocks, left_out):
            stream.write(begin + writer.rows(rows))
            stream.flush()
            count, begin = count + len(rows), ""
        stream.write(begin)
    about = model.description
    said = [f"{asked.name}: {count:,} rows, by {about.trial_id} after epoch {about.epoch}"]
    say("; ".join(said + [f"{number:,} {why}" for why, number in left_out.items()]))


def _blocks(source: str, task: Task, reading: Reading, left_out: Counter[str]) -> Iterator[Block]:
    from orchestrator.export.sentences import read_file, read_lines

    if source == _PIPE:
        if sys.stdin.isatty():
            say("a sentence on each line (a pair: with a tab between); Ctrl-D ends")
        yield from read_lines(cast("BufferedIOBase", sys.stdin.buffer), task, "standard input")
        return
    path = Path(source).expanduser()
    if path.suffix == _LINES and not reading.columns:
        with path.open("rb") as stream:
            yield from read_lines(stream, task, source)
        return
    yield from read_file(path, task, reading, left_out)


@contextlib.contextmanager
def _opened(output: str, source: str) -> Iterator[TextIO]:
    """The file to write to, which is there once it is whole; the standard output if there is none.

    Raises `UserError`.
    """
    if not output:
        try:
            yield sys.stdout if sys.stdout.isatty() else unescaped(sys.stdout)
        except BrokenPipeError:  # as in `| head`: nothing may be written at exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    to = Path(output).expanduser()
    if to.is_dir():
        raise UserError(f"-o {output}: is a folder; name a file in it")
    if not to.parent.is_dir():
        raise UserError(f"-o {output}: the folder {to.parent} does not exist")
    if source != _PIPE and to.exists() and to.samefile(Path(source).expanduser()):
        raise UserError(f"-o {output}: is the file that is read; name another one")
    partial = to.with_name(f".{to.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        partial.replace(to)
    finally:
        partial.unlink(missing_ok=True)
