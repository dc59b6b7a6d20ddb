"""A trial that does no work, for sweep.py: what remains is the cost of the orchestrator.

It writes the files that a trial writes: config.json, the commit record of each epoch, end.json.
Imported, not run.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from trainer.config import TrainConfig, described
from trainer.metrics import CLOCK
from trainer.storage.summary import summarise
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import EpochResult


def train(
    config: TrainConfig, directory: str, *, identity: dict[str, Any] | None = None
) -> Iterator[EpochResult]:
    """Replaces `trainer.train.train`.  Scores are a function of the configuration and the seed."""
    store = TrialDirectory(directory)
    if store.end() is not None:
        return
    content = {**described(config), "device": "none"}
    store.write_config({**content, **(identity or {})})
    records = store.records()
    for number in range(len(records) + 1, config.epochs + 1):
        record = store.commit(_record(number, config), {})
        records.append(record)
        yield EpochResult(number, record)
    store.write_end("complete", "", summarise(records))


def _record(number: int, config: TrainConfig) -> dict[str, Any]:
    """Return a record with every field, so that its readers do all of their work."""
    noise = random.Random(repr((config.seed, config.learning_rate, config.dropout, number)))
    score = 0.6 - abs(config.dropout - 0.2) + 0.01 * noise.random()
    task = {"train_loss": 1.0, "train_metric": 0.5, "dev_loss": 1.0, "utilisation": 1.0}
    task |= {"examples": 100, "updates": 10, "dev_metric": score}
    return {
        "epoch": number,
        "dev_score": score,
        "dev_mean": score - 0.01,
        "minutes_per_epoch": 1.0 + noise.random(),
        "evaluation_minutes": 0.01,
        "checkpoint_minutes": 0.01,
        "setup_minutes": 0.01,
        "clock": CLOCK,
        "contended": False,
        "foreign_load": 0.0,
        "updates": 10,
        "examples": 300,
        "examples_per_second": 50.0,
        "conflict_share": 0.25,
        "cosines": {"qqp|sst": 0.1, "qqp|sts": 0.0, "sst|sts": -0.1},
        "peak_memory_mb": 100.0,
        "train_loss": 1.0,
        "tasks": {
            "sst": {**task, "metric": "accuracy"},
            "qqp": {**task, "metric": "accuracy"},
            "sts": {**task, "metric": "pearson"},
        },
        "phases": [{"name": "all", "updates": 10, "examples": 300, "minutes": 1.0}],
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
