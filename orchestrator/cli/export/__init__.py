"""`orch export`: what leaves a sweep.  A file per command."""

from __future__ import annotations

from collections.abc import Callable

import typer

from orchestrator.cli.export import submission

#: The commands in the order of the help, each with an example.
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "submission": (
        submission.export_submission,
        "orch export submission arrp-embedded -o handed-in --ensemble seeds",
    ),
}

export_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Take results out of a sweep."
)
for _name, (_command, _example) in COMMANDS.items():
    export_app.command(_name, epilog=f"Example: {_example}")(_command)
