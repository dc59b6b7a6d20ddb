"""The figures of a comparison, as `orch compare` shows them and the report draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.compare.diagnostics import conflicts
from orchestrator.compare.diagnostics.importance import importances
from orchestrator.compare.methods import Method, why_apart
from orchestrator.compare.options import Question
from orchestrator.compare.statistics.best_of_k import BestOfK
from orchestrator.compare.statistics.hypothesis_tests import Difference
from orchestrator.compare.statistics.pareto_frontier import Point
from orchestrator.compare.statistics.scores import OVERALL
from orchestrator.compare.statistics.speed_up import SpeedUp

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass
class Standing:
    """One method by itself.

    `scores` are honest: by configurations that were chosen without what scores them.  `naive` is
    the best configuration's score on the dev set that chose it, `optimism` what that adds.
    `problem` says why there are no honest scores.
    """

    method: str
    configurations: int
    trials: dict[str, int]
    seeds: list[int]
    naive: float | None = None
    best_config_id: str = ""
    scores: dict[str, Estimate] = field(default_factory=dict)
    optimism: float | None = None
    #: Config id -> how often it was chosen; the label of the one that was most often.
    chosen: dict[str, float] = field(default_factory=dict)
    configuration: str = ""
    read: int = 0
    not_read: int = 0
    minutes_per_epoch: float | None = None
    minutes_problem: str = ""
    problem: str = ""


@dataclass
class Contrast:
    """A method against the baseline.

    `p_different` and `p_equivalent` are Holm's.  `problem` says why nothing is claimed of the
    scores, `speed_problem` of the minutes.  `speed_up` comes from `orch time`; `apart` is what the
    trials took, each by itself, which claims nothing.
    """

    method: str
    baseline: str
    seeds: list[int] = field(default_factory=list)
    dropped_seeds: list[int] = field(default_factory=list)
    #: The metric in question of both, with these seeds.
    scores: dict[str, float] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)
    p_different: float | None = None
    p_equivalent: float | None = None
    outcome: str = ""
    sentence: str = ""
    seeds_needed: int | None = None
    speed_up: SpeedUp | None = None
    #: The same to the score that both have at the end, and how many epochs the method and the
    #: baseline need to it, means over seeds.
    to_same_score: SpeedUp | None = None
    epochs_to_same_score: tuple[float, float] | None = None
    speed_problem: str = ""
    apart: SpeedUp | None = None
    #: Better and in fewer minutes; worse and in more.
    dominates: float | None = None
    dominated: float | None = None
    problem: str = ""


@dataclass
class MethodComparison:
    """All of it; `answer` is the question's answer in one sentence."""

    answer: str
    question: Question
    baseline: str
    metrics: list[str]
    standings: list[Standing]
    contrasts: list[Contrast]
    best_of_k: list[BestOfK]
    frontier: list[Point]
    frontier_problem: str
    #: Whether the frontier's minutes are a timing session's.
    timed: bool
    notes: list[str]
    #: All of the sweep's, compared or not.
    methods: list[Method]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, the reasons (`why`) included."""
        plain: dict[str, Any] = {
            "answer": self.answer,
            **{k: v for k, v in vars(self.question).items() if k != "methods"},
            "baseline": self.baseline,
            "methods": self.standings,
            "contrasts": self.contrasts,
            "best_of_k": self.best_of_k,
            "frontier": self.frontier,
            "frontier_problem": self.frontier_problem,
            "notes": self.notes,
        }
        return {key: _plain(value) for key, value in plain.items()} | {"why": self.why()}

    def scored(self) -> list[Method]:
        """The compared methods that have the metric in question."""
        compared = {made.method for made in self.standings}
        return [method for method in self._scored() if method.name in compared]

    def _scored(self) -> list[Method]:
        metric = self.question.metric
        tried = [method for method in self.methods if method.candidates]
        return [m for m in tried if metric in OVERALL or metric in m.dev_tasks]

    def why(self) -> dict[str, list[conflicts.Row]]:
        """Plain rows: `conflicts`, `utilisation`, `against_single_task`, `importances`, and
        `progress` of each method's best configuration."""
        tried = self.scored()
        shown: dict[str, TrialRecord] = {}
        names: dict[str, str] = {}
        for method in tried:
            for trial in conflicts.best(method, self.question.metric).trials.values():
                shown.setdefault(trial.trial_id, trial)
                names.setdefault(trial.trial_id, method.name)
        return {
            "conflicts": conflicts.conflicts(tried),
            "utilisation": conflicts.utilisation(tried),
            # The task alone need not be compared itself.
            "against_single_task": [
                row
                for row in conflicts.against_single_task(self._scored(), self.question.metric)
                if row["method"] in {method.name for method in tried}
            ],
            "importances": importances(self._alike(tried), self.question.metric),
            "progress": conflicts.progress(shown.values(), names),
        }

    def _alike(self, tried: Sequence[Method]) -> list[Method]:
        """Those whose scores compare with the baseline's."""
        baseline = next(method for method in self.methods if method.name == self.baseline)
        return [m for m in tried if not why_apart(m, baseline, self.question.by)]


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {k: _plain(v) for k, v in asdict(value).items()}
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
