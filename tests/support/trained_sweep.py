"""A sweep with trained models, for tests of what leaves a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.trial_id import config_id, trial_id
from tests.support.small import small_config
from trainer.data.sources import fingerprint
from trainer.train import train


def train_into(ledger: Ledger, cache: Path, **changes: Any) -> str:
    """Train a trial as a sweep does; return its id."""
    config = small_config(cache, **changes)
    data = fingerprint(config)
    identity = {"trial_id": trial_id(config, data), "config_id": config_id(config, data)}
    for _ in train(config, ledger.path(identity["trial_id"]), identity=identity):
        pass
    return identity["trial_id"]


def write_spec(ledger: Ledger, epochs: int) -> None:
    """The sweep's resolved file."""
    folder = Path(ledger.folder.path)
    folder.mkdir(parents=True, exist_ok=True)
    text = f"format: 2\nname: {ledger.name}\nquestion: q\nbase: {{epochs: {epochs}}}\n"
    (folder / RESOLVED).write_text(text)
