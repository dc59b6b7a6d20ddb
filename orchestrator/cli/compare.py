"""`orch compare`: which way of training is better, by how much, and how certain that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.comparison_options import takes_comparison_options
from orchestrator.cli.terminal import (
    VOICE,
    Json,
    Out,
    Patience,
    Sweep,
    Wide,
    complain,
    print_json,
    print_prose,
    print_table,
    prose_width,
)
from orchestrator.compare.options import ComparisonOptions
from orchestrator.errors import unknown_name
from trainer.storage.summary import BEST, LAST

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.compare.configurations import Comparison
    from orchestrator.decision.answer.answer import Answer
    from orchestrator.ledger import Ledger, TrialRecord

#: How to see the columns that do not fit.
_WAYS = ("--wide", "--format csv")
FORMATS = ("table", "json", "csv", "md", "latex")


@takes_comparison_options
def compare_trials(
    name: Sweep,
    *,
    options: ComparisonOptions,
    layout: Annotated[
        str, typer.Option("--format", metavar="F", help="table, json, csv, md or latex.")
    ] = "table",
    out: Out = "sweeps",
    published: Annotated[
        bool, typer.Option("--published", help="Show our figures beside the paper's.")
    ] = False,
    why: Annotated[
        bool, typer.Option("--why", help="Add conflicts, single tasks, utilisation, importances.")
    ] = False,
    score: Annotated[
        str,
        typer.Option(
            "--score", metavar="E", help="last or best: the epoch whose scores are compared."
        ),
    ] = "",
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Compare methods on the dev set. The answer to the sweep's question comes first.

    Each method's configuration is chosen without the examples that score it. Intervals come from
    a bootstrap over dev examples and seeds. docs/reference/comparison.md explains every number.
    """
    layout = "json" if as_json else layout
    if layout not in FORMATS:
        raise unknown_name(f"--format {layout}: no such format", layout, FORMATS)
    if score not in ("", LAST, BEST):
        raise unknown_name(f"--score {score}: no such epoch", score, (LAST, BEST))
    from orchestrator.compare.compare_sweep import compare_sweep, trials_of
    from orchestrator.compare.configurations import compare
    from orchestrator.decision.answer.answers import answer_of
    from orchestrator.ledger.listing import find_sweep

    ledger = find_sweep(name, out)
    with Patience("reading trials") as tell:
        chosen = trials_of(ledger, score)
        for trial, reason in chosen.unreadable.items():
            complain(f"{trial} cannot be read: {reason}")
        if published:
            print_published(
                ledger, chosen.trials, compare(chosen.trials), layout == "json", wide=wide
            )
            return
        compared = compare_sweep(ledger, chosen, options, tell)
        answer = answer_of(ledger, compared)
    print_comparison(compared, answer, layout, why=why, wide=wide)


def print_comparison(
    compared: SweepComparison,
    answer: Answer,
    layout: str = "table",
    *,
    why: bool = False,
    wide: bool = False,
) -> None:
    """The answer, the tables and the notes in one of `FORMATS`."""
    from orchestrator.compare.output import formats, tables
    from orchestrator.decision.answer.block import block, in_json, markdown

    comparison, other = compared.methods, compared.chosen.other_epoch
    if layout == "json":
        parts = comparison.to_dict() if comparison else {}
        first = {"other_epoch": other} if other else in_json(answer)
        print_json({**first, **compared.rows.to_dict(), **parts})
    elif comparison is None or layout == "table":
        if other:
            print_prose([other])
        else:
            print(block(answer, prose_width()), flush=True)
        if VOICE.quiet:
            return
        print()
        if compared.stage_note:
            print_prose([compared.stage_note, ""])
        for table in tables.all_tables(comparison, why) if comparison else ():
            print_table(table, wide=wide, ways=_WAYS)
            print()
        print_configurations(compared.rows, wide=wide, ways=_WAYS)
        print_prose(compared.notes)
    elif layout == "csv":
        print(formats.comma_separated(comparison), end="", flush=True)
    else:
        write, head = {
            "md": (formats.markdown, other or markdown(answer)),
            "latex": (formats.latex, other or block(answer)),
        }[layout]
        print(write(head, comparison, why), end="", flush=True)


def print_configurations(
    comparison: Comparison, *, wide: bool = False, ways: Sequence[str] = ("--wide",)
) -> None:
    """Every configuration, from the records alone."""
    from orchestrator.compare.output import configuration_table

    if comparison.rows:
        table = configuration_table.configurations_table(comparison)
        print_table(table, wide=wide, ways=ways)
    print_prose(configuration_table.footnotes(comparison))


def print_published(
    ledger: Ledger,
    trials: Sequence[TrialRecord],
    comparison: Comparison,
    as_json: bool,
    *,
    wide: bool = False,
    ways: Sequence[str] = ("--wide",),
) -> None:
    """A paper's figures beside ours."""
    from orchestrator.compare.output.published_table import published_notes, published_table
    from orchestrator.compare.published import side_by_side

    beside = side_by_side(ledger, trials, comparison)
    if as_json:
        rows = [pair.to_dict() for pair in beside.pairs]
        print_json({"source": beside.source, "note": beside.note, "rows": rows})
        return
    print_prose([f"{beside.source}; below each row ours, means ± standard deviations over seeds"])
    print_table(published_table(beside.pairs), wide=wide, ways=ways)
    print_prose(published_notes(beside))
