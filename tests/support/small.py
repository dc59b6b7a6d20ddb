"""A config that trains in about a second, for tests of the loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.config import TrainConfig


def small_config(cache: Path, **changes: Any) -> TrainConfig:
    """Synthetic corpus, tiny encoder, one thread (bit-exact resume needs a fixed number)."""
    data = {"source": "synthetic", "size": 32, "cache": str(cache)} | changes.pop("data", {})
    data.setdefault("dev_limit", {"sst": 60, "qqp": 60, "sts": 60})
    mapping = {
        "data": data, "encoder": "tiny", "sampler": "arrp", "B": 64, "lambda": 0.5, "epochs": 2,
        "batch_size": 8, "learning_rate": 1e-3, "dropout": 0.1, "seed": 3, "threads": 1,
    } | changes  # fmt: skip
    return TrainConfig.from_dict(mapping)
