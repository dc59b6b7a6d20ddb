"""Trial directories as a sweep leaves them, written without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.ledger.trial_id import config_id, trial_id
from trainer.config import TrainConfig
from trainer.storage.trial_directory import TrialDirectory

BASE: dict[str, Any] = {"data": {"source": "synthetic"}, "encoder": "tiny", "epochs": 2}


@dataclass(frozen=True)
class Result:
    """What a stand-in for `trainer.train.train` yields, without loading torch."""

    epoch: int
    record: dict[str, Any]


def epoch(number: int, score: float, minutes: float, contended: bool | None) -> dict[str, Any]:
    """A commit record with the fields of docs/reference/methods.md."""
    task = {"train_loss": 1.0, "train_metric": 0.5, "dev_loss": 1.0, "utilisation": 1.0}
    task |= {"examples": 100, "updates": 10}
    return {
        "epoch": number,
        "dev_score": score,
        "dev_mean": score - 0.01,
        "minutes_per_epoch": minutes,
        "evaluation_minutes": 0.01,
        "checkpoint_minutes": 0.01,
        "setup_minutes": 0.01,
        "contended": contended,
        "updates": 10,
        "examples": 300,
        "examples_per_second": 50.0,
        "conflict_share": 0.25,
        "cosines": {"qqp|sst": 0.1},
        "peak_memory_mb": 100.0,
        "train_loss": 1.0,
        "tasks": {
            "sst": {**task, "dev_metric": score, "metric": "accuracy"},
            "sts": {**task, "dev_metric": score / 2, "metric": "pearson"},
        },
        "phases": [],
        "finished_at": "2026-01-01T00:00:00+00:00",
    }


#: Argument of `write_trial` -> key of config.json beside the config.
IDENTITY = {"at_device": "device", "computed_in": "precision"}


def write_trial(
    sweep: Path,
    scores: list[float],
    *,
    status: str | None = "complete",
    reason: str = "",
    minutes: float = 1.0,
    contended: bool | None = False,
    **config: Any,
) -> str:
    """A trial below `sweep` with an epoch for each score; returns its id.

    Args:
        status: None for an unfinished trial.
        config: its config, and the keys of `IDENTITY`.
    """
    identity = {key: config.pop(key) for key in IDENTITY if key in config}
    train_config = TrainConfig.from_dict(BASE | config)
    name = trial_id(train_config, "f")
    directory = TrialDirectory(str(sweep / "trials" / name))
    directory.write_config(
        {
            "config": train_config.to_dict(),
            "canonical": train_config.canonical(),
            "fingerprint": "f",
            "trial_id": name,
            "config_id": config_id(train_config, "f"),
            "device": "cpu: test",
            **{IDENTITY[key]: value for key, value in identity.items()},
        }
    )
    records = [epoch(n, score, minutes, contended) for n, score in enumerate(scores, 1)]
    for record in records:
        directory.commit(record, {})
    if status is not None:
        summary = {
            "epochs": len(records), "dev_score": scores[-1], "dev_mean": scores[-1] - 0.01,
            "minutes_per_epoch": minutes,
        } if records else {}  # fmt: skip
        directory.write_end(status, reason, summary)
    return name
