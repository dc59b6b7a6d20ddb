"""Configurations of a sweep side by side: mean and spread over seeds.

Only complete trials are ranked. Pruned, failed and unfinished ones are counted. Scores are those of
the epoch that counts. By default this is the last one: the best epoch is chosen on the same dev
sentences that score it, so its optimism stands beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.ledger.best_epoch import optimism
from orchestrator.ledger.evaluations import counted_record
from orchestrator.ledger.labels import labels
from trainer.metrics import FIRST_CLOCK, Place, clock_of, dotted, of_trial
from trainer.storage.summary import BEST, LAST, best_epoch

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord

#: What must be equal wherever scores are compared.
BASIS: dict[str, Callable[[TrialRecord], str]] = {
    "tasks": lambda trial: ", ".join(trial.config["tasks"]),
    # Weights that a trial starts from stand behind the +, and are part of its method.
    "data": lambda trial: str(trial.identity.get("fingerprint")).partition("+")[0],
    "encoder": lambda trial: str(trial.config["encoder"]),
    "epochs": lambda trial: str(trial.config["epochs"]),
    "precision": lambda trial: precision_of_auto(trial),
}


def precision_of_auto(trial: TrialRecord) -> str:
    """What `precision: auto` became.

    It is empty, and so compares with everything, if the trial's config names its precision: then
    the sweep itself asks to compare precisions.
    """
    if trial.config["precision"] != "auto":
        return ""
    return str(trial.identity.get("precision") or "")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds; a single seed has no standard deviation."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return cls(float(values[0]), None)
        mean = _mean(values)
        # statistics.stdev is exact but 30 times as slow: a second for 10,000 trials.
        return cls(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)))

    def text(self, digits: int) -> str:
        """Mean ± standard deviation; without digits, the mean alone."""
        spread = "" if self.sd is None or not digits else f" ±{self.sd:.{digits}f}"
        return f"{self.mean:,.{digits}f}{spread}"


@dataclass(frozen=True)
class Row:
    """One configuration with its complete trials.

    Attributes:
        metrics: the name of each task's metric.
        score: the epoch that counts, `last` or `best`.
        both: the scores after the `last` and after the `best` epoch, and the `optimism` of the best
            one, each by `dev_score`, `dev_mean` and task, on the dev sets of the epochs. Optimism
            is empty if a trial's end.json has none.
        contended: whether something else ran on the device meanwhile; None if unknown for a trial.
        clocks: the versions of the clock that measured its minutes.
        records: the records of each trial's epochs; the epoch that counts is the last of them, with
            the scores that are compared.
    """

    config_id: str
    label: str
    sampler: str
    combiner: str
    seeds: list[int]
    trials: list[str]
    dev_score: Spread
    dev_mean: Spread
    tasks: dict[str, Spread]
    metrics: dict[str, str]
    minutes_per_epoch: Spread
    examples_per_epoch: float
    contended: bool | None
    devices: list[str]
    threads: list[str]
    clocks: list[str]
    basis: dict[str, str]
    score: str
    both: dict[str, dict[str, Spread]]
    records: list[list[dict[str, Any]]] = field(repr=False)

    @cached_property
    def numbers(self) -> dict[Place, Spread]:
        """Mean and spread of every number in the records, over the trials that have it."""
        of_trials = [of_trial(records) for records in self.records]
        places = dict.fromkeys(place for numbers in of_trials for place in numbers)
        return {p: Spread.of([each[p] for each in of_trials if p in each]) for p in places}

    @property
    def minutes_mark(self) -> str:
        """`*` contended, `?` unknown whether contended, `°` measured with the first clock."""
        mark = {True: "*", None: "?", False: ""}[self.contended]
        return mark + ("°" if FIRST_CLOCK in self.clocks else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `numbers` are keyed by dotted names."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "records"}
        numbers = {dotted(place): spread for place, spread in self.numbers.items()}
        return {key: plain(value) for key, value in {**named, "numbers": numbers}.items()}


@dataclass(frozen=True)
class Comparison:
    """Rows by falling dev_score, and trials by status."""

    rows: list[Row]
    counts: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "rows": [row.to_dict() for row in self.rows]}


def compare(trials: Iterable[TrialRecord]) -> Comparison:
    """Group trials by configuration and rank the configurations."""
    trials = list(trials)
    groups: dict[str, dict[str, list[TrialRecord]]] = {}  # by config id, then by precision
    for trial in trials:
        if trial.status == "complete" and trial.records:
            parts = groups.setdefault(str(trial.identity["config_id"]), {})
            parts.setdefault(precision_of_auto(trial), []).append(trial)
    named = labels({key: next(iter(g.values()))[0].train_config for key, g in groups.items()})
    rows = [
        _row(key, named[key] + (f", {precision}" if len(parts) > 1 else ""), group)
        for key, parts in groups.items()
        for precision, group in parts.items()
    ]
    rows.sort(key=lambda row: -row.dev_score.mean)
    counts = Counter(trial.status for trial in trials)
    return Comparison(rows, dict(sorted(counts.items())))


def _row(config_id: str, label: str, group: list[TrialRecord]) -> Row:
    group = sorted(group, key=lambda trial: int(trial.config["seed"]))
    counted = [counted_record(trial) for trial in group]
    minutes = [_mean([r["minutes_per_epoch"] for r in t.records]) for t in group]
    examples = [_mean([r["examples"] for r in t.records]) for t in group]
    contended = {record["contended"] for trial in group for record in trial.records}
    scored = counted[0]["tasks"]
    names = [name for name in group[0].config["tasks"] if "dev_metric" in scored.get(name, {})]
    return Row(
        config_id=config_id,
        label=label,
        sampler=group[0].config["sampler"],
        combiner=group[0].config["combiner"],
        seeds=[int(trial.config["seed"]) for trial in group],
        trials=[trial.trial_id for trial in group],
        dev_score=Spread.of([record["dev_score"] for record in counted]),
        dev_mean=Spread.of([record["dev_mean"] for record in counted]),
        tasks={n: Spread.of([r["tasks"][n]["dev_metric"] for r in counted]) for n in names},
        metrics={n: counted[0]["tasks"][n]["metric"] for n in names},
        minutes_per_epoch=Spread.of(minutes),
        examples_per_epoch=_mean(examples),
        contended=True if True in contended else None if None in contended else False,
        devices=sorted({str(trial.identity.get("device", "unknown")) for trial in group}),
        threads=sorted({str(trial.identity.get("threads", "unknown")) for trial in group}),
        clocks=sorted({clock_of(record) for trial in group for record in trial.records}),
        basis={key: value_of(group[0]) for key, value_of in BASIS.items()},
        score=group[0].score,
        both=both_epochs(group),
        records=[
            [*(r for r in trial.records if r["epoch"] != trial.epoch), record]
            for trial, record in zip(group, counted, strict=True)
        ],
    )


def both_epochs(group: Sequence[TrialRecord]) -> dict[str, dict[str, Spread]]:
    """`Row.both` of a configuration's complete trials."""
    of_epochs = {
        LAST: [_figures(trial.records[-1]) for trial in group],
        BEST: [_figures(trial.records[best_epoch(trial.records) - 1]) for trial in group],
        "optimism": [optimism(trial) for trial in group],
    }
    return {
        key: {
            name: Spread.of([each[name] for each in figures])
            for name in figures[0]
            if all(name in each for each in figures)
        }
        for key, figures in of_epochs.items()
    }


