"""Samplers: which examples of which tasks each step of an epoch sees.

A sampler is a function of an `Epoch` that returns its phases.  `registry` lists all of them.
"""

from trainer.samplers.base import (
    Draw,
    Epoch,
    Phase,
    Sampler,
    SamplerError,
    Step,
    accumulate,
    passes_of,
    split_steps,
)

__all__ = [
    "Draw",
    "Epoch",
    "Phase",
    "Sampler",
    "SamplerError",
    "Step",
    "accumulate",
    "passes_of",
    "split_steps",
]
