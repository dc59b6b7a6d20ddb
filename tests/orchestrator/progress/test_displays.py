"""What a person reads while a sweep runs, on a terminal and off it."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.ledger import Ledger
from orchestrator.ledger.driver_status import DriverStatus, RunningTrial, read_status
from orchestrator.ledger.stop_request import request_stop
from orchestrator.ledger.sweep_lock import SweepLock
from orchestrator.progress import LiveProgress, PlainProgress, Progress, make_progress
from orchestrator.progress.pace import Pace
from orchestrator.progress.publishing import published
from orchestrator.progress.state import SweepState
from orchestrator.progress.view import draw
from trainer.config import TrainConfig

SIZES = [(40, 24), (60, 10), (80, 24), (120, 30), (200, 50), (80, 4)]


def job(number: int, **config: Any) -> Any:
    config = {
        "sampler": "arrp",
        "freeze": "encoder",
        "lambda_": 0.5,
        "epochs": 3,
        "seed": 7,
    } | config
    name = f"round_robin-{number:012d}"
    return SimpleNamespace(
        trial_id=name, config=TrainConfig(**config), identity={"config_id": name}
    )


def tell(progress: Progress) -> None:
    progress.stage("search")
    progress.total(3, 14)
    progress.started(job(1))
    progress.epoch(job(1), 2, {"dev_score": 0.6123, "minutes_per_epoch": 0.02})
    progress.warned(job(1), "epoch 3 cannot be resumed from (it is gone); falling back to epoch 2")
    progress.retried(job(1), "OSError: [red]\n  in two lines")
    progress.total(4, 14)
    progress.ended(job(1), "failed", "ValueError: [red] is no style")
    progress.say("tracking: [x] does not answer")
    progress.stopping("stopping: soon")
    progress.close()


def test_off_a_terminal_every_event_is_one_plain_line() -> None:
    console = Console(file=io.StringIO(), width=40)
    progress = make_progress(console, ["lambda", "dropout", "draws_per_step"])
    assert isinstance(progress, PlainProgress)
    tell(progress)
    trial = "round_robin-000000000001"
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        f"[ 3/14] {trial} started: arrp F=encoder λ=0.5 B=24000 dropout=0.3, seed 7",
        f"[ 3/14] {trial} epoch 2/3 dev_score 0.612 0.020 min",
        f"[ 3/14] {trial} epoch 3 cannot be resumed from (it is gone); falling back to epoch 2",
        f"[ 3/14] {trial} is tried again from its last epoch: OSError: [red] in two lines",
        f"[ 4/14] {trial} failed: ValueError: [red] is no style",
        "tracking: [x] does not answer",
        "stopping: soon",
    ]


def test_off_a_terminal_what_takes_long_is_announced_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.progress.plain._PATIENCE_S", 0.05)
    console = Console(file=io.StringIO())
    progress = make_progress(console)
    for text, seconds in (("reading", 0.0), ("starting Ray", 0.3), ("timing", 0.0), ("", 0.2)):
        progress.doing(text)
        time.sleep(seconds)
    progress.close()
    assert console.file.getvalue() == "starting Ray ...\n"  # type: ignore[attr-defined]


def test_on_a_terminal_messages_and_failures_stay_above_the_view() -> None:
    console = Console(
        file=io.StringIO(), width=120, height=24, force_terminal=True, color_system=None
    )
    progress = make_progress(console)
    assert isinstance(progress, LiveProgress)
    tell(progress)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("does not answer", "cannot be resumed", "1 failed: ValueError: [red]", "soon"):
        assert part in text, part
    assert "4 of 14 done (3 kept)" in text.splitlines()[-1]  # what stays when the view is gone


def running(number: int) -> RunningTrial:
    label = "annealed+mgda F=encoder λ=0.125 B=24000 draws_per_step=3 learning_rate=3e-05"
    return RunningTrial(
        f"round_robin-{number:012d}", label, number, 2, 10, 0.61234, 12.5, 100.0, f"node{number}"
    )


def busy(trials: int) -> DriverStatus:
    state = SweepState("s", clock=lambda: 7260.0)
    state.stage("confirming", look=2, looks=7, minutes_left=33.0)
    state.total(12, 75)
    status = state.status()
    stopping = "stopping: " + 9 * "word "
    return DriverStatus.from_dict(
        status.to_dict()
        | {"running": trials, "failed": 3, "seconds_left": 9600, "stopping": stopping}
        | {"best": {"label": running(0).label, "dev_score": 0.7, "seeds": 3}}
        | {"trials": [vars(running(n)) for n in range(trials)], "ended": [vars(running(99))]}
    )  # fmt: skip


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("trials", [0, 1, 8, 30])
def test_the_view_fits_the_terminal(width: int, height: int, trials: int) -> None:
    """Nothing is as low as the terminal, so nothing scrolls; no line is broken or filled up."""
    lines = [line.plain for line in draw(busy(trials), width, height, now=160.0)]
    assert len(lines) < height
    assert all(len(line) <= width and line == line.rstrip() for line in lines), lines
    text = "\n".join(lines)
    shown = text.count("round_robin-")
    names = [word for line in lines for word in line.split() if word.startswith("round_robin")]
    assert all(len(name) == len("round_robin-000000000000") for name in names)
    if height > 10:
        assert shown >= min(trials, 5)
        hidden = trials - shown
        assert (f"and {hidden} more" in text) == (hidden > 0)
        words = " ".join(text.split())
        for part in ("look 2 of 7", "12 of 75 done (12 kept)", "3 failed", "0:00:00 elapsed"):
            assert part in words, part
        for part in ("about 2 h 40 min left", "33.0 trial minutes", "best so far 0.7000"):
            assert part in words, part


def test_numbers_of_a_trial_stand_beside_its_configuration_where_there_is_room() -> None:
    wide = "\n".join(line.plain for line in draw(busy(1), 200, 50, now=160.0))
    assert "min/epoch" in wide and "12.500" in wide and "0:01:00" in wide and "node0" in wide
    narrow = [line.plain for line in draw(busy(1), 40, 50, now=160.0)]
    [at] = [n for n, line in enumerate(narrow) if line.startswith("round_robin-000000000000")]
    assert narrow[at].split()[1:] == ["2/10", "0.612"]
    assert narrow[at + 1].startswith("  annealed+mgda F=encoder")


def test_the_state_counts_and_names_the_best_mean() -> None:
    state = SweepState("s", ["lambda"])
    state.stage("search")
    state.total(1, 9)
    first, second, third = job(1), job(2, lambda_=0.25), job(3)
    third.identity["config_id"] = first.identity["config_id"]
    for each in (first, second, third):
        state.started(each)
        state.epoch(each, 1, {"dev_score": 0.5, "minutes_per_epoch": 0.1}, "node1")
    state.ended(first, "complete", 0.4)
    state.ended(second, "complete", 0.9)
    status = state.status()
    assert (status.kept, status.running, status.waiting, status.failed) == (1, 1, 7, 0)
    assert status.best is not None and (status.best.dev_score, status.best.seeds) == (0.9, 1)
    state.ended(third, "complete", 0.6)  # two seeds of one configuration know more than one
    best = state.status().best
    assert best is not None and best.seeds == 2
    assert best.dev_score == pytest.approx(0.5) and "λ=0.5" in best.label
    state.stage("confirming", 1, 3, 10.0)
    state.started(second)
    state.epoch(second, 1, {"dev_score": 1.0, "minutes_per_epoch": 4.0, "setup_minutes": 1.0})
    state.ended(second, "failed")
    status = state.status()
    assert (status.look, status.looks, status.done, status.failed) == (1, 3, 0, 1)
    assert status.decision_minutes_left == 5.0 and status.best == best


def test_the_search_says_what_confirming_may_cost() -> None:
    state = SweepState("s")
    state.stage("search")
    state.total(0, 10)
    state.will_confirm(lambda minutes: minutes / 4)
    assert state.status().decision_minutes_left is None
    state.started(job(1))
    state.epoch(job(1), 1, {"minutes_per_epoch": 2.0})
    state.ended(job(1), "complete", 0.5)
    state.total(1, 10)
    assert state.status().decision_minutes_left == 5.0


@pytest.mark.parametrize(("done", "said"), [(9, True), (10, False)])
def test_when_confirming_is_over_it_costs_nothing_more(done: int, said: bool) -> None:
    status = DriverStatus(
        "s", stage="confirming", done=done, planned=10, decision_minutes_left=0.2, look=2, looks=2
    )
    lines = draw(status, 120, 24)
    assert any("may cost 0.2" in line.plain for line in lines) is said


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
    assert pace_after(1200, (10, 20), (14, 20)).seconds_left() == 1800


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
    assert pace_after(seconds, *totals).seconds_left() is None


def test_others_see_the_state_and_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.progress.publishing._EVERY_S", 0.05)
    ledger, state = Ledger(tmp_path, "s"), SweepState("s")
    stops: list[str] = []
    with (
        SweepLock(ledger.folder) as lock,
        published(state, ledger, lock.holder, lambda: stops.append("stop")),
    ):
        state.stage("search")
        state.total(1, 3)
        time.sleep(0.3)
        status = read_status(ledger)
        assert status is not None and (status.stage, status.done) == ("search", 1)
        old = DriverStatus.from_dict(status.to_dict() | {"started": "earlier"})
        request_stop(ledger.folder, old, now=True)
        time.sleep(0.3)
        assert stops == []
        request_stop(ledger.folder, status, now=False)
        time.sleep(0.3)
        assert stops == ["stop"]
        request_stop(ledger.folder, status, now=True)
        time.sleep(1)
        assert stops == ["stop", "stop"]
    assert ledger.folder.names() == []
