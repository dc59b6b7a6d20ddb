"""`orch diff`: two trials side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import completion
from orchestrator.cli.terminal import Json, Out, Wide, print_json, print_prose, print_table
from orchestrator.errors import UserError, unknown_name

if TYPE_CHECKING:
    from orchestrator.compare.trial_difference import TrialDifference
    from orchestrator.export.chosen_trial import ChosenTrial

#: Trials that an error names.
_LISTED = 12
_Named = Annotated[
    str,
    typer.Argument(
        metavar="TRIAL",
        help="A trial's id, SWEEP@TRIAL, or a sweep, for its best trial.",
        autocompletion=completion.sweeps_and_trials,
    ),
]


def show_difference(
    first: _Named,
    second: _Named,
    out: Out = "sweeps",
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Show in which config keys two trials differ, and their scores and minutes side by side.

    An id alone is looked up in the other trial's sweep, else in all sweeps of the folder.
    """
    from orchestrator.compare.trial_difference import trial_difference

    ends = _find(first, second, out), _find(second, first, out)
    difference = trial_difference(*ends)
    if as_json:
        print_json(difference.to_dict())
        return
    _print(difference, wide)


def _print(difference: TrialDifference, wide: bool) -> None:
    from orchestrator.ledger.labels import label_value
    from orchestrator.table_data import Column, Content, TableData

    names = [each.rpartition("@")[2] for each in (difference.first, difference.second)]
    headings = names if names[0] != names[1] else [difference.first, difference.second]
    if difference.config:
        table = TableData([Column("config key"), *map(Column, headings), Column("acts in", rank=1)])
        for key in difference.config:
            values = (label_value(value) for value in (key.first, key.second))
            table.add(key.key, *values, key.acts)
        print_table(table, wide=wide)
        print()
    numbers = [Column(name, Content.NUMBER) for name in headings]
    table = TableData([Column("number"), *numbers, Column("difference", Content.NUMBER)])
    for each in difference.numbers:
        gap = "-" if each.difference is None else _shown(each.difference, "+")
        table.add(each.name, *(_shown(v) for v in (each.first, each.second)), gap)
    print_table(table, wide=wide)
    notes = [] if difference.config else ["The configs are equal."]
    notes += [f"The scores do not compare: {problem}." for problem in difference.problems]
    print_prose(
        [*notes, "This is one trial against one. orch compare says what is more than chance."]
    )


def _find(name: str, other: str, out: str) -> ChosenTrial:
    """The trial that a user names beside another one."""
    from orchestrator.export.chosen_trial import choose_trial, trial_of
    from orchestrator.ledger.listing import find_sweep, sweep_names

    if "@" in name:
        return choose_trial(name, out)
    names = sweep_names(out)
    if "@" in other:
        names = [other.rpartition("@")[0]]
    holders = [
        ledger
        for ledger in (find_sweep(each, out) for each in names)
        if any(trial_id.startswith(name) for trial_id in ledger.trial_ids())
    ]
    if len(holders) == 1:
        return trial_of(holders[0], name)
    if holders:
        known = ", ".join(f"{ledger.name}@{name}" for ledger in holders)
        raise UserError(f"{name}: in {len(holders)} sweeps; name one: {known}")
    if not _is_sweep(name, out):
        ids = [trial for each in names for trial in find_sweep(each, out).trial_ids()]
        said = f"no trial and no sweep {name!r} in {', '.join(names) or out}"
        raise unknown_name(said, name, [*ids, *names], known="known", most=_LISTED)
    return choose_trial(name, out)


def _is_sweep(name: str, out: str) -> bool:
    from orchestrator.ledger.listing import find_sweep

    try:
        return bool(find_sweep(name, out))
    except UserError:
        return False


def _shown(value: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    sign = sign if value else ""
    return f"{value:{sign},.0f}" if float(value).is_integer() else f"{value:{sign}.4f}"
