"""Trials in processes of their own, and what must be the same after a resume."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from trainer.__main__ import main
from trainer.config import TrainConfig
from trainer.metrics import EPOCH, PHASE, TASK, Field
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train

#: What a resume or another run of the same trial may change in a record.
TIMINGS = {name for name, field in EPOCH.items() if field.timing}


def start(config: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainer", "--config", str(config), "--out", str(out)]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


def run_trainer(*arguments: str) -> int:
    """`python -m trainer` in this process: a new one takes longer to start than to train."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return main(list(arguments))
    finally:
        signal.signal(signal.SIGTERM, handler)


def results(out: Path) -> list[dict[str, Any]]:
    """Records without timings and notes; `files` hold the sha256 of weights, optimizer and
    predictions."""
    return [untimed(record) for record in TrialDirectory(out).records()]


def untimed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record without what a resume or another run of the same trial may change."""
    kept = {key: value for key, value in record.items() if key not in TIMINGS}
    kept["tasks"] = {name: _without_timings(task, TASK) for name, task in kept["tasks"].items()}
    kept["phases"] = [_without_timings(phase, PHASE) for phase in kept.get("phases", [])]
    return kept


def _without_timings(values: Mapping[str, Any], table: Mapping[str, Field]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in table or not table[k].timing}


def whole_and_in_parts(config: TrainConfig, folder: Path) -> tuple[list[Any], list[Any]]:
    """The untimed records of a trial in one run, and of one that starts anew for every epoch."""
    whole = [untimed(result.record) for result in train(config, str(folder / "a"))]
    parts = []
    for _ in range(config.epochs):  # one epoch a process would have done
        for result in train(config, str(folder / "b")):
            parts.append(untimed(result.record))
            break
    return whole, parts
