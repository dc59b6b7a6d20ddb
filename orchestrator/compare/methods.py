"""Methods: trials grouped by how they were trained, and whether two groups can be compared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.compare.configurations import BASIS
from orchestrator.errors import unknown_name
from orchestrator.ledger.evaluations import counted_record
from orchestrator.ledger.labels import label_value, method_of
from trainer.config import TrainConfig, field_at, fields_of

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord

#: The method that this project asks about, and the default baseline.
ARRP, ANNEALED = "arrp+pcgrad", "annealed+pcgrad"
#: Keys of BASIS that `--by` may separate.
_SEPARABLE = ("encoder", "epochs")


@dataclass(frozen=True)
class Configuration:
    """One configuration's complete trials, by seed, and the seeds whose training diverged."""

    config_id: str
    trials: dict[int, TrialRecord]
    diverged: set[int] = field(default_factory=set)

    @property
    def seeds(self) -> list[int]:
        return sorted(self.trials)

    @property
    def config(self) -> TrainConfig:
        return next(iter(self.trials.values())).train_config

    def mean(self, metric: str, seeds: Iterable[int] | None = None) -> float:
        """Mean over seeds of the metric of the epoch that counts, on the whole dev set."""
        chosen = self.trials if seeds is None else seeds
        scores = [counted_metric(self.trials[seed], metric) for seed in chosen]
        return math.fsum(scores) / len(scores)

    def minutes(self, seed: int) -> float:
        """Minutes of training per epoch, the mean over epochs."""
        records = self.trials[seed].records
        return math.fsum(record["minutes_per_epoch"] for record in records) / len(records)


@dataclass(eq=False)
class Method:
    """A way of training with all configurations that were tried.

    Attributes:
        counts: all its trials by status, also the pruned and failed ones.
        parts: names of the methods that it joins (`union`).
    """

    name: str
    configurations: list[Configuration] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    parts: tuple[str, ...] = ()

    @cached_property
    def common(self) -> list[int]:
        """The seeds by which its configurations compete: those that all of them have.

        A configuration with one seed does not compete with those that have two or more, because
        one lucky seed is no evidence. If the others have fewer than two seeds in common, the most
        configurations with two seeds in common compete.
        """
        sets = Counter(frozenset(each.trials) for each in self.configurations if each.trials)
        several = {seeds: count for seeds, count in sets.items() if len(seeds) > 1}
        sets = Counter(several) or sets
        if not sets:
            return []
        shared = frozenset.intersection(*sets)
        if len(shared) > 1:
            return sorted(shared)
        known = set(sets) | {one & other for one in sets for other in sets}
        least = min(2, max(map(len, known)))

        ranked = [
            (sum(n for each, n in sets.items() if seeds <= each), len(seeds), sorted(seeds))
            for seeds in known
            if len(seeds) >= least
        ]
        return max(ranked)[2]

    @cached_property
    def candidates(self) -> list[Configuration]:
        """The configurations that have all common seeds, sorted by id, which favours none."""
        wanted = set(self.common)
        complete = [each for each in self.configurations if wanted <= each.trials.keys()]
        return sorted(complete, key=lambda each: each.config_id)

    @cached_property
    def seeds(self) -> list[int]:
        """The seeds that any of these configurations has."""
        return sorted({seed for each in self.candidates for seed in each.trials})

    @property
    def trials(self) -> list[TrialRecord]:
        return [trial for each in self.configurations for trial in each.trials.values()]

    @cached_property
    def dev_tasks(self) -> list[str]:
        """The tasks for which all complete trials have a dev metric."""
        scored = [trial.records[-1]["tasks"] for trial in self.trials]
        names = self.trials[0].config["tasks"] if scored else ()
        return [name for name in names if all("dev_metric" in t.get(name, {}) for t in scored)]

    @cached_property
    def basis(self) -> dict[str, set[str]]:
        """The values that its trials have for each key of BASIS."""
        return {key: set(map(value_of, self.trials)) - {""} for key, value_of in BASIS.items()}


def counted_metric(trial: TrialRecord, metric: str) -> float:
    """`dev_score`, `dev_mean` or a task's metric after the epoch that counts.

    It is on the whole dev sets (evaluation `all`) if the trial has those scores, else on the dev
    sets of its epochs.
    """
    return recorded_metric(counted_record(trial), metric)


def recorded_metric(record: Mapping[str, Any], metric: str) -> float:
    """An epoch's `dev_score`, `dev_mean` or a task's metric."""
    if metric in ("dev_score", "dev_mean"):
        return float(record[metric])
    return float(record["tasks"][metric]["dev_metric"])


