"""Trials on Ray Tune: which trains when and where.  The only package that imports ray.

Tune only schedules.  It keeps no checkpoints, retries nothing and restores nothing, and every run
creates a new one: all state of a trial is in its directory.
"""

from __future__ import annotations

import os
import shutil
from functools import partial

from orchestrator.environment import set_ours, without

# Ray reads these at its import or in the processes that it starts.
set_ours("Ray")
os.environ.setdefault("RAY_AUTH_MODE", "token")  # else a port of Ray runs anybody's code

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
        with (
            stopping.listening(),
            cleanup(partial(shutil.rmtree, storage, ignore_errors=True)),
            without("Ray Tune"),
        ):
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
