"""What `orch time` prints about minutes and about the cost of surgery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger.timing_sessions import FOLDER, Session
from tests.support.command import orch
from tests.support.ledgers import write_trial


def session(with_surgery: list[float], without: list[float]) -> Session:
    """A session of one configuration and its twin without surgery, from seconds by round."""
    phase = {"name": "all", "updates": 60, "examples": 480}
    about: dict[str, Any] = {"trial_ids": [], "precision": "fp32", "phases": [phase]}

    def turn(seconds: float) -> list[dict[str, Any]]:
        return [{"phase": "all", "steps": 1, "seconds": seconds, "parts": {"surgery": 0.1}}]

    rounds = [
        {
            "number": number, "contended": False, "foreign_load": 0.0,
            "turns": {"a": turn(one), "b": turn(other)},
        }
        for number, (one, other) in enumerate(zip(with_surgery, without, strict=True))
    ]  # fmt: skip
    configs = [
        {"config_id": "a", "label": "arrp+pcgrad", **about},
        {"config_id": "b", "label": "arrp+sum", "without_surgery_of": ["a"], **about},
    ]
    return Session.model_validate(
        {
            "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:00Z",
            "device": "cpu", "threads": 1, "host": "", "git_commit": "", "versions": {},
            "rounds_wanted": 6, "steps": 1, "rounds": rounds, "configs": configs,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ([1.0, 1.01, 0.99, 1.0, 1.02, 0.98], "arrp+pcgrad: surgery takes 0.5"),
        ([1.7, 2.2, 2.3, 1.6, 2.1, 1.9], "arrp+pcgrad: surgery not measurable, below 1"),
    ],
)
def test_a_cost_that_may_be_none_is_a_bound(
    tmp_path: Path, without: list[float], expected: str
) -> None:
    """The interval of a share that includes 0 said "0.0197 (-0.137 to 0.173) of its time"."""
    write_trial(tmp_path / "s", [0.5])
    (tmp_path / "s" / FOLDER).mkdir()
    timed = session([2.0, 2.02, 1.98, 2.0, 2.01, 1.99], without)
    (tmp_path / "s" / FOLDER / "1.json").write_text(timed.model_dump_json())
    shown = orch("time", "s", "--last", "--out", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    assert expected in shown.stdout
    assert "(-" not in shown.stdout
