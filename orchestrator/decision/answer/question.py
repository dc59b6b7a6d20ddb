"""The question that a sweep is asked, with everything that answers it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.compare.methods import ANNEALED, ARRP, method_name
from orchestrator.compare.options import ComparisonOptions
from orchestrator.decision.titles import question_of
from orchestrator.ledger.current import searched
from orchestrator.spec.decide import DecideSpec, ResolvedDecision
from orchestrator.spec.models import SweepSpec

if TYPE_CHECKING:
    from orchestrator.compare.compare_sweep import SweepComparison
    from orchestrator.compare.results import MethodComparison
    from orchestrator.decision.answer.answer import Contest
    from orchestrator.ledger import Ledger, TrialRecord

#: What `compare` calls all frozen sets of a method together.
ANY_FREEZE = "any freeze"


@dataclass
class Question:
    """A sweep's question and what answers it.

    Attributes:
        spec: None for a sweep file of other code, or an edited one.
        trials: those of both stages.
        compared: the comparison of the search's trials.
    """

    ledger: Ledger
    spec: SweepSpec | None
    trials: list[TrialRecord]
    compared: SweepComparison

    @property
    def in_file(self) -> DecideSpec | None:
        """The question of the sweep file.  Only fresh seeds answer it."""
        return self.spec.decide if self.spec is not None else None

    @property
    def decision(self) -> ResolvedDecision | None:
        """What was fixed before the first fresh seed."""
        return self.spec.resolved.decision if self.spec is not None else None

    @cached_property
    def asked(self) -> DecideSpec | None:
        """The question that does not depend on the scores."""
        if self.in_file is not None:
            return self.in_file
        names = {method_name(trial.train_config) for trial in searched(self.trials)}
        if ANNEALED in names and any(name.startswith(ARRP) for name in names):
            return DecideSpec(compare=[ARRP, ANNEALED])
        return None

    @cached_property
    def decide(self) -> DecideSpec | None:
        """The question: that of the sweep file, ARRP against annealed PCGrad, or the best method
        against the baseline.  None if there are no two methods."""
        if self.asked is not None:
            return self.asked
        methods = self.methods if self.compared.methods else None
        if methods is None:
            return None
        others = [s.method for s in methods.standings if s.method != methods.baseline]
        others = [name for name in others if not name.endswith(ANY_FREEZE)]
        return DecideSpec(compare=[others[0], methods.baseline], ask="score") if others else None

    @cached_property
    def methods(self) -> MethodComparison | None:
        """The comparison of methods by their names in `decide`, whatever the user's options are."""
        methods = self.compared.methods
        return self.methods_for("dev_score", "") if methods and methods.options.by else methods

    def methods_for(self, metric: str, baseline: str) -> MethodComparison | None:
        """The comparison whose numbers the answer takes, so that no option changes the answer."""
        from orchestrator.compare.compare_methods import compare_methods

        methods = self.compared.methods
        if methods is None:
            return None
        wanted = ComparisonOptions(metric=metric)
        same = replace(methods.options, baseline="", margin=wanted.margin) == wanted
        if same and methods.baseline == (baseline or methods.baseline):
            return methods
        chosen = searched(self.trials)
        options = replace(wanted, baseline=baseline)
        return compare_methods(self.ledger, chosen, self.compared.rows, options)

    def text(self, contests: Sequence[Contest]) -> str:
        """The question in words: the sweep file's own, or one about the first contest."""
        if self.spec is not None and self.spec.question:
            return self.spec.question
        if not contests or self.decide is None:
            return ""
        first = contests[0]
        return question_of(first.one.title, first.other.title, self.decide.ask, self.decide.metric)
