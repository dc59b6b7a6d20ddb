"""Trials in processes of their own, and what must be the same after a resume."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from trainer.storage.trial_directory import TrialDirectory

TIMINGS = {
    "minutes_per_epoch",
    "evaluation_minutes",
    "checkpoint_minutes",
    "setup_minutes",
    "contended",
    "foreign_load",
    "examples_per_second",
    "finished_at",
    "peak_memory_mb",
    "phases",
    "parts",
}


def start(config: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainer", "--config", str(config), "--out", str(out)]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )


def results(out: Path) -> list[dict[str, Any]]:
    """Records without timings and notes; `files` hold the sha256 of weights, optimizer and
    predictions."""
    records = TrialDirectory(out).records()
    left_out = TIMINGS | {"notes"}
    return [{k: v for k, v in record.items() if k not in left_out} for record in records]
