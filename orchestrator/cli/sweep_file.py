"""`orch validate` and `orch schema`: check sweep files before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from orchestrator.cli.terminal import File, Json, Overrides, Profile, print_json

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec


def validate(
    file: File, profile: Profile = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Check a sweep file and, without --profile, each of its profiles; report every mistake."""
    from orchestrator.spec import dry_run, load_spec, profile_names
    from trainer.config import ConfigError

    chosen = [profile] if profile else [None, *profile_names(file)]
    valid: list[SweepSpec] = []
    problems = []
    for name in chosen:
        try:
            valid.append(load_spec(file, name, overrides or ()))
        except ConfigError as error:
            problems += [p for p in error.problems if p not in problems]
    if as_json:
        print_json({"valid": not problems, "problems": [vars(problem) for problem in problems]})
        raise typer.Exit(2 if problems else 0)
    if problems:
        raise ConfigError(problems)
    for spec in valid:
        print(f"{file}: valid: {spec.name}: {dry_run.size(spec)}")


def schema() -> None:
    """Print the JSON Schema of the sweep file, for editor completion."""
    from orchestrator.spec.json_schema import sweep_schema

    print_json(sweep_schema())
