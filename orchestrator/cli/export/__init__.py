"""`orch export`: what leaves a sweep.  A file per command."""

from __future__ import annotations

from collections.abc import Callable

import typer

from orchestrator.cli.export import model, submission, table
from orchestrator.cli.global_options import add_commands

#: The commands in the order of the help, each with an example.
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "submission": (
        submission.export_submission,
        "orch export submission arrp-embedded -o handed-in --ensemble seeds",
    ),
    "model": (model.export_model, "orch export model arrp-embedded -o arrp-model"),
    "table": (table.export_table, "orch export table arrp-embedded --of epochs --format parquet"),
}

export_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Take results out of a sweep.",
    short_help="Take results out of a sweep",
)
add_commands(export_app, COMMANDS)
