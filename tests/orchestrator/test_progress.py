"""What a person reads while a sweep runs, on a terminal and off it."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.progress import LiveProgress, Pace, PlainProgress, make_progress, say
from trainer.config import TrainConfig


def job(number: int) -> Any:
    config = TrainConfig(sampler="arrp", freeze="encoder", lambda_=0.5, epochs=3, seed=7)
    return SimpleNamespace(trial_id=f"round_robin-{number:012d}", config=config)


def tell(console: Console, progress: Any) -> None:
    progress.total(3, 14)
    progress.started(job(1))
    progress.epoch(job(1), 2, {"dev_score": 0.6123, "minutes_per_epoch": 0.02})
    progress.warned(job(1), "epoch 3 cannot be resumed from (it is gone); falling back to epoch 2")
    progress.retried(job(1), "OSError: [red]\n  in two lines")
    progress.total(4, 14)
    progress.ended(job(1), "failed", "ValueError: [red] is no style")
    say(console, "tracking: [x] does not answer")
    progress.say("stopping")
    progress.close()


def test_off_a_terminal_every_event_is_one_plain_line() -> None:
    console = Console(file=io.StringIO(), width=40)
    progress = make_progress(console, ["lambda", "dropout", "draws_per_step"])
    assert isinstance(progress, PlainProgress)
    tell(console, progress)
    trial = "round_robin-000000000001"
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        f"[ 3/14] {trial} started: arrp F=encoder λ=0.5 B=24000 dropout=0.3, seed 7",
        f"[ 3/14] {trial} epoch 2/3 dev_score 0.612 0.020 min",
        f"[ 3/14] {trial} epoch 3 cannot be resumed from (it is gone); falling back to epoch 2",
        f"[ 3/14] {trial} is tried again from its last epoch: OSError: [red] in two lines",
        f"[ 4/14] {trial} failed: ValueError: [red] is no style",
        "tracking: [x] does not answer",
        "stopping",
    ]


def on_terminal(width: int = 120, height: int = 24) -> tuple[Console, LiveProgress]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    progress = make_progress(console)
    assert isinstance(progress, LiveProgress)
    return console, progress


def test_on_a_terminal_the_table_shows_every_trial() -> None:
    console, progress = on_terminal()
    tell(console, progress)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    said = ("epoch 3 cannot be resumed from", "stopping", "does not answer")
    for part in ("4/14 trials", "round_robin-000000000001", "arrp F=encoder λ=0.5", *said):
        assert part in text, part


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 10), (200, 50)])
def test_the_table_fits_and_a_trial_is_a_line(width: int, height: int) -> None:
    _, progress = on_terminal(width, height)
    progress.total(30, 40)
    for number in range(30):
        progress.started(job(number))
        progress.epoch(job(number), 2, {"dev_score": 0.6, "minutes_per_epoch": 100.0})
        if number >= 3:
            progress.ended(job(number), "failed", "ValueError: long reasons\n" + "of words " * 40)
    progress.close()
    drawing = Console(file=io.StringIO(), width=width, height=height)
    drawing.print(progress._table())
    lines = drawing.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) < height and all(len(line) <= width for line in lines)
    rows = lines[2:]
    assert all(row.startswith("round_robin-") for row in rows)
    assert [row.split()[0][-1] for row in rows[:3]] == ["0", "1", "2"]
    assert all("running" in row for row in rows[:3]) and all("failed" in row for row in rows[3:])


def test_metrics_that_are_not_there_leave_their_cells_empty() -> None:
    _, progress = on_terminal()
    progress.epoch(job(1), 1, {"dev_score": None})
    progress.close()
    cells = progress._running[job(1).trial_id].cells()
    assert cells["dev_score"] == cells["min/epoch"] == ""


def pace_after(seconds: float, *totals: tuple[int, int]) -> Pace:
    """A pace to whose last total it took so many seconds."""
    now = [100.0]
    pace = Pace(lambda: now[0])
    for total in totals[:-1]:
        pace.total(*total)
    now[0] += seconds
    pace.total(*totals[-1])
    return pace


def test_the_rest_is_estimated_from_what_ended_in_this_run() -> None:
    # 10 of 20 were there before; the next 4 took 20 minutes, so the other 6 take 30.
    assert pace_after(1200, (10, 20), (14, 20)).to_go() == "about 30 min to go"
    assert pace_after(7200, (0, 40), (10, 40)).to_go() == "about 6 h 0 min to go"


@pytest.mark.parametrize(
    ("seconds", "totals"),
    [
        (3600, [(0, 20), (2, 20)]),  # of three at a time two have ended
        (20, [(0, 20), (10, 20)]),
        (3600, [(0, 20), (20, 20)]),
        (3600, [(18, 20), (20, 20)]),
    ],
    ids=["few", "soon", "done", "done before"],
)
def test_nothing_is_estimated_where_little_is_known_or_left(
    seconds: float, totals: list[tuple[int, int]]
) -> None:
    assert pace_after(seconds, *totals).to_go() == ""


def test_both_say_how_long_it_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "to_go", lambda pace: "about 3 min to go")
    console = Console(file=io.StringIO(), width=80)
    tell(console, PlainProgress(console))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "ValueError: [red] is no style, about 3 min to go" in written
    _, live = on_terminal()
    live.close()
    assert str(live._table().title).endswith(", about 3 min to go")
