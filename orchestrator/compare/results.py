"""The numbers of a comparison, which `orch compare` prints and the report shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.compare.configurations import plain
from orchestrator.compare.diagnostics import conflicts
from orchestrator.compare.diagnostics.importance import importances
from orchestrator.compare.methods import Method, why_apart
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.statistics.best_of_k import BestOfK
from orchestrator.compare.statistics.bootstrap import Estimate
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE, Difference
from orchestrator.compare.statistics.pareto_frontier import Point
from orchestrator.compare.statistics.scores import OVERALL

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord


@dataclass
class Standing:
    """One method alone.

    Attributes:
        naive: the best configuration's score on the dev set on which it was chosen.
        scores: honest scores: of configurations that were chosen without what scores them.
        optimism: naive score minus honest score.
        chosen: config id -> how often it was chosen.
        configuration: label of the configuration that was chosen most often.
        read: how many configurations' predictions were read.
        not_read: how many more could have been chosen.
        problem: why there are no honest scores.
        diverged: how many seeds of this configuration diverged. Scores are given convergence.
        tried: its seeds, diverged ones included.
        score_with_diverged: the honest score if a diverged seed counts as a guess.
        lacking: how many configurations lack seeds that the others have, and cannot be chosen.
    """

    method: str
    configurations: int
    trials: dict[str, int]
    seeds: list[int]
    naive: float | None = None
    best_config_id: str = ""
    scores: dict[str, Estimate] = field(default_factory=dict)
    optimism: float | None = None
    chosen: dict[str, float] = field(default_factory=dict)
    configuration: str = ""
    read: int = 0
    not_read: int = 0
    minutes_per_epoch: float | None = None
    minutes_problem: str = ""
    problem: str = ""
    diverged: int = 0
    tried: int = 0
    score_with_diverged: float | None = None
    lacking: int = 0


@dataclass
class Contrast:
    """A method against the baseline.

    Attributes:
        seeds: seeds that both have.
        unpaired_seeds: seeds that only one of them has, and that count.
        dropped_seeds: seeds that only one of them has, and that do not count.
        scores: the compared metric of method and baseline, with the seeds that count.
        differences: of every metric, each with its own 95 % interval.
        interval: the difference of the compared metric with the interval of the outcome.
        confidence: the level of `interval`.
        p_different: corrected by Holm's method, as is `p_equivalent`.
        part_of: the method that is tested instead, because this one is a part of it.
        minutes_ratio: minutes per epoch over the baseline's, from `orch time`.
        same_score_ratio: minutes to the score that both reach in the end, over the baseline's.
        epochs_to_same_score: epochs that method and baseline need to it, means over seeds.
        speed_problem: why no ratio of minutes is claimed.
        trials_ratio: the ratio of the trials' own minutes, which supports no claim.
        dominates: probability of being better in fewer minutes.
        dominated: probability of being worse in more minutes.
        problem: why the scores are not compared.
    """

    method: str
    baseline: str
    seeds: list[int] = field(default_factory=list)
    unpaired_seeds: list[int] = field(default_factory=list)
    dropped_seeds: list[int] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    interval: Difference | None = None
    confidence: float = CONFIDENCE
    p_different: float | None = None
    p_equivalent: float | None = None
    outcome: str = ""
    sentence: str = ""
    part_of: str = ""
    minutes_ratio: Estimate | None = None
    same_score_ratio: Estimate | None = None
    epochs_to_same_score: tuple[float, float] | None = None
    speed_problem: str = ""
    trials_ratio: Estimate | None = None
    dominates: float | None = None
    dominated: float | None = None
    problem: str = ""


@dataclass
class MethodComparison:
    """The whole comparison of methods.

    Attributes:
        timed: whether the frontier's minutes come from `orch time`.
        methods: all methods of the sweep, compared or not.
    """

    options: ComparisonOptions
    baseline: str
    metrics: list[str]
    standings: list[Standing]
    contrasts: list[Contrast]
    best_of_k: list[BestOfK]
    frontier: list[Point]
    frontier_problem: str
    timed: bool
    notes: list[str]
    methods: list[Method]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, including the diagnostics under `why`."""
        return {
            **{k: plain(v) for k, v in vars(self.options).items() if k != "methods"},
            "baseline": self.baseline,
            "methods": plain(self.standings),
            "contrasts": plain(self.contrasts),
            "best_of_k": plain(self.best_of_k),
            "frontier": plain(self.frontier),
            "frontier_problem": self.frontier_problem,
            "notes": self.notes,
            "why": self.diagnostics(),
        }

    def scored(self) -> list[Method]:
        """The compared methods whose trials have the compared metric."""
        compared = {standing.method for standing in self.standings}
        return [method for method in self._all_scored() if method.name in compared]

    def _all_scored(self) -> list[Method]:
        metric = self.options.metric
        complete = [method for method in self.methods if method.candidates]
        return [m for m in complete if metric in OVERALL or metric in m.dev_tasks]

    def diagnostics(self) -> dict[str, list[conflicts.Row]]:
        """Why methods differ, as plain rows.

        The keys are `conflicts`, `utilisation`, `against_single_task`, `importances`, and
        `progress` of each method's best configuration.
        """
        metric, scored = self.options.metric, self.scored()
        names = {method.name for method in scored}
        best: dict[str, tuple[str, TrialRecord]] = {}
        for method in scored:
            for trial in conflicts.best(method, metric).trials.values():
                best.setdefault(trial.trial_id, (method.name, trial))
        baseline = next(method for method in self.methods if method.name == self.baseline)
        comparable = [m for m in scored if not why_apart(m, baseline, self.options.by)]
        # A method of a single task serves as a reference even if it is not compared itself.
        against_single_task = conflicts.against_single_task(self._all_scored(), metric)
        return {
            "conflicts": conflicts.conflicts(scored),
            "utilisation": conflicts.utilisation(scored),
            "against_single_task": [row for row in against_single_task if row["method"] in names],
            "importances": importances(comparable, metric),
            "progress": conflicts.progress(best.values()),
        }
