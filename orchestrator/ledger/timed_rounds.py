"""What a timing session measured: the configurations that took part, and its rounds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Measured(BaseModel):
    """Read from a file, and not changed."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class TimedPhase(Measured):
    """A phase's updates and examples an epoch, on average over the trial's epochs."""

    name: str
    updates: float = Field(gt=0)
    examples: float = Field(gt=0)


class TimedConfig(Measured):
    """What took part.

    `without_surgery_of`: the configurations that differ from it in the combiner alone, where it
    was added with the plain sum to see what theirs costs.
    """

    config_id: str
    label: str
    trial_ids: list[str]
    precision: str
    phases: list[TimedPhase] = Field(min_length=1)
    without_surgery_of: list[str] = Field(default_factory=list)


class TimedStretch(Measured):
    """`trainer.step_timing.Stretch`."""

    phase: str
    steps: int = Field(ge=1)
    seconds: float = Field(gt=0)
    parts: dict[str, float]


class TimedRound(Measured):
    """`trainer.step_timing.Round`; its turns by config id."""

    number: int
    contended: bool | None
    foreign_load: float | None
    turns: dict[str, list[TimedStretch]]
