"""The confirming stage: one configuration of each method on fresh seeds, in pairs, look by look.

What was fixed before its first trial (configurations, looks, prior variance, budget) stands in the
resolved sweep.  Everything else follows from the ledger, so a killed stage resumes exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.compare.statistics.pooled_variance import PriorVariance
from orchestrator.decision import contestants
from orchestrator.decision.pairs import Pair, judged, pairs_of
from orchestrator.decision.rule.looks import Design, Look
from orchestrator.errors import UserError
from orchestrator.ledger.current import CONFIRM, confirming, current, next_number, searched
from orchestrator.ledger.evaluations import on_equal_examples
from orchestrator.scheduling.job_queue import Job
from orchestrator.spec.decide import DecideSpec, ResolvedDecision

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.spec import SweepSpec
    from trainer.config import TrainConfig

OnLook = Callable[[int, int, float], None]

#: A stage that costs so many times what was expected takes no further look.
_OVERRUN = 1.5


class DoesNotFit(UserError):
    """The first look costs more than `decide.budget.hours` allows."""


@dataclass(frozen=True)
class Picked:
    """One configuration for each name in `decide.compare`.

    Attributes:
        params, config_ids: by name.
        minutes: what a trial of each costs, by name.
        search_minutes: what the search has cost.
        prior: of the variance of a paired difference.
    """

    params: dict[str, dict[str, Any]]
    config_ids: dict[str, str]
    minutes: dict[str, float]
    search_minutes: float
    prior: PriorVariance


def pick(
    spec: SweepSpec,
    trials: Sequence[TrialRecord],
    identify: Callable[[TrainConfig], dict[str, Any]],
) -> Picked:
    """Pick the configurations from the trials of the search, by `decide.choose`.

    Raises `UserError` if a method has no complete trial.
    """
    decide = spec.decide
    assert decide is not None
    tried_out = searched(trials)
    prior = contestants.prior_of(tried_out, decide.metric)
    params: dict[str, dict[str, Any]] = {}
    ids: dict[str, str] = {}
    minutes: dict[str, float] = {}
    for name in decide.compare:
        tried = contestants.candidates(tried_out, name, decide.metric)
        params[name] = contestants.chosen(tried, decide.choose, prior)
        config = spec.config_for(params[name], spec.search.seeds[0])
        ids[name] = str(identify(config)["config_id"])
        minutes[name] = contestants.minutes_of_a_trial(tried, ids[name])
    if len(set(ids.values())) < len(ids):
        raise UserError(f"decide.compare: two names stand for one configuration: {ids}")
    return Picked(params, ids, minutes, contestants.cost(tried_out), prior)


def fix(
    spec: SweepSpec, trials: Sequence[TrialRecord], picked: Picked, challengers: Sequence[str]
) -> ResolvedDecision:
    """Fix what will be confirmed: the picked configurations, the looks and the budget.

    Args:
        trials: all trials of the sweep.  The stage takes seeds that none of them has.
        challengers: those that are confirmed; the others were answered by their minutes.

    Raises `DoesNotFit` if no look fits the budget.
    """
    decide = spec.decide
    assert decide is not None
    names = (*challengers, decide.baseline)
    pair_minutes = sum(picked.minutes[name] for name in names)
    budget = decide.budget_minutes(picked.search_minutes, pair_minutes)
    looks = decide.fitting(budget, pair_minutes)
    if not looks:
        hours = decide.looks[0] * pair_minutes / 60
        raise DoesNotFit(
            f"the first look ({decide.looks[0]} pairs) takes about {hours:.2g} hours of trials, "
            f"and decide.budget.hours is {decide.budget.hours:g}"
        )
    seeds = [*spec.search.seeds, *(int(trial.config["seed"]) for trial in trials)]
    return ResolvedDecision(
        number=next_number(trials),
        configurations={name: picked.params[name] for name in names},
        config_ids=picked.config_ids,
        first_seed=1 + max(seeds),
        looks=looks,
        margin=decide.margin,
        prior_variance=picked.prior.variance,
        prior_df=picked.prior.df,
        budget_minutes=budget,
    )


def design_of(decide: DecideSpec, decision: ResolvedDecision) -> Design:
    """The group-sequential design of a fixed decision."""
    return Design(tuple(decision.looks), decision.margin, decide.ask)


@dataclass
class Stage:
    """The trials and looks of one fixed decision, as the ledger gives them.

    Attributes:
        trials: all trials of the sweep.
    """

    ledger: Ledger
    spec: SweepSpec
    decision: ResolvedDecision
    trials: Sequence[TrialRecord]

    @property
    def decide(self) -> DecideSpec:
        assert self.spec.decide is not None
        return self.spec.decide

    @cached_property
    def own(self) -> list[TrialRecord]:
        """The stage's trials."""
        return confirming(self.trials, self.decision.number)

    @cached_property
    def pairs(self) -> dict[str, list[Pair]]:
        """The ended pairs of every challenger that is confirmed."""
        baseline = self.decide.baseline
        return {
            name: pairs_of(self.own, name, baseline)
            for name in self.decide.challengers
            if name in self.decision.configurations
        }

    @cached_property
    def looks(self) -> dict[str, list[Look]]:
        """The looks that were taken, by challenger.  Raises `PredictionsError`."""
        prior = PriorVariance(self.decision.prior_variance, self.decision.prior_df)
        return judged(
            self.ledger, design_of(self.decide, self.decision), self.pairs,
            self.decide.metric, prior, self.decide.share_alpha,
        )  # fmt: skip

    @property
    def open(self) -> list[str]:
        """The challengers that take part in the next look.

        `in_order` asks one after the other, and ends with the first that gets no answer.
        """
        names = []
        for name, looks in self.looks.items():
            over = bool(looks) and looks[-1].final
            if not over:
                names.append(name)
            answered = over and looks[-1].state != "open"
            if self.decide.share_alpha == "in_order" and not answered:
                break
        return names

    @property
    def spent(self) -> float:
        """Trial-minutes so far."""
        return contestants.cost(self.own)

    def next_count(self) -> int:
        """Pairs up to the next look; 0 if the stage is over."""
        if not self.open:
            return 0
        taken = min(len(self.looks[name]) for name in self.open)
        if taken >= len(self.decision.looks) or (
            taken and self.spent > _OVERRUN * self.decision.budget_minutes
        ):
            return 0
        return self.decision.looks[taken]


