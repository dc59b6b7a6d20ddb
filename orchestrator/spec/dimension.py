"""A searched key of the trial's config: its possible values, and when it acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from trainer.config import field_at

#: A searched key with more possible values than this needs no steps.
MAX_STEPS = 100_000


class Model(BaseModel):
    """A part of a sweep file: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Dimension(Model):
    """One searched key of the trial's config: `choices`, or `low` and `high`."""

    #: Follows from the key's type, so a file need not have it.
    kind: Literal["categorical", "int", "float"]
    choices: list[Any] | None = Field(default=None, min_length=1, max_length=1_000)
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None
    #: Another key -> its values with which this one is searched; a list or a single value.
    when: dict[str, list[Any]] = Field(default_factory=dict)

    @field_validator("when", mode="before")
    @classmethod
    def _values_are_lists(cls, when: Any) -> Any:
        if not isinstance(when, dict):
            return when
        return {key: v if isinstance(v, list) else [v] for key, v in when.items()}

    @model_validator(mode="after")
    def _is_consistent(self) -> Dimension:
        if self.choices is not None:
            extra = [k for k in ("low", "high", "step") if getattr(self, k) is not None]
            if extra or self.log:
                raise ValueError(f"choices and {(extra or ['log'])[0]} exclude each other")
            if any(c in self.choices[:i] for i, c in enumerate(self.choices)):
                raise ValueError("a choice appears twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("needs choices, or low and high")
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError("log needs low > 0")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.step is not None:
            steps = (self.high - self.low) / self.step if self.step > 0 else -1.0
            if steps < 0 or abs(steps - round(steps)) > 1e-6:
                raise ValueError(f"step {self.step} does not lead from low to high")
            if steps > MAX_STEPS:
                raise ValueError(f"step {self.step} makes more than {MAX_STEPS:,} steps")
        if self.kind == "int":
            fractional = [k for k in ("low", "high", "step") if isinstance(getattr(self, k), float)]
            if fractional:
                raise ValueError(f"{fractional[0]} must be a whole number")
        return self

    def can_be(self, value: Any) -> bool:
        """Whether this dimension can have `value`, without regard to steps."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.low or 0) <= value <= (self.high or 0)

    def points(self) -> Sequence[Any] | None:
        """Every possible value; None if there are infinitely many."""
        if self.choices is not None:
            return self.choices
        low, high = self.low or 0, self.high or 0
        step = self.step or (1 if self.kind == "int" and not self.log else None)
        if step is None:
            return None
        if self.kind == "int":
            return range(int(low), int(high) + 1, int(step))
        count = round((high - low) / step) + 1
        return [round(low + i * step, 12) for i in range(count)]  # 0.1 + 2 * 0.1 is 0.3

    def describe(self) -> str:
        """The possible values as text: `320, 640` or `0.1 to 1.0, log`."""
        if self.choices is not None:
            return ", ".join(str(choice) for choice in self.choices)
        step = f", step {self.step}" if self.step is not None else ""
        return f"{self.low} to {self.high}{step}{', log' if self.log else ''}"


def with_kind(key: str, dimension: Any) -> Any:
    """A dimension as written, with the kind that follows from its key's type and its values."""
    if not isinstance(dimension, dict) or "kind" in dimension:
        return dimension
    if dimension.get("choices") is not None:
        return {"kind": "categorical", **dimension}
    field = field_at(key)
    # Field types are text (postponed annotations): "int", "float", "int | dict[str, int]", ...
    kind = "int" if field is not None and "int" in str(field.type) else "float"
    return {"kind": kind, **dimension}
