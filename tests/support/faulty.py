"""Trials that train nothing and fail on demand; the seed says how."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.ledgers import Result, epoch
from trainer.config import TrainConfig, described
from trainer.storage.summary import summarise
from trainer.storage.trial_directory import TrialDirectory

#: What goes wrong -> the seed of the trial that it happens to.
SEEDS = {
    "nothing": 1, "once": 2, "always": 3, "killed": 4, "dying": 5, "diverges": 6, "memory": 7,
    "hungry": 8, "warns": 9, "no end": 10, "hog": 11, "slow": 12, "slow too": 13,
}  # fmt: skip


def train(
    config: TrainConfig, directory: str, *, identity: dict[str, Any] | None = None
) -> Iterator[Result]:
    """Like `trainer.train.train`; `attempts.json` lists every attempt: process, begin, end."""
    store = TrialDirectory(directory)
    if store.end() is not None:
        return
    told = {**described(config), "fingerprint": "f"}
    store.write_config({**told, **(identity or {})})
    attempt = _attempts(directory, began=True)
    fault = next(name for name, seed in SEEDS.items() if seed == config.seed)
    logging.getLogger("trainer").info("attempt %d", attempt)
    for number in range(len(store.records()) + 1, config.epochs + 1):
        try:
            _work(fault, attempt, number, store)
        finally:
            _attempts(directory, began=False)
        record = store.commit(epoch(number, 0.5, 1.0, False), {})
        yield Result(number, record)
    if fault != "no end":
        store.write_end("complete", "", summarise(store.records()))


def _work(fault: str, attempt: int, number: int, store: TrialDirectory) -> None:
    if fault.startswith("slow"):  # until a file beside `trials` says go
        while not (Path(store.path).parents[1] / f"go-{number}").exists():
            time.sleep(0.02)
    time.sleep(0.15)
    if fault == "once" and attempt == 1 and number == 2:
        raise OSError("a passing fault")
    if fault == "always":
        raise ValueError("a fault that stays")
    if fault == "dying" or (fault == "killed" and attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "diverges":
        store.write_end("failed", "diverged", {})
        raise ArithmeticError("the loss is nan")
    if fault == "hungry" or (fault == "memory" and attempt == 1):
        raise MemoryError("no room")
    if fault == "warns" and number == 1:
        logging.getLogger("trainer").warning("%s: epoch 3 cannot be resumed from", store.path)
    if fault == "hog" and attempt == 1:
        held = []
        while len(held) < int(os.environ["HOG_MB"]) // 64:  # other processes' memory comes and goes
            held.append(b"x" * 2**26)
            time.sleep(0.02)
        time.sleep(10)


def _attempts(directory: str, *, began: bool) -> int:
    """Note the begin of an attempt, or that it was alive until now; returns how many there are."""
    path = Path(directory) / "attempts.json"
    found = json.loads(path.read_text()) if path.exists() else []
    if began:
        found.append({"pid": os.getpid(), "begin": time.time(), "end": time.time()})
    found[-1]["end"] = time.time()
    path.write_text(json.dumps(found))
    return len(found)
