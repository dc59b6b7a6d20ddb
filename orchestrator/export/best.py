"""The best configuration of a sweep: what `orch best` prints and `Sweep.best()` returns."""

from __future__ import annotations

import shlex
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.export.chosen_trial import ChosenTrial, best_trial
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.best_configuration import counted_score
from orchestrator.ledger.current import is_confirming
from orchestrator.ledger.evaluations import counted_record
from orchestrator.ledger.labels import labels


@dataclass(frozen=True)
class Seed:
    """A complete trial of the configuration.

    Attributes:
        stage: `search`, or `confirm` for a fresh seed of the confirming stage.
        dev_score: after the epoch that counts.
        minutes_per_epoch: mean over its epochs.
    """

    seed: int
    trial_id: str
    stage: str
    dev_score: float
    minutes_per_epoch: float | None


@dataclass(frozen=True)
class Best:
    """The configuration with the best mean `dev_score` over its seeds.

    Attributes:
        configuration: its label, `arrp F=encoder λ=0.5 B=1590`.
        trial_id: its best trial, whose model `orch predict SWEEP` asks.
        dev_score: mean over its seeds, fresh ones included.  The search chose it by its own seeds,
            so the mean over those alone is too high.
        sd: sample standard deviation over its seeds; None for a single seed.
        minutes_per_epoch: mean over its seeds; None if it is not known.
        tasks: task -> mean of its dev metric.
        config: every key that acts, and its value; without the seed.
        config_file: the config.json of the best trial, which `python -m trainer` takes.
    """

    sweep: str
    configuration: str
    config_id: str
    trial_id: str
    dev_score: float
    sd: float | None
    minutes_per_epoch: float | None
    tasks: dict[str, float]
    seeds: list[Seed]
    config: dict[str, Any]
    config_file: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def commands(self) -> dict[str, str]:
        """What can be done with it -> the command."""
        trial = shlex.quote(f"{self.sweep}@{self.trial_id}")
        return {
            "ask it": f"orch predict {trial} FILE --task {next(iter(self.tasks), 'TASK')}",
            "hand in": f"orch export submission {trial}",
            "export": f"orch export model {trial}",
            "train again": f"python -m trainer --config {shlex.quote(self.config_file)} --out DIR",
        }


def best_configuration(ledger: Ledger) -> Best:
    """The best configuration, as every command that takes `SWEEP@best` chooses it.

    Raises `UserError` if no trial is complete.
    """
    return described(best_trial(ledger))


def described(chosen: ChosenTrial) -> Best:
    """The configuration of a complete trial."""
    trial, trials = chosen.trial, chosen.seeds
    scores = [counted_score(each) for each in trials]
    minutes = [m for each in trials if (m := _minutes(each)) is not None]
    of_tasks = [counted_record(each)["tasks"] for each in trials]
    names = [name for name in trial.config["tasks"] if "dev_metric" in of_tasks[0].get(name, {})]
    config = trial.train_config.canonical()
    del config["seed"]
    every = {each.trial_id: each.train_config for each in chosen.ledger.trials()}
    return Best(
        sweep=chosen.ledger.name,
        configuration=labels(every)[trial.trial_id],
        config_id=str(trial.identity.get("config_id") or trial.trial_id),
        trial_id=trial.trial_id,
        dev_score=statistics.fmean(scores),
        sd=statistics.stdev(scores) if len(scores) > 1 else None,
        minutes_per_epoch=statistics.fmean(minutes) if minutes else None,
        tasks={n: statistics.fmean(float(t[n]["dev_metric"]) for t in of_tasks) for n in names},
        seeds=[
            Seed(
                int(each.config["seed"]),
                each.trial_id,
                "confirm" if is_confirming(each) else "search",
                counted_score(each),
                _minutes(each),
            )
            for each in trials
        ],
        config=config,
        config_file=f"{trial.path}/config.json",
    )


def _minutes(trial: TrialRecord) -> float | None:
    value = trial.summary.get("minutes_per_epoch")
    return None if value is None else float(value)
