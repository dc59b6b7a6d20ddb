"""The command `orch`: parse, call, print. Every command or group of commands has a file here.

Exit codes: 0 all done, 1 some trials failed, 2 the input is wrong (nothing was started), 3 the time
of `budget.hours` ended before the trials did, 130 interrupted and resumable. Modules that are slow
to import are imported within the commands.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from orchestrator.cli import (
    best,
    compare,
    data,
    diff,
    doctor,
    evaluate,
    export,
    logs,
    pack,
    plan,
    predict,
    report,
    rm,
    submit,
    sweep,
    sweep_file,
    sweeps,
    time,
    ui,
    watch,
)
from orchestrator.cli.global_options import add_commands, before_any_command
from orchestrator.cli.streams import guard_streams
from orchestrator.cli.terminal import complain
from orchestrator.environment import make_our_own
from orchestrator.errors import UserError

#: The commands in the order of the help, each with an example.
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "sweep": (sweep.sweep, "orch sweep search_spaces/arrp.yaml --profile embedded"),
    "validate": (sweep_file.validate, "orch validate search_spaces/arrp.yaml"),
    "plan": (plan.plan_sweep, "orch plan search_spaces/arrp.yaml --margin 0.02"),
    "schema": (sweep_file.schema, "orch schema > search_spaces/schema.json"),
    "ls": (sweeps.list_sweeps, "orch ls --json"),
    "show": (sweeps.show, "orch show arrp-embedded arrp-3f9a1c20b7d4"),
    "watch": (watch.watch_sweep, "orch watch arrp-embedded"),
    "stop": (watch.stop_sweep, "orch stop arrp-embedded"),
    "logs": (logs.show_logs, "orch logs arrp-embedded arrp-3f9a1c20b7d4 -f"),
    "best": (best.show_best, "orch best arrp-embedded --json"),
    "diff": (diff.show_difference, "orch diff arrp-embedded@arrp-3f9a annealed-33b9"),
    "compare": (compare.compare_trials, "orch compare arrp-embedded"),
    "evaluate": (evaluate.evaluate_trials, "orch evaluate arrp-embedded"),
    "predict": (
        predict.predict,
        "orch predict arrp-embedded reviews.csv --task sst -o answers.csv",
    ),
    "report": (report.report_sweep, "orch report arrp-embedded -o report.html"),
    "pack": (pack.pack_sweep, "orch pack arrp-embedded -o arrp.tar.xz"),
    "unpack": (pack.unpack_sweep, "orch unpack arrp.tar.xz"),
    "time": (time.time_trials, "orch time arrp-embedded --baseline annealed+pcgrad --rounds 6"),
    "rm": (rm.remove, "orch rm arrp-embedded@arrp-3f9a1c20b7d4"),
    "sync": (sweeps.sync, "orch sync arrp-embedded"),
    "ui": (ui.show_pages, "orch ui arrp-embedded --port 5001"),
    "doctor": (doctor.examine_machine, "orch doctor search_spaces/arrp.yaml --profile embedded"),
    "submit": (
        submit.submit_sweep,
        "orch submit search_spaces/arrp.yaml --address http://head:8265 --out /shared",
    ),
}

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(before_any_command)
add_commands(app, COMMANDS)
app.add_typer(data.data_app, name="data")
app.add_typer(export.export_app, name="export")


def run() -> NoReturn:
    """`main`, and an end without the seconds in which Python frees what torch and Ray loaded.

    In those seconds nobody could answer a signal any more.
    """
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def main() -> NoReturn:
    """Run the command. For an error that the user can correct, print only its message."""
    from trainer.config import ConfigError
    from trainer.storage.folder import StoreError

    guard_streams()
    make_our_own()
    try:
        try:
            app(prog_name="orch")
        finally:
            sys.stdout.flush()  # what fails here is reported below; at exit it would be too late
    except UserError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except (ConfigError, StoreError) as error:
        complain(str(error))
        sys.exit(2)
    except RuntimeError as error:
        if "home directory" not in str(error):  # Python's, for a path with ~
            raise
        complain(
            "a path begins with ~, and there is no such home folder: set HOME, or name folders "
            "without ~ (ORCH_CACHE, --out, data.root)"
        )
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        sys.exit(2)
    sys.exit(0)
