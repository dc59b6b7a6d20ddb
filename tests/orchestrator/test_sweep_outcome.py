"""The exit code of a sweep: 0 only where all that was asked for was done."""

from __future__ import annotations

import pytest

from orchestrator.sweep_outcome import SweepOutcome


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (SweepOutcome(4), 0),
        (SweepOutcome(4, {"a": "diverged"}), 1),
        (SweepOutcome(4, error="the disk is full"), 1),
        (SweepOutcome(4, left_out=2), 3),
        (SweepOutcome(4, {"a": "diverged"}, left_out=2), 1),
        (SweepOutcome(4, {"a": "diverged"}, interrupted=True, left_out=2), 130),
    ],
    ids=["all done", "failed", "stopped", "budget", "failed and budget", "interrupted"],
)
def test_the_gravest_end_gives_the_code(outcome: SweepOutcome, code: int) -> None:
    assert outcome.exit_code == code
