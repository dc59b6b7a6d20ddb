"""One attempt at a trial, in a worker process: one epoch per call; errors become reports.

It imports only what a worker needs.
"""

from __future__ import annotations

import errno
import os
import pkgutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from trainer.train import EpochResult

#: The function that trains, unless a test names another one.
TRAIN = "trainer.train:train"

#: Kinds of errors of the system, which are no trial's fault: a full disk, a folder that went away
#: or became read-only, a limit on files and processes, memory.
_ERRNOS: dict[str, tuple[int, ...]] = {
    "space": (errno.ENOSPC, errno.EDQUOT),
    "folder": (errno.EROFS, errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENOTCONN),
    "limit": (errno.EMFILE, errno.ENFILE, errno.EAGAIN),
    "memory": (errno.ENOMEM,),
}
#: The same, where an error has a message only.
_WORDS = {"limit": "can't start new thread", "memory": "can't allocate memory"}


class Order(TypedDict):
    """A trial as its worker gets it.  Plain values, because it travels as JSON."""

    trial_id: str
    config: dict[str, Any]
    identity: dict[str, Any]
    directory: str
    #: Nothing else may use its device.
    alone: bool
    train: str
    cwd: str
    cpus: float
    #: Values of an epoch's record to report to the driver.
    metrics: list[str]


@dataclass(frozen=True)
class Report:
    """What a worker reports to the driver: a committed epoch, or the end of the attempt."""

    #: The committed epoch, and the values of its record that the order names.
    epoch: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    #: This is the last report.
    ended: bool = False
    #: Why the attempt failed; empty if it did not.
    error: str = ""
    #: Kind of the error: one of `_ERRNOS`, `died` (the process), `drained` (the node), `host` (it
    #: would emulate the trial's precision) or `error`.
    kind: str = "error"
    #: The trainer's warnings since the previous report.
    warnings: tuple[str, ...] = ()
    #: The host that trains.
    host: str = ""


class Attempt:
    """Trains into the trial's directory; resumes after the epochs that are committed there.

    `order["train"]` names the function that trains, `module:name`.  It must behave like
    `trainer.train.train(config, directory, identity=...)`: yield an `EpochResult` after every
    commit, none for epochs that were there before, and write end.json at the end.
    """

    def __init__(self, order: Order):
        self._order = order
        self._epochs: Iterator[EpochResult] | None = None
        if os.path.isdir(order["cwd"]):
            os.chdir(order["cwd"])  # relative data folders are relative to the driver's
        # A resume is exact only with the same number of threads: the config's, else the CPUs'.
        self._threads = order["config"].get("threads") or max(1, int(order["cpus"]))
        os.environ["OMP_NUM_THREADS"] = str(self._threads)
        from orchestrator.ledger.trial_log import AttemptLog
        from trainer.storage.folder import is_uri
        from trainer.storage.trial_directory import TrialDirectory

        if is_uri(order["directory"]):  # the driver has written there: silence is an outage
            from trainer.storage.object_store import mark_reached

            mark_reached(order["directory"])
        self._log = AttemptLog(TrialDirectory(order["directory"]))

    def epoch(self) -> Report:
        """Train one epoch.  Returns a report, also of an exception."""
        try:
            report = self._train()
        except Exception as error:
            self._log.failed(error)
            report = Report(
                ended=True, error=f"{type(error).__name__}: {error}", kind=kind_of(error)
            )
        if report.ended:
            self.close()
        return replace(report, warnings=tuple(self._log.warnings()), host=socket.gethostname())

    def close(self) -> None:
        """Free the trial's memory and write the rest of its log."""
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
            for _ in self._epochs:  # the trainer writes end.json
                pass
        if result is None:
            return Report(ended=True)
        metrics = {name: result.record.get(name) for name in order["metrics"]}
        return Report(result.epoch, metrics, ended=last)


def kind_of(error: Exception) -> str:
    """The error's `Report.kind`."""
    names = {base.__name__ for base in type(error).__mro__}
    number = error.errno if isinstance(error, OSError) else None
    if "OutOfSpace" in names:
        return "space"
    if "PrecisionError" in names:
        return "host"
    if names & {"MemoryError", "OutOfMemoryError"}:
        return "memory"
    found = [kind for kind, numbers in _ERRNOS.items() if number in numbers]
    if isinstance(error, RuntimeError):
        found += [kind for kind, words in _WORDS.items() if words in str(error)]
    return found[0] if found else "error"
