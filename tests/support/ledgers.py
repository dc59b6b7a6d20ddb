"""Trial directories as a sweep leaves them, written without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.ledger.trial_id import config_id, trial_id
from trainer.config import TrainConfig, described
from trainer.metrics import CLOCK
from trainer.storage.trial_directory import TrialDirectory

BASE: dict[str, Any] = {"data": {"source": "synthetic"}, "encoder": "tiny", "epochs": 2}
#: What a trial records besides its config, with defaults. `computed_in` is the precision in its
#: config.json, which has none if this is empty. `identity` is added to its config.json.
RECORDED: dict[str, Any] = {
    "minutes": 1.0, "contended": False, "device": "cpu: test", "computed_in": "",
    "fingerprint": "f", "identity": {}, "clock": CLOCK,
}  # fmt: skip


@dataclass(frozen=True)
class Result:
    """What a stand-in for `trainer.train.train` yields, without loading torch."""

    epoch: int
    record: dict[str, Any]


def epoch(
    number: int, score: float, minutes: float, contended: bool | None, clock: str = CLOCK
) -> dict[str, Any]:
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
        "clock": clock,
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


def write_trial(
    sweep: Path,
    scores: list[float],
    *,
    status: str | None = "complete",
    reason: str = "",
    **options: Any,
) -> str:
    """Write a trial below `sweep` with one epoch per score; return its id.

    Args:
        status: None for an unfinished trial.
        options: those of RECORDED, and keys of the config.
    """
    directory, recorded = write_config(sweep, options)
    minutes = recorded["minutes"]
    records = [
        epoch(n, score, minutes, recorded["contended"], recorded["clock"])
        for n, score in enumerate(scores, 1)
    ]
    for record in records:
        directory.commit(record, {})
    if status is not None:
        summary = {
            "epochs": len(records), "dev_score": scores[-1], "dev_mean": scores[-1] - 0.01,
            "minutes_per_epoch": minutes,
        } if records else {}  # fmt: skip
        directory.write_end(status, reason, summary)
    return Path(directory.path).name


def write_config(sweep: Path, options: dict[str, Any]) -> tuple[TrialDirectory, dict[str, Any]]:
    """Make a trial directory with its config.json; return it and the values of RECORDED."""
    recorded = {key: options.get(key, default) for key, default in RECORDED.items()}
    config = {key: value for key, value in options.items() if key not in RECORDED}
    train_config = TrainConfig.from_dict(BASE | config)
    fingerprint, precision = recorded["fingerprint"], recorded["computed_in"]
    name = trial_id(train_config, fingerprint)
    directory = TrialDirectory(str(sweep / "trials" / name))
    directory.write_config(
        {
            **described(train_config),
            "fingerprint": fingerprint,
            "trial_id": name,
            "config_id": config_id(train_config, fingerprint),
            "device": recorded["device"],
            **({"precision": precision} if precision else {}),
            **recorded["identity"],
        }
    )
    return directory, recorded
