"""Checks that pydantic cannot do: whether the trainer accepts every trial of a sweep."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from orchestrator.spec.decide_checks import check_decide
from orchestrator.spec.dimension import Dimension, with_kind
from orchestrator.spec.layers import Draft
from orchestrator.spec.models import SweepSpec, nest, searchable
from orchestrator.spec.published_checks import check_published
from orchestrator.spec.yaml_lines import Path
from trainer import config as trainer_config
from trainer.config import Problem, did_you_mean

_WITHOUT_GP = "search.algorithm tpe or nsga2, or search.per: the dimension that it depends on"


def check_draft(draft: Draft, spec: SweepSpec | None) -> None:
    """Report everything in base, space and enqueue that breaks the trainer's rules.

    It also works if the structure is wrong elsewhere (`spec` is None), so that one run shows all
    mistakes.
    """
    value = draft.value
    base = value.get("base", {})
    base = base if isinstance(base, dict) else {}
    _, base_problems = trainer_config.check(base)
    for problem in base_problems:
        draft.report(("base", *problem.key.split(".")), problem.message, problem.allowed)
    if "seed" in base:
        draft.report(("base", "seed"), "a trial's seed comes from search.seeds")
    space = value.get("space", {})
    space = space if isinstance(space, dict) else {}
    dimensions = {
        str(key): dimension
        for key, raw in space.items()
        if (dimension := _dimension(str(key), raw)) is not None
    }
    sketch = SweepSpec.model_construct(
        name="draft", base=base if not base_problems else {}, space=dimensions
    )
    for key in space:
        if _check_key(draft, str(key)):
            _check_conditions(draft, list(map(str, space)), str(key), space[key], sketch)
            if str(key) in dimensions:
                _check_values(draft, str(key), dimensions[str(key)], sketch)
    _check_entries(draft, sketch)
    if spec is not None:
        _check_search(draft, spec)
        check_decide(draft, spec)
        check_published(draft, spec)


def _dimension(key: str, raw: Any) -> Dimension | None:
    try:
        return Dimension.model_validate(with_kind(key, raw))
    except ValidationError:
        return None  # pydantic reports it


def _check_key(draft: Draft, key: str) -> bool:
    """A dimension must name one searchable key of a trial's config."""
    path: Path = ("space", key)
    field = trainer_config.field_at(key)
    if field is None:
        known = searchable()
        problem = trainer_config.unknown_key(key, "", known)
        draft.report(path, problem.message, problem.allowed)
    elif key == "seed":
        draft.report(path, "a trial's seed comes from search.seeds")
    elif key == "data":
        draft.report(path, "is a group of keys; name one of them", "data.<key>")
    elif field.metadata.get("runtime"):
        draft.report(path, "describes where a trial runs, not what it is; it belongs in base")
    else:
        return True
    return False


def _check_conditions(draft: Draft, keys: list[str], key: str, raw: Any, sketch: SweepSpec) -> None:
    when = raw.get("when") if isinstance(raw, dict) else None
    if not isinstance(when, dict):
        return
    earlier = keys[: keys.index(key)]
    for name, allowed in when.items():
        path: Path = ("space", key, "when", name)
        values = allowed if isinstance(allowed, list) else [allowed]
        listed = isinstance(allowed, list)
        if name in keys and name not in earlier:
            draft.report(path, "must come before what depends on it", ", ".join(earlier))
        elif name in sketch.space:
            dimension = sketch.space[name]
            for i, value in enumerate(values):
                if not dimension.can_be(value):
                    at = (*path, i) if listed else path
                    draft.report(at, f"{name} is never {value!r}", dimension.describe())
        elif name not in keys and trainer_config.field_at(str(name)) is None:
            known = [*earlier, *searchable()]
            problem = trainer_config.unknown_key(str(name), "", dict.fromkeys(known))
            draft.report(path, problem.message, problem.allowed)
        elif name not in keys:
            for i, value in enumerate(values):
                at = (*path, i) if listed else path
                for problem in _problems_with(sketch, {str(name): value}):
                    draft.report(at, problem.message, problem.allowed)


def _check_values(draft: Draft, key: str, dimension: Dimension, sketch: SweepSpec) -> None:
    """Check every choice, or both ends of a range, in a config where it acts."""
    path: Path = ("space", key)
    if dimension.choices is not None:
        tried = [((*path, "choices", i), choice) for i, choice in enumerate(dimension.choices)]
    else:
        tried = [((*path, end), getattr(dimension, end)) for end in ("low", "high")]
    params = _params_that_enable(key, sketch)
    for place, value in tried:
        whole = _with_enabled(sketch, {**params, key: value})
        for problem in _problems_with(sketch, whole):
            if problem.key in whole and problem.key not in params and problem.key != key:
                continue  # reported at that dimension itself
            message = problem.message
            if problem.key != key:
                message = f"with {key} = {value!r}, {problem.key}: {message}"
            draft.report(place, message, problem.allowed)