def _figures(record: Mapping[str, Any]) -> dict[str, float]:
    """`dev_score`, `dev_mean` and the metric of each task that has one."""
    tasks = {n: v["dev_metric"] for n, v in record["tasks"].items() if "dev_metric" in v}
    return {**tasks, "dev_score": record["dev_score"], "dev_mean": record["dev_mean"]}


def _mean(values: Sequence[float]) -> float:
    """`statistics.fmean` without its checks, which take a second for 10,000 trials."""
    return math.fsum(values) / len(values)


def minutes_problem(
    contended: Iterable[bool | None],
    devices: Iterable[str],
    threads: Iterable[str],
    clocks: Iterable[str],
) -> str:
    """Why minutes of trials do not compare; empty if they do."""
    contention = set(contended)
    if True in contention:
        return "something else was running on the device"
    if None in contention:
        return "unknown whether the device was shared"
    if len(set(devices)) > 1:
        return "measured on different devices"
    if len(set(threads)) > 1:
        return "measured with different numbers of threads"
    if len(set(clocks)) > 1:
        return "measured with two versions of the clock"
    return ""


def plain(value: Any) -> Any:
    """JSON values: dataclasses become mappings, tuples become lists."""
    if hasattr(value, "__dataclass_fields__"):
        value = vars(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value
