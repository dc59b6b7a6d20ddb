"""`orch data`: fetch, prepare and inspect the sentences."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.terminal import File, Json, Overrides, Profile, console, print_json
from orchestrator.errors import UserError

data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Get the data and inspect them."
)


@data_app.command(epilog="Example: orch data stats search_spaces/arrp.yaml --profile embedded")
def stats(
    file: File, profile: Profile = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Show rows, malformed rows by reason, labels and lengths of the data that a sweep reads."""
    from orchestrator.cli.tables import stats_table
    from orchestrator.spec import load_spec
    from trainer.config import ConfigError
    from trainer.data import corpus
    from trainer.model.pretrained import EncoderError

    spec = load_spec(file, profile, overrides or ())
    try:
        config = spec.config_for({}, spec.search.seeds[0])
        corpus.fingerprint(config)  # reports missing files before it looks for an encoder
        numbers = corpus.stats(config)
    except (ConfigError, corpus.DataError, EncoderError) as error:
        raise UserError(str(error)) from error
    if as_json:
        print_json(numbers)
    else:
        console().print(stats_table(numbers))


@data_app.command(epilog="Example: orch data fetch --to data")
def fetch(
    to: Annotated[str, typer.Option(metavar="DIR", help="The folder for the files.")] = "data",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="FILE", help="Only this file; repeatable.")
    ] = None,
    base: Annotated[str, typer.Option(help="The address of a mirror.")] = "",
    as_json: Json = False,
) -> None:
    """Download the course's files and verify each one. Run it again if a download breaks off."""
    from orchestrator import download as fetching

    unknown = [name for name in only or [] if name not in fetching.BLOBS]
    if unknown:
        raise UserError(f"unknown file {unknown[0]!r}; allowed: {', '.join(fetching.BLOBS)}")
    terminal = console(stderr=True)
    try:
        with terminal.status("") as status:
            outcome = fetching.fetch(
                Path(to),
                only or list(fetching.BLOBS),
                base=base or fetching.BASE,
                report=lambda name, done, size: status.update(_download_line(name, done, size)),
            )
    except OSError as error:
        raise UserError(f"{to}: {error.strerror}") from error
    if as_json:
        print_json(outcome)
        return
    for name, how in outcome.items():
        print(f"{how}  {os.path.join(to, name)}")
    print(fetching.TERMS)


@data_app.command(epilog="Example: orch data prepare ~/minbert/data --to data")
def prepare(
    source: Annotated[str, typer.Argument(metavar="DIR", help="A folder with the course's files.")],
    to: Annotated[str, typer.Option(metavar="DIR", help="The folder for the files.")] = "data",
    yelp: Annotated[
        str, typer.Option(metavar="FILE", help="Yelp's review file, for the auxiliary task.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Copy files that you already have, after reading and checking each one."""
    from orchestrator import download as fetching
    from trainer.data.readers import DataError

    try:
        taken = fetching.prepare(Path(source), Path(to))
        if yelp:
            taken.append(fetching.prepare_yelp(Path(yelp), Path(to)))
    except DataError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"{to}: {error.strerror}") from error
    if as_json:
        print_json([dataclasses.asdict(file) for file in taken])
        return
    kinds = {True: "the published file", False: "not the published file", None: ""}
    for file in taken:
        left_out = ", ".join(f"{n} left out: {why}" for why, n in file.dropped.items())
        notes = "; ".join(filter(None, (kinds[file.published], left_out)))
        print(f"{file.file}: {file.rows:,} rows" + (f" ({notes})" if notes else ""))


def _download_line(name: str, done: int, size: int | None) -> str:
    """`quora-train.csv 3.2 of 19.0 MB`."""
    total = f" of {size / 1e6:.1f}" if size else ""
    return f"{name} {done / 1e6:.1f}{total} MB"
