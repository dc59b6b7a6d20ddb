"""The options of a comparison, declared once for every command that compares."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from orchestrator.compare.options import ComparisonOptions


def comparison_options(
    *,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", metavar="METHOD", help="Compare with this method (annealed+pcgrad)."
        ),
    ] = ComparisonOptions.baseline,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            metavar="METHOD[,METHOD]",
            help="Compare only these methods, or those that begin so, with the baseline.",
        ),
    ] = "",
    metric: Annotated[
        str, typer.Option("--metric", metavar="M", help="dev_score, dev_mean or a task's name.")
    ] = ComparisonOptions.metric,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="KEY[,KEY]",
            help="Group trials by these keys, instead of sampler, combiner and frozen set.",
        ),
    ] = "",
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            metavar="X",
            help="Differences up to this do not matter in the tables (the answer has its own).",
        ),
    ] = ComparisonOptions.margin,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed for halving and resampling.")
    ] = ComparisonOptions.seed,
) -> ComparisonOptions:
    """Check the options as far as possible without trials."""
    return ComparisonOptions(metric, _listed(by), baseline, _listed(methods), margin, seed)


def takes_comparison_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `options` by the parameters of `comparison_options`."""
    declared = inspect.signature(comparison_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        chosen = {name: arguments.pop(name) for name in declared}
        command(**arguments, options=comparison_options(**chosen))

    shown: list[inspect.Parameter] = []
    for name, parameter in own.items():
        shown += declared.values() if name == "options" else [parameter]
    with_options.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return with_options


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
