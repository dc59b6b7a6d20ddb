"""Sweep file -> `SweepSpec`.  One error reports all mistakes.

`load_spec` lays a profile and `--set` values over the file.  Pydantic checks the structure, and the
trainer's rules check everything that becomes a trial's config.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from orchestrator.spec.layers import read_layers
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.published import by_position
from orchestrator.spec.published_checks import check_rows_are_trained
from orchestrator.spec.structure import report_pydantic
from orchestrator.spec.validation import check_draft
from orchestrator.spec.yaml_lines import MAX_VALUES
from trainer.config import ConfigError, Problem
from trainer.config.formats import FIRST_FORMAT

#: Keys and values of all points of a grid: sweep.yaml, which lists them, can be read again.
MAX_GRID = MAX_VALUES - 10_000


def load_spec(path: str, profile: str | None = None, overrides: Iterable[str] = ()) -> SweepSpec:
    """Read, check and resolve a sweep file; raises `ConfigError` with every mistake.

    Args:
        profile: an entry of the file's `profiles`.
        overrides: `key=value` texts with dotted keys and YAML values; they come last.
    """
    path = str(path)
    draft = read_layers(path, profile, list(overrides))
    if draft.value.get("format") == FIRST_FORMAT:
        draft.value = by_position(draft.value)
    spec: SweepSpec | None = None
    try:
        spec = SweepSpec.model_validate(draft.value)
    except ValidationError as error:
        report_pydantic(draft, error)
    check_draft(draft, spec)
    if spec is not None and not draft.problems:
        spec = _expand(spec)
        check_rows_are_trained(draft, spec)
    if spec is None or draft.problems:
        raise draft.error()
    return spec


def _expand(spec: SweepSpec) -> SweepSpec:
    """`grid` becomes a list of its points; a list has no space, and a trial for each entry."""
    search, entries, space = spec.search, spec.enqueue, spec.space
    if search.algorithm == "grid":
        entries = _distinct(spec, itertools.chain(entries, _grid(spec, list(space), {})))
    elif search.algorithm != "list":
        return spec
    count = len(entries) if "num_trials" not in search.model_fields_set else search.num_trials
    search = search.model_copy(update={"algorithm": "list", "num_trials": min(count, len(entries))})
    return spec.model_copy(update={"search": search, "enqueue": entries, "space": {}})


def _grid(spec: SweepSpec, keys: Sequence[str], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination, the first dimension slowest, without dimensions that do not act."""
    if not keys:
        yield params
        return
    key, *rest = keys
    if not spec.acts(key, params):
        yield from _grid(spec, rest, params)
        return
    for value in spec.space[key].points() or []:
        yield from _grid(spec, rest, {**params, key: value})


def _distinct(spec: SweepSpec, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = {}
    values = 0  # in the list that sweep.yaml will have
    for entry in entries:
        values += 2 * len(entry) + 1
        if values > MAX_GRID:
            message = f"the grid has more than {MAX_GRID:,} keys and values in all"
            raise ConfigError([Problem("space", message)])
        try:
            config = spec.config_for(entry, spec.search.seeds[0])
        except ConfigError as error:
            message = f"the grid's point {entry} is not a valid config: {error.problems[0]}"
            raise ConfigError([Problem("space", message)]) from error
        kept.setdefault(repr(config.canonical()), entry)
    return list(kept.values())
