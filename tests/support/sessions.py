"""Timing sessions with known seconds."""

from __future__ import annotations

from typing import Any

import trainer.loop.clock
import trainer.step_timing
from orchestrator.ledger.timing_sessions import Session

ABOUT: dict[str, Any] = {
    "started_at": "2026-01-01T00:00:00.000Z", "finished_at": "2026-01-01T00:01:00.000Z",
    "device": "cpu: test", "threads": 1, "host": "h", "git_commit": "", "versions": {},
    "rounds_wanted": 5, "steps": 1,
}  # fmt: skip


def made_up(seconds: dict[str, Any], contended: Any = False, **changes: Any) -> Session:
    """A session of configurations with one phase; `seconds` are those of a step in each round."""
    count = len(next(iter(seconds.values())))
    marks = contended if isinstance(contended, list) else [contended] * count
    phase = {"name": "main", "updates": 60.0, "examples": 480.0}
    about = {"trial_ids": [], "precision": "fp32", "phases": [phase]}
    parts = dict.fromkeys(trainer.loop.clock.STEP_PARTS, 0.0)
    return Session.model_validate(
        ABOUT
        | {
            "configs": [{"config_id": name, "label": name, **about} for name in seconds],
            "rounds": [
                {
                    "number": number, "contended": mark, "foreign_load": 0.0,
                    "turns": {
                        name: [{"phase": "main", "steps": 1, "seconds": float(column[number]),
                                "parts": parts | {"surgery": float(column[number]) / 4}}]
                        for name, column in seconds.items()
                    },
                }
                for number, mark in enumerate(marks)
            ],
        }
        | changes
    )  # fmt: skip
