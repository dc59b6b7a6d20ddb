"""One attempt at a trial, inside a worker: an epoch a call, and what went wrong as a result.

Runs in the worker processes, so it imports nothing that a worker does not need.
"""

from __future__ import annotations

import errno
import os
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from trainer.train import EpochResult

#: A trial's training where nothing else is asked for.
TRAIN = "trainer.train:train"


class Order(TypedDict):
    """What a worker is told of a trial.  Plain values: it travels as JSON."""

    trial_id: str
    config: dict[str, Any]
    identity: dict[str, Any]
    directory: str
    #: Nothing else may use its device meanwhile.
    alone: bool
    train: str
    cwd: str
    cpus: float
    #: Values of an epoch's record that the driver wants to hear of.
    metrics: list[str]


@dataclass(frozen=True)
class Report:
    """What the driver is told of an epoch, or of how an attempt ended."""

    #: The committed epoch and those values of its record that the order asks for.
    epoch: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    #: Nothing more comes.
    ended: bool = False
    #: Why the attempt failed; empty if it did not.
    error: str = ""
    #: Of the error: `memory`, `space` (of the disk), `died` (its process), `drained` (its node),
    #: `host` (it would emulate the trial's precision) or `error`.
    kind: str = "error"
    #: What the trainer warned of since the report before.
    warnings: tuple[str, ...] = ()


class Attempt:
    """Trains into the trial's directory, going on from what is committed there.

    `order["train"]` names the function that trains, `module:name`.  It is called like
    `trainer.train.train(config, directory, identity=...)`, and must do as that one does: yield an
    `EpochResult` behind every commit, none for what was committed before, and write end.json
    before it ends.
    """

    def __init__(self, order: Order):
        self._order = order
        self._epochs: Iterator[EpochResult] | None = None
        if os.path.isdir(order["cwd"]):
            os.chdir(order["cwd"])  # relative data folders mean the driver's
        # A fixed number of threads makes a resume exact: the config's, else the trial's CPUs.
        self._threads = order["config"].get("threads") or max(1, int(order["cpus"]))
        os.environ["OMP_NUM_THREADS"] = str(self._threads)
        from orchestrator.ledger.trial_log import AttemptLog
        from trainer.storage.folder import is_uri
        from trainer.storage.trial_directory import TrialDirectory

        if is_uri(order["directory"]):  # the driver has written there, so no answer is an outage
            from trainer.storage.object_store import mark_reached

            mark_reached(order["directory"])
        self._log = AttemptLog(TrialDirectory(order["directory"]))

    def epoch(self) -> Report:
        """Train one epoch; an exception of the training is a report too."""
        try:
            report = self._train()
        except Exception as error:
            self._log.failed(error)
            report = Report(ended=True, error=f"{type(error).__name__}: {error}", kind=_kind(error))
        if report.ended:
            self.close()
        return replace(report, warnings=tuple(self._log.warnings()))

    def close(self) -> None:
        """Let go of the trial's memory and write the rest of its log."""
        epochs, self._epochs = self._epochs, None
        if epochs is not None:
            epochs.close()  # type: ignore[attr-defined]
        self._log.close()

    def _train(self) -> Report:
        from trainer.config import TrainConfig

        order = self._order
        config = TrainConfig.from_dict({**order["config"], "threads": self._threads})
        if self._epochs is None:
            train = pkgutil.resolve_name(order["train"])
            self._epochs = train(config, order["directory"], identity=order["identity"])
        result = next(self._epochs, None)
        last = result is None or result.epoch >= config.epochs
        if last:
            for _ in self._epochs:  # lets the trainer write the end
                pass
        if result is None:
            return Report(ended=True)
        metrics = {name: result.record.get(name) for name in order["metrics"]}
        return Report(result.epoch, metrics, ended=last)


def _kind(error: Exception) -> str:
    """What kind of failure an error is, in the words of `Report`."""
    names = {base.__name__ for base in type(error).__mro__}
    number = error.errno if isinstance(error, OSError) else None
    if "OutOfSpace" in names or number in (errno.ENOSPC, errno.EDQUOT):
        return "space"
    if "PrecisionError" in names:
        return "host"
    # torch has a type for a full GPU, and only a text where the host has no memory left.
    full = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if full or number == errno.ENOMEM or names & {"MemoryError", "OutOfMemoryError"}:
        return "memory"
    return "error"
