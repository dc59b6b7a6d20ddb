"""What every command shares: its arguments, the user's mistakes, printing."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console

File = Annotated[str, typer.Argument(metavar="FILE", help="The sweep file.")]
Sweep = Annotated[str, typer.Argument(metavar="NAME", help="A sweep's name, or its folder.")]
Profile = Annotated[
    str | None, typer.Option("--profile", metavar="P", help="Lay this profile over the file.")
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
Baseline = Annotated[
    str,
    typer.Option("--baseline", metavar="METHOD", help="Compare with this one (annealed+pcgrad)."),
]
Metric = Annotated[
    str, typer.Option("--metric", metavar="M", help="dev_score, dev_mean or a task's name.")
]
Methods = Annotated[
    str,
    typer.Option(
        "--methods",
        metavar="METHOD[,METHOD]",
        help="Compare these alone (or all that begin so) with the baseline.",
    ),
]
By = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="KEY[,KEY]",
        help="What makes a method, instead of sampler, combiner and frozen set.",
    ),
]
Margin = Annotated[
    float,
    typer.Option("--margin", metavar="X", help="A difference that does not matter, of the metric."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of halves and resampling.")]
Insecure = Annotated[
    bool,
    typer.Option("--insecure", help="Join a cluster that asks for no token: it runs any code."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def console(*, stderr: bool = False) -> Console:
    """A console as wide as the terminal; wide enough for every table where there is none."""
    made = Console(stderr=stderr)
    return made if made.is_terminal else Console(stderr=stderr, width=200)
