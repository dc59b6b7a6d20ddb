"""What confirming can decide, and what it costs, before compute is spent: `orch plan`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from orchestrator.decision import contestants
from orchestrator.decision.plan import uncertainty
from orchestrator.decision.plan.uncertainty import Uncertainty
from orchestrator.decision.rule.looks import Design
from orchestrator.decision.rule.power import Variances, operating, smallest_margin
from orchestrator.decision.titles import question_of, title_of
from orchestrator.ledger.current import current, searched
from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.decide_checks import possible_methods
from orchestrator.spec.dry_run import configurations
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.spec import SweepSpec

MARGINS = (0.005, 0.01, 0.02, 0.05)
#: The probability of an answer that a plan aims at.
POWER = 0.8
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Row:
    """One margin.

    Attributes:
        reachable: whether any number of seeds answers, with the wanted probability, if the methods
            are equal.
        if_equal, if_worse: the probability of an answer if the methods are equal, and if the first
            one is worse by the margin.
        mean_pairs: if the methods are equal.
        trials: on average and at most.
        minutes: of training in all trials; None if unknown.
        hours: with as many trials at once as the sweep allows.
    """

    margin: float
    reachable: bool
    if_equal: float
    if_worse: float
    mean_pairs: float
    most_pairs: int
    trials: tuple[float, int]
    minutes: tuple[float, float] | None
    hours: tuple[float, float] | None


@dataclass(frozen=True)
class Plan:
    """What fresh seeds can decide about a sweep's question.

    Attributes:
        compare: the methods, the baseline last.
        pair_deviation, shared_deviation: standard deviations of a pair's difference and of the part
            from the dev examples, which all seeds share; None if unknown.
        source: where these come from, for people.
        smallest: the smallest margin that the looks decide with the probability `power`.
        smallest_in_budget: the same with the looks that fit the budget.
        smallest_at_all: the same with any number of seeds.
        looks: all that are planned.
        in_budget: those that fit `decide.budget`; None if the cost is unknown.
        budget_minutes: of training; None if unknown.
        rows: by margin.
        within: the asked margin with the looks that fit the budget.
        trials_at_once: for hours.
        notes: warnings, and what would help.
    """

    name: str
    question: str
    compare: list[str]
    ask: str
    metric: str
    margin: float
    power: float
    looks: list[int]
    pair_deviation: float | None = None
    shared_deviation: float | None = None
    source: str = ""
    guessed: bool = True
    smallest: float | None = None
    smallest_in_budget: float | None = None
    smallest_at_all: float | None = None
    in_budget: list[int] | None = None
    budget_minutes: float | None = None
    rows: list[Row] = field(default_factory=list)
    within: Row | None = None
    trials_at_once: int = 1
    notes: list[str] = field(default_factory=list)

    @property
    def out_of_reach(self) -> bool:
        """Whether no number of seeds decides the asked margin."""
        return self.smallest_at_all is not None and self.margin < self.smallest_at_all

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "out_of_reach": self.out_of_reach}


def question_in(spec: SweepSpec) -> DecideSpec:
    """The question of a sweep: its own, or the one it would have by default.

    Without `decide` that is ARRP against annealed PCGrad, or else the first method against the
    second one.
    """
    if spec.decide is not None:
        return spec.decide
    names = possible_methods(spec)
    default = DecideSpec()
    if len(names) < 2 or all(any(n.startswith(each) for n in names) for each in default.compare):
        return default
    return DecideSpec(compare=names[:2], ask="score")


def with_margin(spec: SweepSpec, margin: float) -> SweepSpec:
    """The sweep with another margin in its question."""
    decide = question_in(spec).model_copy(update={"margin": margin})
    return spec.model_copy(update={"decide": decide})


def plan(
    spec: SweepSpec,
    ledger: Ledger | None = None,
    trials: Sequence[TrialRecord] | None = None,
    *,
    power: float = POWER,
    deviation: float | None = None,
    margins: Iterable[float] = MARGINS,
) -> Plan:
    """What fresh seeds can decide, from the sweep's trials, its pilot, or a guess.

    Args:
        ledger: of the sweep, if there is one.
        trials: its trials that count, if the caller has read them.
        deviation: a known standard deviation between pairs of seeds.
        margins: further margins to show.
    """
    decide = question_in(spec)
    if trials is None:
        trials = current(spec.to_dict(), ledger.trials()) if ledger is not None else []
    known = _known(spec, ledger, trials, decide)
    if known is not None and deviation is not None:
        known = known.with_deviation(deviation)
    return _Planner(spec, decide, trials, known, power).plan(margins)


def _known(
    spec: SweepSpec, ledger: Ledger | None, trials: Sequence[TrialRecord], decide: DecideSpec
) -> Uncertainty | None:
    """The uncertainty from the best source."""
    from orchestrator.decision.plan.pilot import pilot_name
    from orchestrator.ledger import Ledger

    if ledger is not None:
        if known := uncertainty.measured(ledger, trials, decide):
            return known
        pilot = Ledger(ledger.out, pilot_name(spec))
        if known := uncertainty.measured(pilot, pilot.trials(), decide):
            return replace(known, source=f"{known.source} of {pilot.name}")
    config = spec.config_for(spec.enqueue[0] if spec.enqueue else {}, spec.search.seeds[0])
    sizes = _dev_sizes(config)
    if sizes is None:
        return None
    return uncertainty.guessed(config, _limited(config, sizes), decide.metric)


def _dev_sizes(config: TrainConfig) -> dict[str, int] | None:
    """Examples of each dev set on this machine; None if they cannot be read here."""
    from trainer.data.corpus import DataError  # loads torch
    from trainer.data.sources import dev_sizes  # loads torch

    try:
        return dict(dev_sizes(config))
    except (DataError, OSError):
        return None


def _limited(config: TrainConfig, sizes: Mapping[str, int]) -> dict[str, int]:
    limits = config.data.dev_limit
    return {name: min(size, limits.get(name, size)) for name, size in sizes.items()}


@dataclass
class _Planner:
    """The steps of `plan`."""

    spec: SweepSpec
    decide: DecideSpec
    trials: Sequence[TrialRecord]
    known: Uncertainty | None
    power: float

    def plan(self, margins: Iterable[float]) -> Plan:
        spec, decide, known = self.spec, self.decide, self.known
        budget, fitting = self._budget()
        whole = Plan(
            name=spec.name,
            question=spec.question or self._question(),
            compare=self.names,
            ask=decide.ask,
            metric=decide.metric,
            margin=decide.margin,
            power=self.power,
            looks=decide.looks,
            budget_minutes=budget,
            in_budget=fitting,
            trials_at_once=spec.resources.max_concurrent,
        )
        if known is None:
            note = "The dev sets cannot be read here, so the chance in them is not known."
            return replace(whole, notes=[note])
        variances = known.variances
        at_all = smallest_at_all(decide.ask, variances, self.power, self._alpha)
        asked = sorted({*margins, decide.margin})
        rows = [self.row(margin, decide.looks, at_all) for margin in asked]
        whole = replace(
            whole,
            pair_deviation=math.sqrt(variances.pairs),
            shared_deviation=math.sqrt(variances.shared),
            source=known.source,
            guessed=known.guessed,
            smallest_at_all=at_all,
            smallest=self._smallest(decide.looks),
            smallest_in_budget=self._smallest(fitting) if fitting else None,
            rows=rows,
            within=self.row(decide.margin, fitting, at_all) if fitting else None,
        )  # fmt: skip
        return replace(whole, notes=list(self._notes(whole)))

    def row(self, margin: float, looks: Sequence[int], at_all: float) -> Row:
        assert self.known is not None
        design, variances = self._design(margin, looks), self.known.variances
        equal = operating(design, variances, 0.0)
        worse = operating(design, variances, -margin)
        sides = len(self.names)
        trials = equal.pairs * sides, looks[-1] * sides
        minutes = hours = None
        if self.known.minutes:
            pair = sum(self.known.minutes[name] for name in self.names)
            minutes = equal.pairs * pair, looks[-1] * pair
            at_once = 60 * self.spec.resources.max_concurrent
            hours = minutes[0] / at_once, minutes[1] / at_once
        return Row(
            margin=margin,
            reachable=margin >= at_all,
            if_equal=1 - equal.answers.get("open", 0.0),
            if_worse=1 - worse.answers.get("open", 0.0),
            mean_pairs=equal.pairs,
            most_pairs=looks[-1],
            trials=trials,
            minutes=minutes,
            hours=hours,
        )

    @property
    def names(self) -> list[str]:
        """The methods that train fresh seeds: once it is fixed, those whose minutes are open."""
        decision = self.spec.resolved.decision
        return list(decision.configurations) if decision is not None else self.decide.compare

    def _smallest(self, looks: Sequence[int]) -> float | None:
        assert self.known is not None
        design = self._design(self.decide.margin, looks)
        return smallest_margin(design, self.known.variances, self.power)

    @property
    def _alpha(self) -> float:
        """The error rate of one method where several share it."""
        shared = len(self.decide.challengers) if self.decide.share_alpha == "holm" else 1
        return 0.05 / shared

    def _design(self, margin: float, looks: Sequence[int]) -> Design:
        return Design(tuple(looks), margin, self.decide.ask, self._alpha)

    def _question(self) -> str:
        one, other = (title_of(name) for name in (self.decide.compare[0], self.decide.baseline))
        return question_of(one, other, self.decide.ask, self.decide.metric)

    def _budget(self) -> tuple[float | None, list[int] | None]:
        """Trial-minutes that confirming may take, and the looks that fit.

        Before any trial, all trials count as equally long.
        """
        decision = self.spec.resolved.decision
        if decision is not None:
            return decision.budget_minutes, list(decision.looks)
        planned = configurations(self.spec) * len(self.spec.search.seeds)
        tried = [trial for trial in searched(self.trials) if trial.records]
        minutes = self.known.minutes if self.known is not None else {}
        if minutes and tried:
            each = contestants.cost(tried) / len(tried)
            pair = sum(minutes.values())
        elif minutes:  # of a pilot
            each, pair = sum(minutes.values()) / len(minutes), sum(minutes.values())
        else:
            each, pair = 1.0, float(len(self.decide.compare))
        budget = self.decide.budget_minutes(each * max(planned, len(tried)), pair)
        fitting = self.decide.fitting(budget, pair)
        if not minutes:
            return None, fitting if self.decide.budget.hours is None else None
        return budget, fitting

    def _notes(self, plan: Plan) -> Iterable[str]:
        assert self.known is not None
        if plan.out_of_reach:
            yield (
                f"A margin of {plan.margin:g} is out of reach: the chance of the dev examples "
                "alone needs a larger margin, with any number of seeds."
            )
            yield from self._helps(plan)
        elif plan.within is not None and plan.within.if_equal < self.power:
            yield (
                f"With decide.budget, a margin of {plan.margin:g} gets an answer in "
                f"{plan.within.if_equal:.0%} of cases if the methods are equal."
            )
        if plan.in_budget == [] and plan.budget_minutes is not None:
            hours = self.decide.budget.hours
            budget = "decide.budget" if hours is None else f"decide.budget.hours ({hours:g})"
            yield f"The first look does not fit {budget}, so nothing would be trained."
        if plan.guessed:
            yield "The numbers are estimated.  A pilot of a few trials measures them (--pilot)."

    def _helps(self, plan: Plan) -> Iterable[str]:
        """What would bring a margin within reach."""
        assert self.known is not None and plan.smallest_at_all is not None
        whole = self._with_whole_dev_sets()
        command = f"orch evaluate {self.spec.name}, or evaluate_at_end: all"
        if whole is not None:
            best = smallest_at_all(self.decide.ask, whole, self.power, self._alpha)
            yield (
                f"What helps: whole dev sets ({command}). They can decide margins from about "
                f"{round_up(best):g}."
            )
        elif not self.known.dev or self._is_limited():
            yield f"What helps: whole dev sets ({command})."
        yield f"A margin of {round_up(plan.smallest_at_all):g} is within reach of these dev sets."

    def _is_limited(self) -> bool:
        config = self.spec.config_for({}, self.spec.search.seeds[0])
        return bool(config.data.dev_limit)

    def _with_whole_dev_sets(self) -> Variances | None:
        """The variances if all dev examples counted; None if they count already, or are not here.

        The variance of a mean over examples falls as their number grows.
        """
        assert self.known is not None
        config = self.spec.config_for({}, self.spec.search.seeds[0])
        sizes = _dev_sizes(config)
        if sizes is None:
            return None
        now = self.known.dev
        parts = uncertainty.weights(config, self.decide.metric)
        if not all(task.name in now and task.name in sizes for task, _ in parts):
            return None
        if all(sizes[task.name] <= now[task.name] for task, _ in parts):
            return None
        before, after = (
            sum(weight**2 / each[task.name] for task, weight in parts) for each in (now, sizes)
        )
        variances = self.known.variances
        return replace(variances, shared=variances.shared * min(1.0, after / before))


def smallest_at_all(ask: str, variances: Variances, power: float, alpha: float = 0.05) -> float:
    """The smallest margin that any number of seeds decides if the methods are equal.

    What is left is the chance of the dev examples: the interval reaches from the estimate by the
    quantile of 1 - alpha, the level of the margin's tests, and the estimate itself lies within
    another quantile.
    """
    beyond = power if ask == "minutes" else (1 + power) / 2
    reach = _NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(beyond)
    return reach * math.sqrt(variances.shared)


def round_up(value: float) -> float:
    """To two digits, upwards: a smaller margin would be out of reach."""
    if value <= 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(value / step - 1e-9) * step, 10)