def _params_that_enable(key: str, sketch: SweepSpec) -> dict[str, Any]:
    """The first possible value for every condition of `key`, and for those of its conditions."""
    params: dict[str, Any] = {}
    waiting = [key]
    while waiting:
        dimension = sketch.space.get(waiting.pop())
        for name, allowed in (dimension.when if dimension else {}).items():
            parent = sketch.space.get(name)
            possible = [value for value in allowed if parent and parent.can_be(value)]
            if possible and name not in params:
                params[name] = possible[0]
                waiting.append(name)
    return params


def _with_enabled(sketch: SweepSpec, params: dict[str, Any]) -> dict[str, Any]:
    """The params with the first value of every conditional dimension that they enable."""
    params = dict(params)
    for name, dimension in sketch.space.items():
        if name not in params and dimension.when and sketch.acts(name, params):
            choices = dimension.choices
            params[name] = choices[0] if choices is not None else dimension.low
    return params


def _problems_with(sketch: SweepSpec, params: dict[str, Any]) -> list[Problem]:
    """The trainer's problems with base + params."""
    return trainer_config.check(nest(sketch.base, params.items()))[1]


def _check_entries(draft: Draft, sketch: SweepSpec) -> None:
    entries = draft.value.get("enqueue", [])
    seen: dict[str, int] = {}
    for i, entry in enumerate(entries if isinstance(entries, list) else []):
        if not isinstance(entry, dict):
            continue
        for key in entry:
            for dimension in sketch.space:
                if dimension.startswith(f"{key}."):
                    message = f"sets the searched key {dimension} inside a mapping"
                    draft.report(("enqueue", i, key), message, f"write it as {dimension}: ...")
            f = trainer_config.field_at(str(key))
            if str(key) == "seed" or (f is not None and f.metadata.get("runtime")):
                draft.report(("enqueue", i, key), "is not part of a configuration; has no effect")
        entry = {str(key): value for key, value in entry.items()}
        config, problems = trainer_config.check(nest(sketch.base, entry.items()))
        for problem in problems:
            draft.report(
                ("enqueue", i, *_written(entry, problem.key)), problem.message, problem.allowed
            )
        if config is None:
            continue
        same = seen.setdefault(repr(config.canonical()), i)
        if same != i:
            draft.report(("enqueue", i), f"is the same configuration as enqueue[{same}]")


def _written(entry: dict[str, Any], key: str) -> Path:
    """`key` as the entry spells it: one dotted key, or nested ones."""
    return (key,) if key in entry else tuple(key.split("."))


def _check_search(draft: Draft, spec: SweepSpec) -> None:
    search = spec.search
    if spec.scheduler.rank == "fronts" and len(search.objectives) < 2:
        message = "fronts need two objectives or more, and search.objectives has one"
        draft.report(("scheduler", "rank"), message, "metric")
    at: Path = ("search", "algorithm")
    if search.algorithm == "list" and not spec.enqueue:
        draft.report(at, "a list search runs the entries of enqueue, and there are none")
    if search.algorithm == "grid":
        for key, dimension in spec.space.items():
            if dimension.points() is None:
                draft.report(("space", key), "a grid needs choices or a step here")
    if search.per is not None:
        _check_per(draft, spec, search.per)
    if search.algorithm == "gp":
        _check_gp(draft, spec)


def _check_per(draft: Draft, spec: SweepSpec, key: str) -> None:
    """Every choice of `search.per` must allow its own search, with its entries."""
    at: Path = ("search", "per")
    algorithm, dimension = spec.search.algorithm, spec.space.get(key)
    if algorithm in ("grid", "list"):
        draft.report(at, f"a {algorithm} search has fixed configurations and cannot divide them")
        return
    possible = [k for k, d in spec.space.items() if d.choices is not None and not d.when]
    if dimension is None:
        hint = did_you_mean(key, possible)
        draft.report(at, f"{key!r} is not a dimension of the space{hint}", ", ".join(possible))
        return
    if key not in possible:
        reason = "is not always searched" if dimension.when else "has no choices"
        draft.report(at, f"{key} {reason}", ", ".join(possible) or "a dimension with choices")
        return
    for i, entry in enumerate(spec.enqueue):
        if key not in entry:
            message = f"has no {key}, which search.per needs"
            draft.report(("enqueue", i), message, dimension.describe())
        elif not dimension.can_be(entry[key]):
            draft.report(("enqueue", i, key), f"is not a choice of {key}", dimension.describe())


def _check_gp(draft: Draft, spec: SweepSpec) -> None:
    """A Gaussian process needs a fixed set of dimensions; Optuna draws all others at random."""
    for key, dimension in spec.space.items():
        for name in dimension.when:
            if name in spec.space and name != spec.search.per:
                message = f"gp cannot model a dimension that depends on another ({name})"
                draft.report(("space", key, "when", name), message, _WITHOUT_GP)
