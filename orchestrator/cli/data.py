"""`orch data`: fetch, prepare and inspect the sentences."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.global_options import add_commands
from orchestrator.cli.streams import outlive_readers
from orchestrator.cli.terminal import (
    File,
    Json,
    Overrides,
    Profile,
    Wide,
    print_json,
    print_prose,
    print_table,
    progress_console,
)
from orchestrator.errors import UserError, unknown_name

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.data.leakage import Repeated


def stats(
    file: File,
    profile: Profile = None,
    overrides: Overrides = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Show rows, malformed rows by reason, labels and lengths of the data that a sweep reads."""
    from orchestrator.cli.tables import stats_table
    from orchestrator.spec import load_spec
    from trainer.config import ConfigError
    from trainer.data import corpus, left_out
    from trainer.data.sources import fingerprint
    from trainer.model.pretrained import EncoderError

    spec = load_spec(file, profile, overrides or ())
    try:
        config = spec.config_for({}, spec.search.seeds[0])
        fingerprint(config)  # reports missing files before it looks for an encoder
        numbers: dict[str, Any] = corpus.stats(config)
        twice = _standing_twice(config)
    except (ConfigError, corpus.DataError, EncoderError) as error:
        raise UserError(str(error)) from error
    for each in twice:
        numbers[each.task][each.split]["repeated"] = dataclasses.asdict(each)
    if as_json:
        print_json(numbers)
        return
    print_table(stats_table(numbers), wide=wide)
    lines = [*left_out.lines(left_out.of_rows(numbers)), *(e.line() for e in twice if e.any)]
    print_prose(lines)


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

    outlive_readers()
    unknown = [name for name in only or [] if name not in fetching.BLOBS]
    if unknown:
        raise unknown_name(f"unknown file {unknown[0]!r}", unknown[0], fetching.BLOBS)
    terminal = progress_console(stderr=True)
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


def prepare(
    source: Annotated[str, typer.Argument(metavar="DIR", help="A folder with the course's files.")],
    to: Annotated[str, typer.Option(metavar="DIR", help="The folder for the files.")] = "data",
    named: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="NAME=FILE",
            help="A file under another name, as sst-train=my.csv; repeatable.",
        ),
    ] = None,
    yelp: Annotated[
        str, typer.Option(metavar="FILE", help="Yelp's review file, for the auxiliary task.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Copy files that you already have, after checking each; also tells rows that stand twice."""
    from orchestrator import download as fetching
    from trainer.data.readers import DataError

    outlive_readers()
    try:
        taken = fetching.prepare(Path(source), Path(to), _pairs(named or []))
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
        if file.repeated and file.repeated.any:
            print(f"  {file.repeated.line()}")


def _standing_twice(config: TrainConfig) -> list[Repeated]:
    """What stands twice in the files of a config; generated sentences repeat by design."""
    from trainer.data.corpus import first_look
    from trainer.data.leakage import repeated_in_task

    splits: dict[str, Any] = {}
    for task, split, read, _ in first_look(config):
        if not config.generates(task.name):
            splits.setdefault(task.name, {})[split] = read.ids, read.texts
    return [each for task, parts in splits.items() for each in repeated_in_task(task, parts)]


def _pairs(named: Iterable[str]) -> dict[str, Path]:
    """`NAME=FILE`, ... as name -> file."""
    pairs: dict[str, Path] = {}
    for text in named:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise UserError(f"--map {text}: write NAME=FILE, as sst-train=my.csv")
        if name in pairs:
            raise UserError(f"--map {text}: {name} is named twice")
        pairs[name] = Path(file).expanduser()
    return pairs


def _download_line(name: str, done: int, size: int | None) -> str:
    """`quora-train.csv 3.2 of 19.0 MB`."""
    total = f" of {size / 1e6:.1f}" if size else ""
    return f"{name} {done / 1e6:.1f}{total} MB"


#: The commands in the order of the help, each with an example.
COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "stats": (stats, "orch data stats search_spaces/arrp.yaml --profile embedded"),
    "fetch": (fetch, "orch data fetch --to data"),
    "prepare": (prepare, "orch data prepare ~/minbert/data --to data"),
}

data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Get the data and inspect them.",
    short_help="Get the data and inspect them",
)
add_commands(data_app, COMMANDS)
