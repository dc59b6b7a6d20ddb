"""`orch best`: the best configuration of a sweep, and what can be done with it."""

from __future__ import annotations

from orchestrator.cli.terminal import (
    Json,
    Out,
    Sweep,
    print_json,
    print_prose,
    print_table,
    terminal_width,
)


def show_best(name: Sweep, out: Out = "sweeps", as_json: Json = False) -> None:
    """Show the best configuration: its seeds, scores and minutes, and how to use it.

    It has the best mean dev_score over its complete trials. SWEEP@best means its best trial.
    """
    from orchestrator.export.best import best_configuration
    from orchestrator.ledger.listing import find_sweep
    from orchestrator.table_data import Column, Content, TableData

    best = best_configuration(find_sweep(name, out))
    commands = best.commands()
    if as_json:
        print_json({**best.to_dict(), "commands": commands})
        return
    spread = "" if best.sd is None else f" ± {best.sd:.4f}"
    count = f"{len(best.seeds)} seed{'s' * (len(best.seeds) > 1)}"
    print_prose(
        [
            best.configuration,
            f"dev_score {best.dev_score:.4f}{spread} over {count}; "
            + ", ".join(f"{task} {value:.4f}" for task, value in best.tasks.items()),
        ]
    )
    numbers = [
        Column(heading, Content.NUMBER, rank)
        for rank, heading in enumerate(("seed", "dev_score", "min/epoch"))
    ]
    stage = Column("stage", Content.LABEL, 3)
    table = TableData([Column("trial"), stage, *numbers])
    for each in best.seeds:
        minutes = "-" if each.minutes_per_epoch is None else f"{each.minutes_per_epoch:.3f}"
        table.add(each.trial_id, each.stage, str(each.seed), f"{each.dev_score:.4f}", minutes)
    print_table(table, ways=("--json",))
    print()
    width = terminal_width()
    for what, command in commands.items():
        line = f"{what + ':':<13}{command}"
        # A command is not broken, so that it can be copied; a long one gets a line of its own.
        print(line if width is None or len(line) <= width else f"{what}:\n  {command}")
