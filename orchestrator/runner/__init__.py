"""Trials on Ray Tune: who trains when and where.  The only package that imports ray.

Tune schedules and nothing more.  It keeps no checkpoints, retries and restores nothing and is made
anew in every run: what a trial did stands in its directory.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

# Read by ray when it is imported or by the processes it starts; a user's own settings win.
for _name, _value in {
    "RAY_AUTH_MODE": "token",  # without it anyone who reaches a port of Ray runs code here
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray prints what it thinks of workers that died, on stdout, where our own answer stands.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # Tune would begin a trial again by itself if its node was taken away; the handout decides.
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # A trial that fails before its first epoch has no metric to report, and must not end the sweep.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_STATE_REFRESH_PERIOD": "1000000",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_WARN_THRESHOLD_S": "60",
}.items():
    os.environ.setdefault(_name, _value)

from ray import tune  # noqa: E402

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
)

if TYPE_CHECKING:
    from orchestrator.progress import Progress
    from orchestrator.scheduling.successive_halving import Halving
    from orchestrator.scheduling.trial_queue import TrialQueue
    from orchestrator.spec import SweepSpec

__all__ = ["TRAIN", "ClusterError", "cluster", "joined", "require_token", "run", "trial_hardware"]


def run(
    spec: SweepSpec,
    handout: TrialQueue,
    halving: Halving | None,
    concurrent: int,
    progress: Progress,
    on_change: Callable[[str], None],
    train: str = TRAIN,
    *,
    joined: bool = False,
) -> None:
    """Train everything that `handout` gives out; `on_change` is told each trial that moved.

    Returns when nothing is left.  The first SIGINT or SIGTERM lets running trials commit their
    epoch (`resources.grace_seconds`), the second does not; KeyboardInterrupt is raised either way.

    Args:
        halving: what stops trials early, if anything does.
        train: the function that trains, `module:name` (runner.attempt).
        joined: the cluster has other nodes, which may be taken away.
    """
    attempts = Attempts(spec, handout, halving, progress, on_change, train)
    draining = Draining(progress.say) if joined else None
    stopping = Stopping(attempts, spec.resources.grace_seconds, progress.say, draining)
    storage = temp_folder()
    try:
        with stopping.listening():
            tune.Tuner(
                TrialTrainable,
                tune_config=tune.TuneConfig(
                    search_alg=AttemptSearcher(attempts, draining),
                    scheduler=RungScheduler(attempts),
                    num_samples=-1,
                    max_concurrent_trials=concurrent,
                    # On a GPU a new process is the one sure way to give its memory back.
                    reuse_actors=spec.resources.gpu == 0,
                    trial_name_creator=_tune_name,
                    trial_dirname_creator=_tune_name,
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=str(storage),
                    verbose=0,
                    stop=stopping,
                    callbacks=[AttemptEvents(attempts, draining)],
                    # The handout decides whether a trial gets another attempt.
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
