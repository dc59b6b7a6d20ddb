"""The measurements of a timing session: its configurations and its rounds."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Measured(BaseModel):
    """Part of a session's file."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class TimedPhase(Measured):
    """A phase's updates and examples per epoch, on average over the trial's epochs."""

    name: str
    updates: float = Field(gt=0)
    examples: float = Field(gt=0)


class TimedConfig(Measured):
    """A configuration of the session.

    `without_surgery_of`: the session added this configuration, with the plain sum as its combiner,
    to measure what the combiners of these configurations cost.  It differs in nothing else.
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
    """`trainer.step_timing.Round`; its turns by config id.

    `order` has the config ids in the order of their turns.  It is empty in sessions of earlier
    versions, where every round had the order of the session's `configs`.
    """

    number: int
    contended: bool | None
    foreign_load: float | None
    turns: dict[str, list[TimedStretch]]
    order: list[str] = Field(default_factory=list)
