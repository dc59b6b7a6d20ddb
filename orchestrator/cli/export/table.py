"""`orch export table`: trials or epochs of a sweep as one tidy table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.terminal import Json, Out, Patience, Sweep, print_json
from orchestrator.errors import UserError, unknown_name
from trainer.printable import printable

if TYPE_CHECKING:
    import pyarrow as pa

#: What stands for the standard output.
_PRINTED = "-"


def export_table(
    name: Sweep,
    form: Annotated[
        str,
        typer.Option("--format", metavar="csv|parquet", help="By the ending of -o, else csv."),
    ] = "",
    of: Annotated[
        str, typer.Option("--of", metavar="trials|epochs|predictions", help="What a row is.")
    ] = "trials",
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The file (NAME-trials.csv); - prints it."
        ),
    ] = "",
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Write a sweep as one tidy table, for pandas, R or a spreadsheet.

    A row is a trial with its parameters and metrics, an epoch of a trial with its metrics, or what
    a trial predicts for a dev example.
    """
    from orchestrator.export.tables import TABLES
    from orchestrator.ledger.listing import find_sweep
    from trainer.storage.local_folder import write_whole

    ending = Path(output).suffix.removeprefix(".")
    form = form or (ending if ending in FORMATS else "csv")
    if form not in FORMATS:
        raise unknown_name(f"--format {form}: no such format", form, FORMATS)
    if of not in TABLES:
        raise unknown_name(f"--of {of}: no such table", of, TABLES)
    ledger = find_sweep(name, out)
    to = Path(output or f"{ledger.name}-{of}.{form}").expanduser()
    if output != _PRINTED and (to.is_dir() or not to.parent.is_dir()):
        raise UserError(f"-o {to}: {'is a folder' if to.is_dir() else 'its folder does not exist'}")
    with Patience("reading trials"):
        table = TABLES[of](ledger)
    if not table.num_rows:
        raise UserError(f"{ledger.name}: has no {of} that can be read")
    content = FORMATS[form](table)
    if output == _PRINTED:
        if sys.stdout.isatty():
            print(content.decode(errors="replace"), end="")
        else:
            sys.stdout.buffer.write(content)
        return
    write_whole(to, content)
    if as_json:
        columns = {field.name: str(field.type) for field in table.schema}
        print_json({"path": str(to), "rows": table.num_rows, "columns": columns})
    else:
        print(f"{to}: {table.num_rows:,} {of}, {table.num_columns} columns")


def _csv(table: pa.Table) -> bytes:
    import pyarrow as pa
    from pyarrow import csv

    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    return printable(sink.getvalue().to_pybytes().decode()).encode()


def _parquet(table: pa.Table) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


FORMATS: dict[str, Callable[[pa.Table], bytes]] = {"csv": _csv, "parquet": _parquet}
