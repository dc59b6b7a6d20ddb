"""What the commands share: arguments and printing."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from orchestrator.cli import completion
from orchestrator.cli.streams import unescaped
from trainer.printable import json_text, printable

if TYPE_CHECKING:
    from orchestrator.table_data import TableData


@dataclass
class Voice:
    """How much a command says besides its answer and errors."""

    quiet: bool = False
    verbose: bool = False


#: Of the command that runs.
VOICE = Voice()
#: Seconds after which a command reports what it is doing.
_PATIENCE = 1.0
#: Prose is not wider than this, however wide the terminal is, because long lines are hard to read.
_PROSE = 100
#: The width of a terminal that does not tell it.
_UNKNOWN = 80

File = Annotated[str, typer.Argument(metavar="FILE", help="The sweep file.")]
Sweep = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A sweep's name, or its folder.",
        autocompletion=completion.sweeps,
    ),
]
Trial = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP[@TRIAL]",
        help="A sweep, for its best trial, or a trial by its id.",
        autocompletion=completion.sweeps_and_trials,
    ),
]
Epoch = Annotated[
    str, typer.Option(metavar="counted|best|last", help="Which epoch of the trial answers.")
]
DataFolder = Annotated[
    str | None, typer.Option("--data", metavar="DIR", help="The folder of the data, if they moved.")
]
Device = Annotated[
    str, typer.Option(metavar="cpu|cuda", help="Device; auto is the GPU if there is one.")
]
Profile = Annotated[
    str | None, typer.Option("--profile", metavar="P", help="Apply this profile of the file.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a dotted key to a YAML value; repeatable."
    ),
]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The folder of all sweeps.",
        envvar="ORCH_OUT",
        callback=os.path.expanduser,
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Join a cluster that asks for no token. It runs anyone's code."
    ),
]
Wide = Annotated[
    bool, typer.Option("--wide", help="Print all columns, also those that do not fit.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    print(json_text(value, indent=1))


def say(text: str) -> None:
    """Print a line besides the command's answer."""
    if not VOICE.quiet:
        complain(text)


def complain(text: str) -> None:
    """Print what went wrong, wrapped at words on a terminal."""
    from orchestrator.cli.fitted_table import wrap

    text = printable(text)  # a live view takes the place of the stream that would do it
    if width := _width(sys.stderr):
        text = "\n".join(wrap(text, width))
    print(text, file=sys.stderr, flush=True)


class _Console(Console):
    """Rich's console for text from anywhere: markup is text, and what would act is escaped."""

    def __init__(self, file: TextIO, width: int | None = None):
        super().__init__(file=file, width=width, markup=False, emoji=False, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """As in the base class; only rich's own codes stay as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table if there is none."""
    stream = unescaped(sys.stderr if stderr else sys.stdout)
    terminal = _Console(stream)
    return terminal if terminal.is_terminal else _Console(stream, width=200)


def progress_console(*, stderr: bool) -> Console:
    """Where a command shows what it is doing; nowhere with `--quiet`."""
    if VOICE.quiet:
        return _Console(open(os.devnull, "w"))
    return console(stderr=stderr)


def terminal_width() -> int | None:
    """The width of the terminal that shows the answer; None if a pipe or a file gets it."""
    return _width(sys.stdout)


def _width(stream: TextIO) -> int | None:
    """The width of the terminal behind a stream; None if it is no terminal."""
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _UNKNOWN
    except OSError:
        return _UNKNOWN


def print_table(data: TableData, *, wide: bool = False, ways: Sequence[str] = ("--wide",)) -> None:
    """Print a table, as wide as the terminal; a pipe gets all of it.

    Args:
        wide: whether to print all columns, however narrow the terminal is.
        ways: how this command shows the columns that do not fit.
    """
    from orchestrator.cli.fitted_table import table_lines

    lines = table_lines(data, None if wide else terminal_width(), ways)
    if not sys.stdout.isatty():
        print("\n".join(line.plain for line in lines), flush=True)
        return
    terminal = console()
    for line in lines:
        terminal.print(line, soft_wrap=True)


def print_prose(lines: Iterable[str], *, err: bool = False) -> None:
    """Print sentences: wrapped at words on a terminal, else as they are.

    Args:
        err: on standard error.
    """
    from orchestrator.cli.fitted_table import wrap

    width, stream = prose_width(), sys.stderr if err else sys.stdout
    for line in lines:
        text = printable(line)  # before it is measured
        print("\n".join(wrap(text, width)) if width else text, file=stream)
    stream.flush()


def prose_width() -> int | None:
    """The width of sentences; None if no terminal shows them."""
    width = terminal_width()
    return width and min(width, _PROSE)


class Patience:
    """Reports on stderr what is being done, once it takes longer than a second.

    A terminal has one line for it, which goes away at the end; else each report has its own.
    """

    def __init__(self, text: str):
        self._text = text
        self._shown = False
        self._status = console(stderr=True).status("") if sys.stderr.isatty() else None
        self._timer = threading.Timer(_PATIENCE, self._say)
        self._timer.daemon = True
        self._turn = threading.Lock()
        self._ended = False

    def __enter__(self) -> Patience:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        with self._turn:
            self._ended = True
            if self._status is not None:
                self._status.stop()

    def __call__(self, text: str) -> None:
        self._text = text
        if self._shown:
            self._say()

    def _say(self) -> None:
        with self._turn:
            if not (self._ended or VOICE.quiet):
                self._shown = True
                self._show()

    def _show(self) -> None:
        if self._status is None:
            print(f"{self._text} ...", file=sys.stderr, flush=True)
            return
        self._status.update(Text(f"{self._text} ...", overflow="ellipsis", no_wrap=True))
        self._status.start()
