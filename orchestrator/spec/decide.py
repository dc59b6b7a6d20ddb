"""The keys of `decide`: the question that a sweep answers, and how many fresh seeds it may take."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from orchestrator.spec.dimension import Model

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
        default_factory=lambda: ["arrp", "annealed"]
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

    @model_validator(mode="after")
    def _names_differ(self) -> DecideSpec:
        if len(set(self.compare)) != len(self.compare):
            raise ValueError("compare: a method appears twice")
        if isinstance(self.choose, dict) and (extra := set(self.choose) - set(self.compare)):
            raise ValueError(f"choose: {', '.join(sorted(extra))}: not in compare")
        return self

    @property
    def baseline(self) -> str:
        """The method that the others are compared with."""
        return self.compare[-1]

    @property
    def challengers(self) -> list[str]:
        """The methods that are compared with the baseline."""
        return self.compare[:-1]
