"""The options that all commands take: `--quiet`, `--verbose`, and `--version` before a command."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from orchestrator.cli import terminal
from orchestrator.errors import UserError

Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the answer and errors.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Also print the log of what happens, on stderr.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from orchestrator import __version__

        print(f"orch {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
]


def before_any_command(
    version: Version = False, quiet: Quiet = False, verbose: Verbose = False
) -> None:
    """Sweeps that compare ways of training one model on several tasks."""
    terminal.VOICE.quiet, terminal.VOICE.verbose = quiet, verbose


def add_commands(app: typer.Typer, commands: Mapping[str, tuple[Callable[..., None], str]]) -> None:
    """Add commands with their examples; the list of commands has the first sentence of each."""
    for name, (command, example) in commands.items():
        summary = " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split())
        app.command(
            name,
            epilog=f"Example: {example}",
            short_help=summary.partition(". ")[0].removesuffix("."),
        )(takes_global_options(command))


def takes_global_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--quiet` and `--verbose` to a command, which may also stand before it."""
    declared = inspect.signature(_chosen, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def with_options(*, quiet: bool, verbose: bool, **arguments: Any) -> None:
        with _chosen(quiet=quiet, verbose=verbose):
            command(**arguments)

    shown = [*own.parameters.values(), *declared.values()]
    with_options.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
    return with_options


@contextlib.contextmanager
def _chosen(*, quiet: Quiet = False, verbose: Verbose = False) -> Iterator[None]:
    """Let the options hold while a command runs."""
    voice = terminal.VOICE
    voice.quiet, voice.verbose = voice.quiet or quiet, voice.verbose or verbose
    if voice.quiet and voice.verbose:
        raise UserError("--quiet and --verbose cannot be given together")
    logs = [logging.getLogger(name) for name in ("orchestrator", "trainer")] * voice.verbose
    handler = _OnStderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    levels = [log.level for log in logs]
    for log in logs:
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.removeHandler(handler)
            log.setLevel(level)


class _OnStderr(logging.Handler):
    """Lines on stderr, also while a live view has taken its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)
