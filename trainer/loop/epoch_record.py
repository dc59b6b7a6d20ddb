"""Builds the record of an epoch (epochs/NNN.json); `trainer.metrics` describes its fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trainer.loop.clock import Clock
from trainer.loop.device import peak_memory_mb
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.evaluation import Predictions, overall
from trainer.metrics import CLOCK

#: Other processes may use so many CPU seconds without making an epoch contended.  A sweep's driver
#: needs them to record the previous epoch, and the kernel counts in ticks of 10 ms.  This matters
#: only for epochs of a second or two.
_NOTED_S = 0.3


def epoch_record(
    number: int, metrics: EpochMetrics, predictions: dict[str, Predictions], clock: Clock
) -> dict[str, Any]:
    """The record of an epoch.  Takes the clock's times since the previous epoch."""
    contended, foreign_load = clock.contention(spared=_NOTED_S)
    seconds, parts = clock.take(), clock.step.take()
    training = seconds.get("training", 0.0)
    if not metrics.phases:  # nothing was timed that others could have slowed down
        contended = False
    tasks = metrics.tasks()
    for name, predicted in predictions.items():
        tasks[name] |= {
            "metric": predicted.task.metric,
            "dev_metric": predicted.metric,
            "dev_loss": predicted.loss,
        }
    scores = {name: predicted.metric for name, predicted in predictions.items()}
    conflicts, conflicts_of = metrics.conflicts()
    phases = [phase | conflicts_of.get(phase["name"], {}) for phase in metrics.phases]
    examples = sum(phase["examples"] for phase in phases)
    losses = [values["train_loss"] for values in tasks.values() if values["updates"]]
    return {
        "epoch": number,
        **overall(scores, metrics.task_list),
        "train_loss": sum(losses) / len(losses) if losses else None,
        "tasks": tasks,
        **conflicts,
        "phases": phases,
        "updates": sum(phase["updates"] for phase in phases),
        "examples": examples,
        "examples_per_second": examples / max(training, 1e-9) if examples else None,
        "minutes_per_epoch": training / 60,
        "parts": parts and {part: spent / 60 for part, spent in parts.items()},
        "evaluation_minutes": seconds["evaluation"] / 60,
        "checkpoint_minutes": seconds["checkpoint"] / 60,
        "setup_minutes": seconds.get("setup", 0.0) / 60,
        "clock": CLOCK,
        "contended": contended,
        "foreign_load": foreign_load,
        "peak_memory_mb": peak_memory_mb(clock.device),
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
