"""Sweeps that hand out trials which end at once, without training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.ledger import Ledger
from orchestrator.ledger.trial_id import config_id, trial_id
from orchestrator.scheduling.trial_queue import Job, TrialQueue
from orchestrator.spec import SweepSpec
from tests.support.ledgers import epoch
from trainer.config import TrainConfig, described

SPACE: dict[str, Any] = {
    "sampler": {"choices": ["round_robin", "annealed", "arrp"]},
    "B": {"choices": [64, 128], "when": {"sampler": ["annealed", "arrp"]}},
    "lambda": {"low": 0.1, "high": 1.0, "when": {"sampler": "arrp"}},
    "batch_size": {"choices": [8, {"sst": 8, "qqp": 16, "sts": 8}]},
}
#: Nothing of it repeats, and nothing is conditional.
SMOOTH: dict[str, Any] = {
    "dropout": {"low": 0.0, "high": 0.5},
    "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
}


def make_spec(**changes: Any) -> SweepSpec:
    search = {"algorithm": "random", "num_trials": 8, "seeds": [1, 2]} | changes.pop("search", {})
    base = {"data": {"source": "synthetic"}, "encoder": "tiny", "tasks": ["sst", "qqp", "sts"]}
    return SweepSpec.model_validate(
        {"name": "s", "base": base, "space": SPACE, "search": search} | changes
    )


def open_queue(folder: Path, spec: SweepSpec, **kwargs: Any) -> TrialQueue:
    ledger = kwargs.pop("ledger", None) or Ledger(folder, spec.name)
    return TrialQueue(spec, ledger, identify, **kwargs)


def identify(config: TrainConfig) -> dict[str, Any]:
    ids = {"trial_id": trial_id(config, "f"), "config_id": config_id(config, "f")}
    return {**ids, "fingerprint": "f"}


def next_job(queue: TrialQueue) -> Job:
    job = queue.next()
    assert job is not None
    return job


def begin(queue: TrialQueue, job: Job, score: float = 0.5, epochs: int = 1) -> None:
    """What a trainer has written behind so many epochs."""
    directory = queue.ledger.directory(job.trial_id)
    if directory.config() is None:
        directory.write_config({**described(job.config), **job.identity})
    for number in range(1, epochs + 1):
        directory.commit(epoch(number, score, 0.1, False), {})


def train(queue: TrialQueue, job: Job, status: str = "complete", score: float = 0.5) -> None:
    begin(queue, job, score)
    summary = {"epochs": 1, "dev_score": score, "minutes_per_epoch": 0.1}
    queue.ledger.directory(job.trial_id).write_end(status, "", summary)


def finish(
    queue: TrialQueue,
    score: Callable[[TrainConfig], float] = lambda config: 0.5,
    most: int = 10**6,
) -> list[Job]:
    """Train what is handed out, `most` trials at most, one after the other."""
    jobs: list[Job] = []
    while len(jobs) < most and (job := queue.next()) is not None:
        train(queue, job, score=score(job.config))
        queue.ended(job.trial_id)
        jobs.append(job)
    return jobs


def bowl(config: TrainConfig) -> float:
    """Best at dropout 0.3."""
    return 0.9 - (config.dropout - 0.3) ** 2


def states(queue: TrialQueue) -> Counter[str]:
    return Counter(ended.state for ended in queue.ended_suggestions())


def told(queue: TrialQueue) -> Counter[str]:
    """What the studies in memory hold, rejected repeats included."""
    series = queue.suggestions.series
    return Counter(trial.state.name for each in series for trial in each.study.trials)