class Confirming:
    """Gives the confirming stage's trials, look by look.

    Args:
        say: shows a message to the user.
        on_look: called when a look begins: its number from 1, how many there are, and the
            trial-minutes that are left.
    """

    def __init__(
        self,
        ledger: Ledger,
        spec: SweepSpec,
        identify: Callable[[TrainConfig], dict[str, Any]],
        say: Callable[[str], None] = lambda text: None,
        on_look: OnLook = lambda look, looks, minutes: None,
    ):
        self._on_look = on_look
        assert spec.decide is not None and spec.resolved.decision is not None
        self._ledger, self._spec, self._identify, self._say = ledger, spec, identify, say
        self._decision: ResolvedDecision = spec.resolved.decision

    def stage(self) -> Stage:
        """The stage as the ledger has it now."""
        trials = on_equal_examples(current(self._spec.to_dict(), self._ledger.trials()))
        return Stage(self._ledger, self._spec, self._decision, trials)

    def next_look(self) -> list[Job]:
        """All trials up to the next look, for `ConfirmQueue`; none if the stage is over."""
        stage = self.stage()
        count = stage.next_count()
        names = stage.open
        if not count:
            return []
        looks = self._decision.looks
        left = max(0.0, self._decision.budget_minutes - stage.spent)
        self._on_look(looks.index(count) + 1, len(looks), left)
        self._say(
            f"confirming: look {looks.index(count) + 1} of {len(looks)}, after {count} pairs of "
            f"fresh seeds ({', '.join(names)} against {stage.decide.baseline})"
        )
        return [
            self._job(name, pair)
            for pair in range(1, count + 1)
            for name in (*names, stage.decide.baseline)
        ]

    def _job(self, name: str, pair: int) -> Job:
        decision = self._decision
        config = self._spec.config_for(
            decision.configurations[name], decision.first_seed + pair - 1
        )
        marks: Mapping[str, Any] = {
            "stage": CONFIRM, "decision": decision.number, "pair": pair, "method": name,
        }  # fmt: skip
        identity = {**self._identify(config), **marks}
        trial_id = str(identity["trial_id"])
        return Job(trial_id, config, identity, self._ledger.path(trial_id))
