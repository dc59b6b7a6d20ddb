"""Names of configurations (`arrp F=encoder λ=0.5 B=24000`) and of their methods."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from trainer.config import TrainConfig, fields_of

if TYPE_CHECKING:
    from orchestrator.spec.models import SweepSpec

#: Keys that a label shows whenever they act, and the seed, which it never shows.
_ALWAYS = ("sampler", "freeze", "lambda", "B", "combiner", "seed")


def labels(configs: Mapping[str, TrainConfig]) -> dict[str, str]:
    """`arrp F=encoder λ=0.5 B=24000`, and whatever else distinguishes the configurations."""
    keys = _candidates(configs.values())
    flat = {key: dict(flatten(config.canonical(keys))) for key, config in configs.items()}
    names = sorted(
        {n for values in flat.values() for n in values if n.partition(".")[0] not in _ALWAYS}
    )
    varying = [n for n in names if _differ(v[n] for v in flat.values() if n in v)]
    # The presence of a mapping's entry distinguishes, too.
    some = [n for n in names if "." in n and any(n not in values for values in flat.values())]
    varying += [n for n in some if n not in varying and not n.startswith("data.")]
    return {
        key: _label(config, flat[key], [name for name in varying if name in flat[key]])
        for key, config in configs.items()
    }


def _candidates(configs: Collection[TrainConfig]) -> set[str]:
    """Keys that a label may need.  Most keys are equal in all configurations and drop out early.

    A mapping stays, because some of its entries may act in some configurations only.
    """
    first = next(iter(configs), None)
    varying = {
        key
        for key, declared in fields_of().items()
        if isinstance(getattr(first, declared.name, None), dict)
        or _differ(getattr(config, declared.name) for config in configs)
    }
    return {*_ALWAYS, *varying}


def _differ(values: Iterable[Any]) -> bool:
    """Whether the values differ, where 1 and True do."""
    values = iter(values)
    first = next(values, None)
    return any(value != first or type(value) is not type(first) for value in values)


def method_of(config: TrainConfig) -> str:
    """A trial's sampler and combiner, and its frozen set if there is one."""
    parts = [config.sampler, config.combiner]
    return "+".join(parts if config.freeze == "none" else [*parts, f"freeze-{config.freeze}"])


def varied_keys(spec: SweepSpec) -> list[str]:
    """The dotted config keys in which a sweep's configurations can differ."""
    entries = (key for entry in spec.enqueue for key, _ in flatten(entry))
    return list(dict.fromkeys([*spec.space, *entries]))


def label(config: TrainConfig, varied: Iterable[str]) -> str:
    """A single configuration's label with those of the varied dotted keys that act.

    It equals `compare`'s label if the configurations differ in exactly these keys.
    """
    flat = dict(flatten(config.canonical()))
    keys = [key for key in varied if key.partition(".")[0] not in _ALWAYS]
    shown = [n for n in flat if any(n == key or n.startswith(f"{key}.") for key in keys)]
    return _label(config, flat, shown)


def _label(config: TrainConfig, flat: Mapping[str, Any], shown: Iterable[str]) -> str:
    acting = {key.partition(".")[0] for key in flat}
    parts = [config.sampler]
    if config.combiner != "pcgrad":
        parts.append(config.combiner)
    if config.freeze != "none" or config.sampler == "arrp":
        parts.append(f"F={config.freeze}")
    if "lambda" in acting:
        parts.append(f"λ={label_value(config.lambda_)}")
    if "B" in acting:
        parts.append(f"B={label_value(config.B)}")
    parts += [f"{name}={label_value(flat[name])}" for name in shown if flat[name] != ""]
    return " ".join(parts)


def label_value(value: Any) -> str:
    """A config's value, short: `0.1`, `qqp:24000+sst:2000`."""
    if isinstance(value, Mapping):
        return "+".join(f"{key}:{label_value(inner)}" for key, inner in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def flatten(
    mapping: Mapping[str, Any], prefix: str = "", *, keep_empty: bool = False
) -> Iterable[tuple[str, Any]]:
    """The values of a nested mapping by their dotted names; `keep_empty`: empty mappings, too."""
    for key, value in mapping.items():
        if isinstance(value, Mapping) and (value or not keep_empty):
            yield from flatten(value, f"{prefix}{key}.", keep_empty=keep_empty)
        else:
            yield f"{prefix}{key}", value
