"""The options of a comparison, declared once for every command that compares."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from orchestrator.compare.options import ComparisonOptions
from orchestrator.errors import UserError


def comparison_options(
    *,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", metavar="METHOD", help="Compare with this one (annealed+pcgrad)."
        ),
    ] = ComparisonOptions.baseline,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            metavar="METHOD[,METHOD]",
            help="Compare these alone (or all that begin so) with the baseline.",
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
            help="What makes a method, instead of sampler, combiner and frozen set.",
        ),
    ] = "",
    margin: Annotated[
        float,
        typer.Option(
            "--margin", metavar="X", help="A difference that does not matter, of the metric."
        ),
    ] = ComparisonOptions.margin,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of halves and resampling.")
    ] = ComparisonOptions.seed,
) -> ComparisonOptions:
    """The options, checked as far as no trial is needed."""
    if not 0 < margin < 1:
        raise UserError(f"--margin {margin:g}: must lie between 0 and 1")
    return ComparisonOptions(
        metric=metric, by=_listed(by), baseline=baseline, methods=_listed(methods), margin=margin,
        seed=seed,
    )  # fmt: skip


def takes_comparison_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `comparison_options` in the place of its parameter `question`."""
    options = inspect.signature(comparison_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in options}
        command(**given, question=comparison_options(**chosen))

    shown: list[inspect.Parameter] = []
    for name, parameter in own.items():
        shown += options.values() if name == "question" else [parameter]
    with_options.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return with_options


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
