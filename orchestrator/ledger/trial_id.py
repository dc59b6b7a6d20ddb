"""Canonical config -> trial id: what is the same trial, and what are seeds of one configuration.

Equal ids mean equal results: the canonical config holds what acts in a trial and nothing else, and
the fingerprint stands for the data's content wherever it lies.  What has its default value is left
out of the hash, so that a key added to the config later changes no id of an earlier trial.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from trainer.config import TrainConfig

#: Hex digits kept: 48 bits, a clash within 10,000 trials has a probability below 1e-6.
DIGITS = 12


def trial_id(config: TrainConfig, fingerprint: str) -> str:
    """Name of a trial and of its folder, e.g. `arrp-3f9a1c20b7d4`."""
    return f"{config.sampler}-{_digest(_telling(config), fingerprint)}"


def config_id(config: TrainConfig, fingerprint: str) -> str:
    """The same without the seed: what trials have in common whose results are averaged."""
    telling = _telling(config)
    telling.pop("seed", None)
    return f"{config.sampler}-{_digest(telling, fingerprint)}"


def _telling(config: TrainConfig) -> dict[str, Any]:
    """The canonical config without what stands at its default."""
    defaults = TrainConfig().to_dict()
    found = {k: v for k, v in config.canonical().items() if k != "data" and v != defaults[k]}
    data = config.canonical()["data"]
    return found | {f"data.{k}": v for k, v in data.items() if v != defaults["data"][k]}


def _digest(canonical: dict[str, Any], fingerprint: str) -> str:
    content = {"config": canonical, "data": fingerprint}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
