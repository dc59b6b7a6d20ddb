"""Trials on Ray Tune: who trains when and where.  The only package that imports ray.

Tune schedules and nothing more.  It keeps no checkpoints, restores nothing and is made anew in
every run: what a trial did stands in its directory, and ASHA's rungs are rebuilt from there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

# Read by ray when it is imported or by the processes it starts; a user's own settings win.
for _name, _value in {
    "RAY_AUTH_MODE": "token",  # without it anyone who reaches a port of Ray runs code here
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A trial that fails before its first epoch has no metric to report, and must not end the sweep.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_WARN_THRESHOLD_S": "60",
}.items():
    os.environ.setdefault(_name, _value)

from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from orchestrator.runner.asha import LedgerASHA  # noqa: E402
from orchestrator.runner.cluster import ClusterError, cluster, temp_folder  # noqa: E402
from orchestrator.runner.trainable import TrialTrainable  # noqa: E402
from orchestrator.spec_models import METRICS  # noqa: E402

if TYPE_CHECKING:
    from orchestrator.handout import Handout, Job
    from orchestrator.ledger import Ledger
    from orchestrator.progress import Progress
    from orchestrator.spec import SweepSpec

__all__ = ["ClusterError", "cluster", "make_scheduler", "run"]

logger = logging.getLogger(__name__)


def make_scheduler(spec: SweepSpec, ledger: Ledger) -> TrialScheduler:
    """FIFO, or ASHA with the rungs that the ledger's epochs fill.

    Trials that ASHA would have stopped before their driver was killed are ended as pruned here.
    """
    if spec.scheduler.name == "none":
        return FIFOScheduler()
    metric = spec.scheduler.metric
    asha = LedgerASHA(
        time_attr="epoch",
        metric=metric,
        mode=spec.search.objectives.get(metric) or METRICS[metric],
        max_t=max(spec.config_for({}, spec.search.seeds[0]).epochs, spec.scheduler.grace_epochs),
        grace_period=spec.scheduler.grace_epochs,
        reduction_factor=spec.scheduler.reduction_factor,
        stop_last_trials=False,
    )
    trials = {trial.trial_id: trial for trial in ledger.trials()}
    for trial_id, epoch in asha.replay(trials.values()).items():
        trial = trials[trial_id]
        if trial.status == "unfinished" and epoch < trial.train_config.epochs:
            ledger.close(trial_id, "pruned", _pruned(epoch))
    return asha


def _pruned(epoch: Any) -> str:
    return f"stopped by asha after epoch {epoch}"


def run(
    spec: SweepSpec,
    handout: Handout,
    scheduler: TrialScheduler,
    concurrent: int,
    progress: Progress,
    on_change: Callable[[str], None],
) -> None:
    """Train everything that `handout` gives out; `on_change` is told each trial that moved.

    Returns when nothing is left.  SIGINT and SIGTERM raise KeyboardInterrupt between two of Tune's
    steps; a second one interrupts at once.  Trials keep their committed epochs either way.
    """
    searcher = _LedgerSearcher(spec, handout, concurrent, progress, on_change)
    storage = temp_folder()
    trainable = tune.with_resources(
        TrialTrainable, {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu}
    )
    try:
        with _stop_on_signals() as stopper:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=scheduler,
                    num_samples=-1,
                    # On a GPU a new process is the one sure way to give its memory back.
                    reuse_actors=spec.resources.gpu == 0,
                    trial_name_creator=_tune_name,
                    trial_dirname_creator=_tune_name,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=str(storage),
                    verbose=0,
                    stop=stopper,
                    callbacks=[_Events(searcher)],
                    failure_config=tune.FailureConfig(max_failures=spec.resources.max_failures),
                    checkpoint_config=tune.CheckpointConfig(
                        checkpoint_frequency=0, checkpoint_at_end=False
                    ),
                ),
            ).fit()
    except Exception as problem:
        searcher.give_up("Tune stopped", problem)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


class _LedgerSearcher(Searcher):
    """Hands the handout's jobs to Tune and closes their directories when Tune says they ended.

    An exception that leaves a searcher ends the whole sweep, so none does: it is logged, no more
    trials are handed out, and those that run go on to their end.
    """

    def __init__(
        self,
        spec: SweepSpec,
        handout: Handout,
        limit: int,
        progress: Progress,
        on_change: Callable[[str], None],
    ):
        super().__init__()
        self.spec = spec
        self.handout = handout
        self.limit = limit
        self.progress = progress
        self.on_change = on_change
        self.active: dict[str, Job] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that is never made

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if len(self.active) >= self.limit:
            return None
        try:
            job = None if self.handout.error else self.handout.next()
            if job is None:
                return Searcher.FINISHED
            self.progress.total(self.handout.done, self.handout.planned)
            order = self._order(job)
        except Exception as error:
            self.give_up("no trial could be handed out", error)
            return Searcher.FINISHED
        self.active[trial_id] = job
        return order

    def _order(self, job: Job) -> dict[str, Any]:
        """What a worker is told of a trial."""
        return {
            "trial_id": job.trial_id,
            "config": job.config.to_dict(),
            "identity": job.identity,
            "directory": job.directory,
            "cwd": os.getcwd(),
            "retries": self.spec.resources.max_failures,
            "cpus": self.spec.resources.cpu,
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        job = self.active.pop(trial_id, None)
        if job is None:
            return
        try:
            ledger = self.handout.ledger
            if error:
                reason = f"its process died more than {self.spec.resources.max_failures} times"
                ledger.close(job.trial_id, "failed", reason)
            elif not (result or {}).get("finished"):
                ledger.close(job.trial_id, "pruned", _pruned((result or {}).get("epoch")))
            self.handout.ended(job.trial_id)
            end = ledger.end(job.trial_id) or {}
            self.progress.total(self.handout.done, self.handout.planned)
            self.progress.ended(job, end.get("status", "unfinished"), end.get("reason", ""))
            self.on_change(job.trial_id)
        except Exception as problem:
            self.give_up(f"{job.trial_id} could not be closed", problem)

    def give_up(self, what: str, error: Exception) -> None:
        logger.error("%s: %s", what, error, exc_info=error)
        # Tune hands on whole tracebacks as text; what went wrong stands in their last line.
        last = str(error).strip().rpartition("\n")[2] or type(error).__name__
        self.handout.error = self.handout.error or f"{what}: {last}"


class _Events(tune.Callback):
    """Tells progress and tracking what Tune reports; neither may end the sweep."""

    def __init__(self, searcher: _LedgerSearcher):
        self.searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with _logged("on_trial_start"):
            job = self.searcher.active.get(trial.trial_id)
            if job is not None:
                self.searcher.progress.started(job)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        with _logged("on_trial_result"):
            job = self.searcher.active.get(trial.trial_id)
            if job is not None and "epoch" in result:
                self.searcher.progress.epoch(job, result)
                self.searcher.on_change(job.trial_id)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with _logged("on_trial_recover"):
            job = self.searcher.active.get(trial.trial_id)
            if job is not None:
                self.searcher.progress.retried(job, "its process died")


class _SignalStopper(tune.Stopper):
    """Raises KeyboardInterrupt between two steps of Tune once a signal came."""

    def __init__(self) -> None:
        self.signalled = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        if self.signalled:
            raise KeyboardInterrupt
        return False


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[_SignalStopper]:
    """SIGTERM means the same as SIGINT: `ray job stop` sends it and kills 3 s later."""
    stopper = _SignalStopper()

    def note(number: int, frame: FrameType | None) -> None:
        if stopper.signalled:
            raise KeyboardInterrupt
        stopper.signalled = True

    previous = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals are the caller's
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, note)
    try:
        yield stopper
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _tune_name(trial: Any) -> str:
    return str(trial.trial_id)


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.error("%s: %s", what, error, exc_info=error)
