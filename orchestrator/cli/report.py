"""`orch report`: the comparison, its figures and the errors of single trials as one HTML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.comparison_options import takes_comparison_options
from orchestrator.cli.terminal import Json, Out, Patience, Sweep, complain, print_json, print_prose
from orchestrator.compare.options import ComparisonOptions
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord

#: Every report has this near its beginning.
_MARK = b'<meta name="generator" content="orch report">'


@takes_comparison_options
def report_sweep(
    name: Sweep,
    output: Annotated[
        str, typer.Option("-o", "--output", metavar="FILE", help="The report (NAME.html).")
    ] = "",
    trials: Annotated[
        list[str] | None,
        typer.Option(
            "--trial",
            metavar="ID",
            help="Show this trial's predictions; repeatable (a median trial of the best method).",
        ),
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Also write every figure there, as SVG and PNG."),
    ] = None,
    *,
    options: ComparisonOptions,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Write a sweep's report: one HTML file that needs nothing else.

    It has the answer, tables, frontier, learning curves, reasons, errors of single trials,
    environment and commands. docs/guide/report.md explains every part.
    """
    from orchestrator.ledger.listing import find_sweep

    ledger = find_sweep(name, out)
    to = _checked_output(output or f"{ledger.name}.html")
    folder = _checked_folder(figures) if figures is not None else None
    shown = _named(ledger, trials or [])
    from orchestrator import report
    from orchestrator.compare.compare_sweep import compare_sweep, trials_of
    from orchestrator.decision.answer.block import headline, in_json
    from trainer.storage.folder import in_words

    with Patience("reading trials") as tell:
        chosen = trials_of(ledger)
        for trial, reason in chosen.unreadable.items():
            complain(f"{trial} cannot be read: {reason}")
        compared = compare_sweep(ledger, chosen, options, tell)
        content = report.make(ledger, options, shown, tell, compared=compared)
        size = report.write_report(content, to)
        if folder is not None:
            tell(f"writing {2 * len(content.figures)} files to {folder}")
            report.write_figures(content, folder)
    if as_json:
        written = {"path": str(to), "bytes": size, "figures": list(content.figures)}
        print_json(in_json(content.answer) | written | {"trials": content.trials})
        return
    print_prose(
        [headline(content.answer), f"{to}: {in_words(size)}, {len(content.figures)} figures"]
    )
    if folder is not None:
        print(f"{folder}: every figure as SVG and PNG")


def _checked_output(name: str) -> Path:
    """The path to write to, in an existing folder; only an older report may be overwritten."""
    to = Path(name).expanduser()
    if to.is_dir():
        raise UserError(f"-o {name}: is a folder; name a file in it")
    if not to.parent.is_dir():
        raise UserError(f"-o {name}: the folder {to.parent} does not exist")
    if to.exists():
        if not to.is_file():
            raise UserError(f"-o {name}: is not a plain file")
        with to.open("rb") as stream:
            beginning = stream.read(1024)
        if beginning and _MARK not in beginning:
            raise UserError(f"-o {name}: exists and is not a report; name another file")
    if not os.access(to.parent, os.W_OK):
        raise UserError(f"-o {name}: cannot write to {to.parent}")
    return to


def _checked_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--figures {name}: is not a folder")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"--figures {name}: the folder {folder.parent} does not exist")
    return folder


def _named(ledger: Ledger, names: list[str]) -> list[TrialRecord]:
    """The trials with these ids or beginnings of ids, each once."""
    from orchestrator.ledger import listing

    try:
        trials = [listing.find_trial(ledger, name) for name in names]
    except UserError as error:
        raise UserError(f"--trial: {error}") from error
    return list({trial.trial_id: trial for trial in trials}.values())
