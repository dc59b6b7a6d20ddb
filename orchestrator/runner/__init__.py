"""Trials on Ray Tune: which trains when and where.  The only package that imports ray.

Tune only schedules.  It keeps no checkpoints, retries nothing and restores nothing, and every run
creates a new one: all state of a trial is in its directory.
"""

from __future__ import annotations

import os
import shutil
from functools import partial

# Ray reads these at its import or in the processes that it starts.  A user's own settings win.
for _name, _value in {
    "RAY_AUTH_MODE": "token",  # without it anybody who can reach a port of Ray can run code here
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray prints messages about dead workers on stdout, where our own output goes.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # Otherwise Tune itself restarts a trial whose node is gone; that is the trial queue's decision.
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A trial that fails before its first epoch reports no metric; that must not end the sweep.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_STATE_REFRESH_PERIOD": "1000000",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_WARN_THRESHOLD_S": "60",
}.items():
    os.environ.setdefault(_name, _value)

from ray import tune  # noqa: E402

from orchestrator.interrupts import cleanup  # noqa: E402
from orchestrator.runner.attempt import TRAIN  # noqa: E402
from orchestrator.runner.attempts import Attempts  # noqa: E402
from orchestrator.runner.cluster import ClusterError, cluster, joined, require_token  # noqa: E402
from orchestrator.runner.draining import Draining  # noqa: E402
from orchestrator.runner.local_ray import temp_folder  # noqa: E402
from orchestrator.runner.nodes import trial_hardware  # noqa: E402
from orchestrator.runner.stopping import Stopping  # noqa: E402
from orchestrator.runner.trainable import TrialTrainable  # noqa: E402
from orchestrator.runner.tune_adapters import (  # noqa: E402
    AttemptEvents,
    AttemptSearcher,
    RungScheduler,
    SilentReporter,
)

__all__ = [
    "TRAIN", "Attempts", "ClusterError", "cluster", "joined", "require_token", "run",
    "trial_hardware",
]  # fmt: skip


def run(attempts: Attempts, concurrent: int, *, joined: bool = False) -> None:
    """Train every trial of the queue; returns when none is left.

    The first SIGINT or SIGTERM lets running trials commit their epoch, for at most
    `resources.grace_seconds`.  The second does not.  Both raise KeyboardInterrupt.

    Args:
        concurrent: how many attempts Tune may start at the same time.
        joined: the cluster has other nodes, which may be taken away.
    """
    draining = Draining(attempts.progress.say) if joined else None
    stopping = Stopping(attempts, draining)
    storage = temp_folder()
    try:
        with stopping.listening(), cleanup(partial(shutil.rmtree, storage, ignore_errors=True)):
            tune.Tuner(
                TrialTrainable,
                tune_config=tune.TuneConfig(
                    search_alg=AttemptSearcher(attempts, draining),
                    scheduler=RungScheduler(attempts),
                    num_samples=-1,
                    max_concurrent_trials=concurrent,
                    # Only the end of its process reliably frees a trial's GPU memory.
                    reuse_actors=attempts.spec.resources.gpu == 0,
                    trial_name_creator=_tune_name,
                    trial_dirname_creator=_tune_name,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=str(storage),
                    verbose=0,
                    progress_reporter=SilentReporter(),
                    stop=stopping,
                    callbacks=[AttemptEvents(attempts, draining)],
                    # The trial queue decides about further attempts.
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(
                        checkpoint_frequency=0, checkpoint_at_end=False
                    ),
                ),
            ).fit()
    except Exception as problem:
        attempts.give_up("Tune stopped", problem)
    finally:
        shutil.rmtree(storage, ignore_errors=True)


def _tune_name(trial: object) -> str:
    return str(trial.trial_id)  # type: ignore[attr-defined]
