"""Sweeps whose trials train nothing, run with Ray or by hand."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator import runner
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.trial_id import config_id, trial_id
from orchestrator.progress import PlainProgress
from orchestrator.runner.attempt import Attempt
from orchestrator.runner.attempts import Attempts
from orchestrator.scheduling.successive_halving import Halving
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.spec import SweepSpec
from tests.support.faulty import SEEDS
from trainer.config import TrainConfig
from trainer.storage.trial_directory import TrialDirectory


def make_spec(*faults: str, epochs: int = 2, entries: int = 1, **resources: Any) -> SweepSpec:
    """A sweep with a seed for each fault, of one configuration or of several."""
    return SweepSpec.model_validate(
        {
            "name": "s",
            "base": {"data": {"source": "synthetic"}, "encoder": "tiny", "epochs": epochs},
            "search": {
                "algorithm": "list", "num_trials": entries, "seeds": [SEEDS[f] for f in faults],
            },
            "enqueue": [{"batch_size": 8 + entry} for entry in range(entries)],
            "resources": {"cpu": 1, "max_concurrent": 2, "max_failures": 1} | resources,
        }
    )  # fmt: skip


def identify(config: TrainConfig) -> dict[str, Any]:
    return {"trial_id": trial_id(config, "f"), "config_id": config_id(config, "f")}


def open_queue(spec: SweepSpec, out: Path) -> TrialQueue:
    return TrialQueue(spec, Ledger(out, "s"), identify)


def open_attempts(
    spec: SweepSpec, queue: TrialQueue, progress: PlainProgress, halving: Halving | None = None
) -> Attempts:
    """Attempts whose training comes from `tests.support.faulty`."""
    return Attempts(spec, queue, halving, progress, lambda name: None, "tests.support.faulty:train")


class Sweep:
    """A run of `runner.run` in this process, with what it said."""

    def __init__(self, spec: SweepSpec, out: Path, concurrent: int):
        self.said = io.StringIO()
        self.queue = open_queue(spec, out)
        progress = PlainProgress(Console(file=self.said))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            runner.run(open_attempts(spec, self.queue, progress), concurrent)
        self.printed = printed.getvalue()
        trials = Ledger(out, "s").trials()
        self.trials = {trial.config["seed"]: trial for trial in trials}

    def trial(self, fault: str) -> TrialRecord:
        return self.trials[SEEDS[fault]]

    def lines(self, fault: str) -> list[str]:
        """What was said of a trial, without its place and its name."""
        lines = [line.partition("] ")[2] for line in self.said.getvalue().splitlines()]
        name = self.trial(fault).trial_id
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(name)]

    def attempts(self, fault: str | TrialRecord) -> list[dict[str, Any]]:
        trial = self.trial(fault) if isinstance(fault, str) else fault
        found: list[dict[str, Any]] = json.loads((Path(trial.path) / "attempts.json").read_text())
        return found


class Driver:
    """`Attempts` on a real trial queue, told by hand what Tune would tell."""

    def __init__(self, out: Path, *faults: str, halving: Halving | None = None, **resources: Any):
        self.spec = make_spec(*faults, **resources)
        self.queue: TrialQueue = open_queue(self.spec, out)
        self.said = io.StringIO()
        progress = PlainProgress(Console(file=self.said))
        self.attempts = open_attempts(self.spec, self.queue, progress, halving)

    def begin(self, name: str) -> Attempt | None:
        order = self.attempts.next(name)
        if order is None:
            return None
        self.attempts.started(name)
        return Attempt(order)

    def status(self, attempt: Attempt) -> str | None:
        end = TrialDirectory(attempt._order["directory"]).end()
        return end["status"] if end else None
