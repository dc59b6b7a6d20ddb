"""A pilot: a few trials of a sweep that measure how much chance is in its question."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import UserError
from orchestrator.spec import SweepSpec
from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.decide_checks import possible_methods
from orchestrator.spec.models import SchedulerSpec, SearchSpec

#: The fewest seeds from which a variance is worth anything.
SEEDS = 3


def pilot_name(spec: SweepSpec) -> str:
    """The name of the pilot's own sweep."""
    return f"{spec.name}-pilot"


def pilot_of(spec: SweepSpec, decide: DecideSpec) -> SweepSpec:
    """The sweep with one configuration of each compared method, and three seeds.

    Raises `UserError` if it has no configuration of a method.
    """
    entries = [_first(spec, decide, name) for name in decide.compare]
    seeds = list(range(1, SEEDS + 1))
    search = SearchSpec(algorithm="list", num_trials=len(entries), seeds=seeds)
    changed: dict[str, Any] = {
        "name": pilot_name(spec), "search": search, "enqueue": entries, "space": {},
        "scheduler": SchedulerSpec(), "published": None, "decide": None,
    }  # fmt: skip
    return spec.model_copy(update=changed)


def _first(spec: SweepSpec, decide: DecideSpec, name: str) -> dict[str, Any]:
    """The params of a method's first configuration: chosen, listed, or the first of the space."""
    if isinstance(decide.choose, dict) and name in decide.choose:
        return decide.choose[name]
    by_method: dict[str, dict[str, Any]] = {}
    for start in [*spec.enqueue, *_starts(spec)]:
        search = SearchSpec(algorithm="list")
        only = spec.model_copy(update={"enqueue": [start], "space": {}, "search": search})
        for method in possible_methods(only):
            by_method.setdefault(method, start)
    # A whole name means that method alone, also where others begin so.
    for method in (name, *by_method):
        if method in by_method and method.startswith(name):
            return by_method[method]
    raise UserError(f"{name}: the sweep has no configuration for a pilot; add one to enqueue")


def _starts(spec: SweepSpec) -> list[dict[str, Any]]:
    """A configuration of the space for each choice of its categorical dimensions, in turn."""
    starts: list[dict[str, Any]] = [{}]
    for key, dimension in spec.space.items():
        extended = []
        for params in starts:
            if not spec.acts(key, params):
                extended.append(params)
                continue
            values = dimension.choices if dimension.choices is not None else [dimension.low]
            values = values if key in ("sampler", "combiner", "freeze") else values[:1]
            extended += [{**params, key: value} for value in values]
        starts = extended
    return starts if spec.search.algorithm != "list" else []
