"""Trials that train nothing, but whose every epoch depends on the checkpoint before it.

An epoch's score comes from a chain of hashes over the trial's config: a gap, a repeated epoch or a
resume from a wrong checkpoint gives other scores from there on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.ledgers import Result
from tests.support.ledgers import epoch as plain_record
from trainer.config import TrainConfig, described
from trainer.data.sources import fingerprint
from trainer.storage.summary import summarise
from trainer.storage.trial_directory import TrialDirectory, checkpoint_name, predictions_name


def train(
    config: TrainConfig, directory: str, *, identity: dict[str, Any] | None = None
) -> Iterator[Result]:
    """Like `trainer.train.train`; `$EPOCH_S` is how long an epoch takes.

    Every commit adds a line to `$COMMITS` (trial, epoch, process), if that is set.
    """
    store = TrialDirectory(directory)
    if store.is_over():
        return
    if store.config() is None:
        about = {**described(config), "fingerprint": fingerprint(config)}
        store.write_config({**about, **(identity or {})})
    records, notes = store.resume_point()
    state = _state(store, len(records)) if records else config.canonical()
    seconds = float(os.environ.get("EPOCH_S", "0.2"))
    for number in range(len(records) + 1, config.epochs + 1):
        time.sleep(seconds)
        state = hashlib.sha256(f"{state} {number}".encode()).hexdigest()
        files = {
            checkpoint_name(number, "weights.safetensors"): (state * 64).encode(),
            checkpoint_name(number, "optimizer.safetensors"): (state[::-1] * 64).encode(),
            predictions_name(number): state.encode(),
        }
        record = _record(number, state)
        record = store.commit({**record, "notes": notes} if notes else record, files)
        records, notes = [*records, record], []
        _note(store, number)
        yield Result(number, record)
    store.write_end("complete", "", summarise(records))


def _state(store: TrialDirectory, epoch: int) -> str:
    return store.checkpoint(epoch, "weights.safetensors").decode()[:64]


def _record(number: int, state: str) -> dict[str, Any]:
    score = int(state[:8], 16) / 2**32
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return plain_record(number, score, 1 + int(state[8:12], 16) / 2**16, False) | {
        "chain": state,
        "finished_at": now,
    }


def _note(store: TrialDirectory, number: int) -> None:
    if path := os.environ.get("COMMITS"):
        line = json.dumps([Path(store.path).name, number, os.getpid()]) + "\n"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, line.encode())
        os.close(file)
