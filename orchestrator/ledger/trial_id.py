"""Canonical config -> trial id, and config id for all seeds of a configuration.

Equal ids mean equal results.  The canonical config has exactly what acts in a trial, and the
fingerprint stands for the content of its data.  Default values are left out of the hash, so that a
new config key changes no earlier id (trainer.config.formats).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from trainer.config import TrainConfig
from trainer.config.acting import born_defaults

#: Hex digits of an id: 48 bits, so a clash within 10,000 trials has a probability below 1e-6.
DIGITS = 12


def trial_id(config: TrainConfig, fingerprint: str) -> str:
    """Name of a trial and of its folder, e.g. `arrp-3f9a1c20b7d4`."""
    return f"{config.sampler}-{_digest(_without_defaults(config), fingerprint)}"


def config_id(config: TrainConfig, fingerprint: str) -> str:
    """The same without the seed, so that trials whose results are averaged share it."""
    values = _without_defaults(config)
    values.pop("seed", None)
    return f"{config.sampler}-{_digest(values, fingerprint)}"


def _without_defaults(config: TrainConfig) -> dict[str, Any]:
    """The canonical config without the defaults that its keys had when they came.

    A later default is part of the hash, so that a trial with the old one keeps its id.  The place
    of `start_from` is no part of it, because the fingerprint stands for the weights there.
    """
    defaults, values = born_defaults(TrainConfig), config.canonical()
    del values["start_from"]
    data = values.pop("data")
    changed = {k: v for k, v in values.items() if v != defaults[k]}
    return changed | {f"data.{k}": v for k, v in data.items() if v != defaults["data"][k]}


def _digest(canonical: dict[str, Any], fingerprint: str) -> str:
    content = {"config": canonical, "data": fingerprint}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
