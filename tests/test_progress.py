"""What a person reads while a sweep runs, on a terminal and off it."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from orchestrator.progress import LiveProgress, PlainProgress, make_progress, say
from trainer.config import TrainConfig


def job(number: int) -> Any:
    config = TrainConfig(sampler="arrp", freeze="encoder", epochs=3)
    return SimpleNamespace(trial_id=f"arrp-{number:012d}", config=config)


def tell(console: Console, progress: Any) -> None:
    progress.total(3, 14)
    progress.started(job(1))
    progress.epoch(job(1), {"epoch": 2, "dev_score": 0.6123, "minutes_per_epoch": 0.02})
    progress.total(4, 14)
    progress.ended(job(1), "failed", "ValueError: [red] is no style")
    say(console, "tracking: [x] does not answer")
    progress.close()


def test_off_a_terminal_every_event_is_one_plain_line() -> None:
    console = Console(file=io.StringIO(), width=40)
    progress = make_progress(console)
    assert isinstance(progress, PlainProgress)
    tell(console, progress)
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "[ 3/14] arrp-000000000001 started",
        "[ 3/14] arrp-000000000001 epoch 2/3 dev_score 0.612 0.020 min",
        "[ 4/14] arrp-000000000001 failed: ValueError: [red] is no style",
        "tracking: [x] does not answer",
    ]


def test_on_a_terminal_the_table_shows_every_trial() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    progress = make_progress(console)
    assert isinstance(progress, LiveProgress)
    tell(console, progress)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("4/14 trials", "arrp-000000000001", "arrp+pcgrad+freeze-encoder", "[red]"):
        assert part in text, part
