"""The keys of `decide`: the question that a sweep answers, and how many fresh seeds it may take."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from orchestrator.spec.dimension import Model

#: The question of the paper P0: a method, and its baseline.
CHALLENGER = "arrp"
BASELINE = "annealed"

Pairs = Annotated[int, Field(ge=2, le=1000)]


class DecideBudget(Model):
    """The most training that confirming may cost, over all runs of the sweep.

    `share` is a share of the search's trial-minutes, but allows at least the first look.  `hours`
    of trials is a hard limit: if the first look does not fit, nothing is trained.
    """

    share: Annotated[float, Field(gt=0)] = 0.25
    hours: Annotated[float, Field(gt=0)] | None = None


class DecideSpec(Model):
    """The question, and the fresh seeds that answer it when the search is over.

    The last name in `compare` is the baseline.  A name is a method (`arrp+pcgrad`), or the
    beginning of several methods' names (`arrp`), which then count as one method.
    """

    compare: Annotated[list[str], Field(min_length=2)] = Field(
        default_factory=lambda: [CHALLENGER, BASELINE]
    )
    #: `minutes`: does it reach the baseline's score in fewer minutes per epoch?  `score`: is its
    #: score higher?
    ask: Literal["minutes", "score"] = "minutes"
    #: dev_score, dev_mean or a task's name.
    metric: str = "dev_score"
    #: A difference of the metric up to this size does not matter.
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    #: The numbers of pairs of fresh seeds after which the rule looks.
    looks: Annotated[list[Pairs], Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: [3, 5, 8, 12, 20, 30, 45]
    )
    #: Which configuration of a method is confirmed: the `fastest` within one standard error of the
    #: method's best score, the `best`, or by the method's name in `compare` the params of one.
    choose: Literal["fastest", "best"] | dict[str, dict[str, Any]] = "fastest"
    #: How several methods share the error rate: by Holm's method, or `in_order` of `compare`, each
    #: only if the one before it was answered.
    share_alpha: Literal["holm", "in_order"] = "holm"
    budget: DecideBudget = Field(default_factory=DecideBudget)

    @field_validator("looks")
    @classmethod
    def _looks_rise(cls, looks: list[int]) -> list[int]:
        if any(later <= earlier for earlier, later in zip(looks, looks[1:], strict=False)):
            raise ValueError("must rise: 3, 5, 8")
        return looks

    @field_validator("compare")
    @classmethod
    def _names_differ(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError("a method appears twice")
        return names

    @property
    def baseline(self) -> str:
        """The method that the others are compared with."""
        return self.compare[-1]

    def budget_minutes(self, search_minutes: float, pair_minutes: float) -> float:
        """Trial-minutes that confirming may take.

        Args:
            search_minutes: what the search has taken.
            pair_minutes: what one pair takes.
        """
        if self.budget.hours is not None:
            return 60 * self.budget.hours
        return max(self.budget.share * search_minutes, self.looks[0] * pair_minutes)

    def fitting(self, budget: float, pair_minutes: float) -> list[int]:
        """The looks that fit a budget of trial-minutes."""
        return [count for count in self.looks if count * pair_minutes <= budget * (1 + 1e-9)]

    @property
    def challengers(self) -> list[str]:
        """The methods that are compared with the baseline."""
        return self.compare[:-1]


class ResolvedDecision(Model):
    """What was fixed when the search was over: `resolved.decision`.  Later runs keep it.

    The trials of the confirming stage belong to it by its number (`decision` in config.json).
    """

    model_config = ConfigDict(allow_inf_nan=True)

    #: 1, then one more after every `--reopen`.
    number: Annotated[int, Field(ge=1)] = 1
    #: By the method's name in `compare`: what distinguishes the configuration, as dotted keys.
    configurations: dict[str, dict[str, Any]]
    config_ids: dict[str, str]
    #: Pair i has the seed `first_seed + i - 1`.
    first_seed: Annotated[int, Field(ge=0, le=2**31)]
    #: The looks of `decide` that fit the budget.
    looks: list[Pairs]
    margin: Annotated[float, Field(gt=0, lt=1)]
    #: Of a pair's difference, pooled over the search's configurations, and its degrees of freedom.
    prior_variance: Annotated[float, Field(ge=0)]
    prior_df: Annotated[float, Field(ge=0)]
    #: Trial-minutes that confirming may take, over all runs of the sweep.
    budget_minutes: Annotated[float, Field(ge=0)]

    @field_validator("prior_df", mode="before")
    @classmethod
    def _null_is_infinite(cls, df: Any) -> Any:
        """JSON has no infinity."""
        return math.inf if df is None else df
