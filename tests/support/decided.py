"""Sweeps that decide a question, with simulated trials: no training, real rule, real files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.after_search import AfterOptions, AfterSearch
from orchestrator.compare.compare_sweep import compare_sweep, trials_of
from orchestrator.compare.options import ComparisonOptions
from orchestrator.decision.answer.answer import Answer
from orchestrator.decision.answer.answers import answer_of
from orchestrator.decision.confirming import pick
from orchestrator.ledger import Ledger
from orchestrator.ledger.timing_sessions import FOLDER
from orchestrator.preflight.checks import check_same_sweep
from orchestrator.preflight.decision import keep_decision
from orchestrator.scheduling.job_queue import Job
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.spec import SweepSpec
from tests.support.searches import identify
from tests.support.sessions import made_up
from tests.support.simulated import World, write_predicted
from trainer.config import TrainConfig

#: A config -> its skill with this seed; None for a trial that diverges.
Skill = Callable[[TrainConfig], float | None]


def sweep_spec(**changes: Any) -> SweepSpec:
    """ARRP against annealed PCGrad: three configurations of each, two seeds."""
    return SweepSpec.model_validate(
        {
            "name": "s",
            # What is drawn for a trial follows from its id, and the id from these values.
            "base": {
                "data": {"source": "synthetic"}, "encoder": "tiny", "epochs": 1,
                "dropout": 0.3, "encoder_dropout": 0.3,
            },
            "search": {"algorithm": "list", "num_trials": 6, "seeds": [1, 2]},
            "enqueue": [
                {"sampler": sampler, "B": size}
                for size in (64, 128, 256)
                for sampler in ("annealed", "arrp")
            ],
            "decide": {"looks": [3, 5, 8], "budget": {"share": 100.0}},
        }
        | changes
    )  # fmt: skip


@dataclass
class SimulatedSweep:
    """A sweep whose trials are drawn instead of trained."""

    out: Path
    spec: SweepSpec
    world: World
    skill: Skill

    @property
    def ledger(self) -> Ledger:
        return Ledger(str(self.out), self.spec.name)

    def search(self) -> None:
        """All trials of the search."""
        check_same_sweep(self.ledger.folder, self.spec)
        queue = TrialQueue(self.spec, self.ledger, identify)
        while (job := queue.next()) is not None:
            self.train(job)
            queue.ended(job.trial_id)

    def confirm(self, most: int = 10_000, confirm: bool | None = None) -> int:
        """The confirming stage, or its next `most` trials, as a new run of the sweep does it.

        Returns how many trials it drew.
        """
        spec = keep_decision(self.spec, self.ledger, self.ledger.trials())
        after = AfterSearch(
            spec, self.ledger, identify, AfterOptions(False, confirm), lambda text: None
        )
        queue, drawn = after.confirm_queue(), 0
        while queue is not None and drawn < most and (job := queue.next()) is not None:
            self.train(job)
            queue.ended(job.trial_id)
            drawn += 1
        return drawn

    def time(self, ratio: float, *, contended: bool = False, jitter: float = 0.01) -> None:
        """A timing session in which the first method takes `ratio` of the last one's minutes."""
        ids = pick(self.spec, self.ledger.trials(), identify).config_ids
        noise = np.random.default_rng(0).normal(1, jitter, (len(ids), 8))
        ratios = np.geomspace(ratio, 1, len(ids))
        seconds = dict(zip(ids.values(), (noise * ratios[:, None]).tolist(), strict=True))
        session = made_up(seconds, contended=contended)
        content = session.model_dump_json().encode()
        self.ledger.folder.child(FOLDER).write("20260101T000000.json", content)

    def answer(self, **options: Any) -> Answer:
        compared = compare_sweep(
            self.ledger, trials_of(self.ledger), ComparisonOptions(replicates=500, **options)
        )
        return answer_of(self.ledger, compared)

    def train(self, job: Job) -> None:
        """Draw the predictions of a trial; they depend on its config and seed alone."""
        skill = self.skill(job.config)
        rng = np.random.default_rng(list(job.trial_id.encode()))
        predictions = self.world.predictions(rng, 0.5 if skill is None else skill)
        config = job.config.to_dict()
        keys = (
            "sampler",
            "B",
            "lambda",
            "freeze",
            "combiner",
            "seed",
            "dropout",
            "encoder_dropout",
        )
        write_predicted(
            self.out / self.spec.name, self.world, predictions,
            status="complete" if skill is not None else "failed",
            identity={k: v for k, v in job.identity.items() if k not in ("trial_id", "config_id")},
            **{key: config[key] for key in keys},
        )  # fmt: skip
