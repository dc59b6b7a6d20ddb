"""Trials in processes of their own, and what must be the same after a resume."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from trainer.__main__ import main
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
    records = TrialDirectory(out).records()
    left_out = TIMINGS | {"notes"}
    return [{k: v for k, v in record.items() if k not in left_out} for record in records]
