"""`orch report`: the comparison, its figures and single trials' errors as one HTML file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.comparison_options import takes_question
from orchestrator.cli.terminal import Json, Out, Patience, Sweep, print_json
from orchestrator.compare.options import Question
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord

#: Stands near the beginning of every report.
_MARK = b'<meta name="generator" content="orch report">'


@takes_question
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
            help="Draw this trial's predictions (the best method's median); repeatable.",
        ),
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write every figure there too, as SVG and PNG."),
    ] = None,
    *,
    question: Question,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Write a sweep's report: one HTML file that needs nothing else.

    The answer, tables, frontier, learning curves, reasons, single trials' errors, environment and
    commands.  docs/guide/report.md explains every part.
    """
    from orchestrator.ledger.listing import find_sweep

    ledger = find_sweep(name, out)
    to = _checked_output(output or f"{ledger.name}.html")
    folder = _checked_folder(figures) if figures is not None else None
    shown = _named(ledger, trials or [])
    from orchestrator import report
    from orchestrator.compare.compare_sweep import compare_sweep, trials_of
    from trainer.storage.folder import in_words

    with Patience("reading trials") as tell:
        chosen = trials_of(ledger)
        for trial, reason in chosen.unreadable.items():
            print(f"{trial} cannot be read: {reason}", file=sys.stderr)
        compared = compare_sweep(ledger, chosen, question, tell)
        made = report.make(ledger, question, shown, tell, compared=compared)
        size = report.write_report(made, to)
        if folder is not None:
            tell(f"writing {2 * len(made.figures)} files to {folder}")
            report.write_figures(made, folder)
    if as_json:
        told = {"path": str(to), "bytes": size, "figures": list(made.figures)}
        print_json(told | {"trials": made.trials, "answer": made.answer})
        return
    print(made.answer)
    print(f"{to}: {in_words(size)}, {len(made.figures)} figures")
    if folder is not None:
        print(f"{folder}: every figure as SVG and PNG")


def _checked_output(name: str) -> Path:
    """Where the report may be written: into a folder that is there, over a report at most."""
    to = Path(name).expanduser()
    if to.is_dir():
        raise UserError(f"-o {name}: is a folder; name a file in it")
    if not to.parent.is_dir():
        raise UserError(f"-o {name}: the folder {to.parent} is not there")
    if to.exists():
        if not to.is_file():
            raise UserError(f"-o {name}: is no plain file")
        with to.open("rb") as stream:
            beginning = stream.read(1024)
        if beginning and _MARK not in beginning:
            raise UserError(f"-o {name}: is there and no report; name another file")
    if not os.access(to.parent, os.W_OK):
        raise UserError(f"-o {name}: nothing can be written to {to.parent}")
    return to


def _checked_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--figures {name}: is not a folder")
    if not folder.absolute().parent.is_dir():
        raise UserError(f"--figures {name}: the folder {folder.parent} is not there")
    return folder


def _named(ledger: Ledger, names: list[str]) -> list[TrialRecord]:
    """The trials that the ids or their beginnings name, each once."""
    from orchestrator.ledger import listing

    try:
        found = [listing.find_trial(ledger, name) for name in names]
    except UserError as error:
        raise UserError(f"--trial: {error}") from error
    return list({trial.trial_id: trial for trial in found}.values())