def group(trials: Iterable[TrialRecord], by: Sequence[str] = ()) -> list[Method]:
    """Methods sorted by name: sampler + combiner + frozen set, or the values of the keys `by`.

    A key that has no effect in a trial has the value `-`. Raises `UserError` for an unknown key.
    """
    for key in by:
        if field_at(key) is None:
            raise unknown_name(f"--by {key}: unknown key", key, fields_of())
    methods: dict[str, Method] = {}
    configurations: dict[tuple[str, str], Configuration] = {}
    for trial in trials:
        name = method_name(trial.train_config, by)
        method = methods.setdefault(name, Method(name))
        method.counts[trial.status] += 1
        complete = trial.status == "complete" and bool(trial.records)
        if not complete and not has_diverged(trial):
            continue
        config_id, seed = str(trial.identity["config_id"]), int(trial.config["seed"])
        each = configurations.setdefault((name, config_id), Configuration(config_id, {}))
        if not complete:
            each.diverged.add(seed)
            continue
        if not each.trials:
            method.configurations.append(each)
        each.trials[seed] = trial
    return [methods[name] for name in sorted(methods)]


def has_diverged(trial: TrialRecord) -> bool:
    """Whether training ended with a loss or a weight that is not finite."""
    return trial.status == "failed" and trial.reason == "diverged"


def method_name(config: TrainConfig, by: Sequence[str] = ()) -> str:
    """`arrp+pcgrad+freeze-encoder`, or `B=24000 dropout=0.1` for the keys `by`."""
    if by:
        canonical = config.canonical()
        return " ".join(f"{key}={_value(canonical, key)}" for key in by)
    name = method_of(config)
    return f"{name}+{config.train_task}" if config.sampler == "single_task" else name


def _value(canonical: Mapping[str, Any], key: str) -> str:
    value: Any = canonical
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value in (None, "", [], {}):
        return "-"
    return "+".join(map(str, value)) if isinstance(value, list) else label_value(value)


def union(methods: Sequence[Method], name: str) -> Method | None:
    """All frozen sets of a sampler and combiner as one method; None if there are fewer than two."""
    parts = [m for m in methods if m.name == name or m.name.startswith(f"{name}+freeze-")]
    parts = [m for m in parts if m.configurations]
    if len(parts) < 2:
        return None
    counts = sum((part.counts for part in parts), Counter[str]())
    configurations = [c for m in parts for c in m.configurations]
    return Method(f"{name}, any freeze", configurations, counts, tuple(m.name for m in parts))


def find_baseline(methods: Sequence[Method], name: str) -> Method:
    """The method with this name, or the only one whose name begins with it.

    Without a name it is annealed PCGrad, or else the first method with a complete trial.
    Raises `UserError`.
    """
    named = {method.name: method for method in methods}
    if name:
        begun = [method for method in methods if method.name.startswith(name)]
        if name in named:
            return named[name]
        if len(begun) == 1:
            return begun[0]
        known = [method.name for method in begun or methods]
        reason = f"{len(begun)} methods begin so" if begun else "no such method"
        raise unknown_name(f"--baseline {name}: {reason}", name, known)
    if ANNEALED in named and named[ANNEALED].configurations:
        return named[ANNEALED]
    return next((method for method in methods if method.configurations), methods[0])


def named(methods: Sequence[Method], names: Sequence[str], baseline: Method) -> list[Method]:
    """The baseline and the methods whose names are or begin with `names`; without names, all.

    Raises `UserError` for a name that fits no method.
    """
    if not names:
        return list(methods)
    known = {method.name for method in methods}
    chosen = {baseline.name}
    for name in names:
        begun = {name} if name in known else {each for each in known if each.startswith(name)}
        if not begun:
            raise unknown_name(f"--methods {name}: no such method", name, sorted(known))
        chosen |= begun
    return [method for method in methods if method.name in chosen]


def why_apart(one: Method, other: Method, by: Sequence[str] = ()) -> str:
    """Why scores of two methods (or of one method's trials) do not compare; empty if they do.

    Encoders or numbers of epochs may differ between methods that are separated `by` that key.
    """
    for key, first in one.basis.items():
        second = other.basis[key]
        free = key in by and key in _SEPARABLE and len(first) == len(second) == 1
        if len(first | second) < 2 or free:
            continue
        shown = "" if key == "data" else f" ({' | '.join(sorted(first | second))})"
        hint = f"; --by {key} separates them" if key in _SEPARABLE and key not in by else ""
        return f"different {key}{shown}{hint}"
    return ""
