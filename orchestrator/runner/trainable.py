"""One trial inside a Ray worker: a step of Tune is an epoch of `trainer.train.train`.

Runs in the worker processes, so it imports nothing that a worker does not need.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

if TYPE_CHECKING:
    from trainer.store import TrialDirectory
    from trainer.train import EpochResult

#: Lines of a traceback kept in a failed trial's log.txt.
LOG_LINES = 60


class TrialTrainable(tune.Trainable):
    """Trains into the trial's directory and resumes from it; Tune itself keeps no state of it."""

    _job: dict[str, Any]
    _epochs: Iterator[EpochResult] | None
    _failures: int
    _last_error: str

    def setup(self, config: dict[str, Any]) -> None:
        if os.path.isdir(config["cwd"]):
            os.chdir(config["cwd"])  # relative data folders mean the driver's
        threads = config["config"].get("threads") or max(1, int(config["cpus"]))
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this process: it has torch loaded already."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch.  A trial whose training fails for good reports itself finished.

        An error is tried again from the last committed epoch, `retries` times at most, and not if
        the same error returns without an epoch in between: that is not a passing one.  (Two lacks
        of memory are the same error, whatever sizes they name.)
        """
        from trainer.train import Diverged

        while True:
            try:
                return self._epoch()
            except Diverged:
                return self._report(finished=True)  # the trainer has written the end itself
            except Exception as error:
                lacks_memory = type(error).__name__ == "OutOfMemoryError"
                text = "out of memory" if lacks_memory else f"{type(error).__name__}: {error}"
                self._failures += 1
                if text == self._last_error or self._failures > self._job["retries"]:
                    self._fail(f"{text}: {error}" if lacks_memory else text)
                    return self._report(finished=True)
                self._last_error = text
                self._epochs = None

    def cleanup(self) -> None:
        self._epochs = None

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        raise NotImplementedError("a trial's state is in its own directory")

    def load_checkpoint(self, checkpoint: Any) -> None:
        raise NotImplementedError("a trial's state is in its own directory")

    def _begin(self, job: dict[str, Any]) -> None:
        self._job = job
        self._epochs = None
        self._failures = 0
        self._last_error = ""

    def _epoch(self) -> dict[str, Any]:
        from trainer.config import TrainConfig
        from trainer.train import train

        job = self._job
        config = TrainConfig.from_dict(self._with_threads(job))
        epochs = self._epochs or train(config, job["directory"], identity=job["identity"])
        self._epochs = epochs
        result = next(epochs, None)
        if result is not None:
            self._last_error = ""
        if result is None or result.epoch >= config.epochs:
            for _ in epochs:  # lets the trainer write the end
                pass
            self._epochs = None
            return self._report(finished=True)
        return self._report(finished=False)

    def _report(self, *, finished: bool) -> dict[str, Any]:
        """Small and flat: what the scheduler and the display read.  The rest is in the records."""
        records = self._directory().records()
        last = records[-1] if records else {}
        scalars = {k: v for k, v in last.items() if isinstance(v, bool | int | float)}
        return {**scalars, "finished": finished, "done": finished}

    def _fail(self, text: str) -> None:
        from orchestrator.ledger import summarise

        directory = self._directory()
        lines = traceback.format_exc().splitlines()[-LOG_LINES:]
        _write_once(Path(directory.path) / "log.txt", "\n".join(lines) + "\n")
        if directory.end() is None:
            directory.write_end("failed", text, summarise(directory.records()))

    def _directory(self) -> TrialDirectory:
        from trainer.store import TrialDirectory

        return TrialDirectory(self._job["directory"])

    @staticmethod
    def _with_threads(job: dict[str, Any]) -> dict[str, Any]:
        """A fixed number of threads makes a resume exact: the config's, else the trial's CPUs."""
        config = dict(job["config"])
        config["threads"] = config.get("threads") or max(1, int(job["cpus"]))
        return config


def _write_once(path: Path, text: str) -> None:
    """Write under a temporary name, then rename; the first file stays."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
