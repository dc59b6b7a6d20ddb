"""What the commands share: arguments and printing."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Annotated, Any

import typer
from rich.console import Console

#: Seconds after which a command reports what it is doing.
_PATIENCE = 1.0

File = Annotated[str, typer.Argument(metavar="FILE", help="The sweep file.")]
Sweep = Annotated[str, typer.Argument(metavar="NAME", help="A sweep's name, or its folder.")]
Trial = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP[@TRIAL]", help="A sweep, for its best trial, or a trial by its id."
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
        "--out", metavar="DIR", help="The folder of all sweeps.", callback=os.path.expanduser
    ),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Join a cluster that asks for no token. It runs anyone's code."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def say(text: str) -> None:
    """Print a line besides the command's answer."""
    print(text, file=sys.stderr, flush=True)


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal, or wide enough for every table if there is none."""
    terminal = Console(stderr=stderr)
    return terminal if terminal.is_terminal else Console(stderr=stderr, width=200)


class Patience:
    """Reports on stderr what is being done, once it takes longer than a second."""

    def __init__(self, text: str):
        self._text = text
        self._shown = False
        self._timer = threading.Timer(_PATIENCE, self._say)
        self._timer.daemon = True

    def __enter__(self) -> Patience:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def __call__(self, text: str) -> None:
        self._text = text
        if self._shown:
            self._say()

    def _say(self) -> None:
        self._shown = True
        print(f"{self._text} ...", file=sys.stderr, flush=True)
