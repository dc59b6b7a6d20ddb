"""What a sweep would do, said before it does it: `--dry-run` and `validate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.spec_models import SweepSpec


def plan(spec: SweepSpec) -> dict[str, Any]:
    """Trials, enqueued configurations with what acts in them, and the searched space."""
    search, seed = spec.search, spec.search.seeds[0]
    entries = []
    for entry in spec.enqueue[: search.num_trials]:
        config = spec.config_for(entry, seed)
        acting = config.canonical()
        del acting["seed"]
        open_keys = [k for k in spec.space if k not in entry and spec.acts(k, entry)]
        entries.append(
            {"params": entry, "acts": acting, "inactive": config.inactive(), "proposed": open_keys}
        )
    proposed = search.num_trials - len(entries) if search.algorithm != "list" else 0
    space = {
        key: {
            "values": dimension.describe(),
            "kind": dimension.kind,
            "when": dimension.when,
        }
        for key, dimension in spec.space.items()
    }
    return {
        "name": spec.name,
        "question": spec.question,
        "algorithm": search.algorithm,
        "configurations": search.num_trials,
        "seeds": search.seeds,
        "trials": search.num_trials * len(search.seeds),
        "enqueued": entries,
        "proposed": proposed,
        "space": space,
        "scheduler": spec.scheduler.model_dump(),
        "resources": spec.resources.model_dump(),
        "tracking": spec.tracking.uri,
    }


def size(spec: SweepSpec) -> str:
    """`7 configurations x 2 seeds = 14 trials`."""
    seeds = len(spec.search.seeds)
    return (
        f"{spec.search.num_trials} configurations x {seeds} seed{'s' if seeds > 1 else ''} "
        f"= {spec.search.num_trials * seeds} trials"
    )


def lines(spec: SweepSpec) -> Iterator[str]:
    """`plan` as text."""
    planned = plan(spec)
    yield f"{spec.name}: {size(spec)}, seeds {', '.join(map(str, spec.search.seeds))}"
    if spec.question:
        yield spec.question
    for number, entry in enumerate(planned["enqueued"], 1):
        yield ""
        yield f"configuration {number}: {_pairs(entry['params'])}"
        yield f"  acts: {_pairs(entry['acts'])}"
        for key, reason in entry["inactive"].items():
            yield f"  does not act: {key} ({reason})"
        if entry["proposed"]:
            yield f"  proposed by the search: {', '.join(entry['proposed'])}"
    if planned["proposed"]:
        yield ""
        count = planned["proposed"]
        yield f"{count} further configuration{'s' if count > 1 else ''} proposed by " + (
            f"{planned['algorithm']} (seed {spec.search.seed}) over"
        )
        for key, dimension in spec.space.items():
            conditions = [
                f"{name} is {' or '.join(map(str, values))}"
                for name, values in dimension.when.items()
            ]
            where = f", where {' and '.join(conditions)}" if conditions else ""
            yield f"  {key}: {dimension.describe()}{where}"
    scheduler = spec.scheduler
    yield ""
    if scheduler.name == "none":
        yield "scheduler: none, every trial runs to its last epoch"
    else:
        yield (
            f"scheduler: {scheduler.name} stops weak trials on {scheduler.metric} after "
            f"{scheduler.grace_epochs} epochs, keeping 1 of {scheduler.reduction_factor}"
        )
    resources = spec.resources
    yield (
        f"resources: {resources.cpu:g} cpu and {resources.gpu:g} gpu a trial, "
        f"at most {resources.max_concurrent} at once"
    )
    yield "nothing was started"


def _pairs(mapping: dict[str, Any], prefix: str = "") -> str:
    return ", ".join(_each(mapping, prefix))


def _each(mapping: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _each(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}=[{', '.join(map(str, value))}]"
        else:
            yield f"{prefix}{key}={value}"
