"""The options of a comparison. They load nothing, so that a wrong option is reported at once."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import UserError


@dataclass(frozen=True)
class ComparisonOptions:
    """What is compared, and how.

    Attributes:
        metric: the metric that the answer is about.
        by: the keys whose values make a method; by default sampler, combiner and frozen set.
        methods: names or beginnings of names; empty for all. The baseline always takes part.
        margin: a difference of the metric up to this size does not matter.

    Raises `UserError` for a margin that is none.
    """

    metric: str = "dev_score"
    by: tuple[str, ...] = ()
    baseline: str = ""
    methods: tuple[str, ...] = ()
    margin: float = 0.005
    seed: int = 0
    replicates: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise UserError(f"--margin {self.margin:g}: must lie between 0 and 1")
