"""A sweep that was stopped anywhere and begun again: nothing is lost, nothing done twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.ledger import Ledger
from orchestrator.scheduling.job_queue import Job
from tests.support.ledgers import write_trial
from tests.support.searches import (
    SMOOTH,
    SPACE,
    begin,
    bowl,
    finish,
    make_spec,
    next_job,
    open_queue,
    states,
    train,
)
from trainer.config import described
from trainer.storage.trial_directory import TrialDirectory

ONE_SEED = {"seeds": [1]}


def test_an_exhausted_space_is_not_believed_too_early_after_a_restart(tmp_path: Path) -> None:
    """The repeats between two known proposals were not in a row with those behind them."""
    space = {"sampler": SPACE["sampler"], "dropout": {"choices": [k / 100 for k in range(20)]}}
    spec = make_spec(space=space, search={"num_trials": 58, **ONE_SEED})
    undisturbed = {job.trial_id for job in finish(open_queue(tmp_path / "a", spec))}
    finish(open_queue(tmp_path / "b", spec), most=57)
    found = finish(open_queue(tmp_path / "b", spec))
    assert len(undisturbed) == 58 and len(found) == 1
    assert {trial.trial_id for trial in Ledger(tmp_path / "b", "s").trials()} == undisturbed


@pytest.mark.parametrize(
    ("algorithm", "per"),
    [("tpe", None), ("nsga2", None), ("random", None), ("random", "sampler"), ("list", None)],
)
@pytest.mark.parametrize("seed", range(3))
def test_crashes_anywhere_lose_and_repeat_nothing(
    tmp_path: Path, algorithm: str, per: str | None, seed: int
) -> None:
    """Killed between any two of: give out, begin, train, tell; with two trials at a time."""
    search = {"algorithm": algorithm, "num_trials": 4 if per else 9, "per": per}
    space, entries = SPACE, [{"sampler": "arrp"}]
    if algorithm == "list":
        space, entries = {}, [{"dropout": k / 10} for k in range(9)]
    elif per:
        space = SPACE | {"dropout": SMOOTH["dropout"]}  # no choice is exhausted
    spec = make_spec(search=search, enqueue=entries, space=space)
    dice = random.Random(seed)
    trained: Counter[str] = Counter()
    for _ in range(200):
        queue = open_queue(tmp_path, spec)
        running: list[Job] = []
        while True:
            if dice.random() < 0.15:
                break  # killed: what was handed out and what was not told is lost
            job = queue.next() if len(running) < 2 else None
            if job is not None:
                running.append(job)
                if dice.random() < 0.5:
                    begin(queue, job, epochs=dice.randrange(2))
                continue
            if not running:
                break
            job = running.pop(dice.randrange(len(running)))
            train(queue, job)
            trained[job.trial_id] += 1
            if dice.random() < 0.1:
                break  # killed before the end was told
            queue.ended(job.trial_id)
        if not running and not queue.has_next() and queue.done == len(queue.trial_ids):
            break
    wanted = 12 if per else 9
    assert states(queue) == {"complete": wanted}
    assert set(trained.values()) == {1} and len(trained) == 2 * wanted
    assert set(trained) == set(queue.trial_ids) == set(queue.ledger.trial_ids())
    if algorithm in ("random", "list"):
        undisturbed = finish(open_queue(tmp_path / "undisturbed", spec))
        assert {job.trial_id for job in undisturbed} == set(trained)


@pytest.mark.parametrize(("algorithm", "count"), [("tpe", 16), ("nsga2", 16), ("gp", 13)])
def test_a_search_with_one_trial_at_a_time_goes_on_as_if_it_had_not_been_stopped(
    tmp_path: Path, algorithm: str, count: int
) -> None:
    search = {"algorithm": algorithm, "num_trials": count, **ONE_SEED}
    enqueue = [{"dropout": 0.1, "learning_rate": 1e-4}, {"dropout": 0.9, "learning_rate": 1e-4}]
    spec = make_spec(search=search, space=SMOOTH, enqueue=enqueue)
    whole = [job.config for job in finish(open_queue(tmp_path / "whole", spec), bowl)]
    parts: list[Any] = []
    while jobs := finish(open_queue(tmp_path / "parts", spec), bowl, most=4):
        parts += [job.config for job in jobs]
    assert parts == whole and len(whole) == count


def test_a_trial_that_was_handed_out_and_never_began_is_proposed_again(tmp_path: Path) -> None:
    spec = make_spec(search={"num_trials": 4, **ONE_SEED})
    queue = open_queue(tmp_path, spec)
    jobs = [next_job(queue) for _ in range(4)]
    for job in jobs[2:]:
        train(queue, job)
    again = open_queue(tmp_path, spec)
    assert [next_job(again), next_job(again)] == jobs[:2]
    assert again.next() is None


def test_trials_with_epochs_behind_them_go_on_first(tmp_path: Path) -> None:
    spec = make_spec(search={"num_trials": 4, **ONE_SEED})
    queue = open_queue(tmp_path, spec)
    jobs = [next_job(queue) for _ in range(3)]
    for job, epochs in zip(jobs, (0, 1, 2), strict=True):
        begin(queue, job, epochs=epochs)
    again = open_queue(tmp_path, spec)
    assert again.started == 2 and again.done == 0
    assert [next_job(again) for _ in range(3)] == jobs[::-1]


def test_more_seeds_train_only_the_new_ones(tmp_path: Path) -> None:
    finish(open_queue(tmp_path, make_spec(search={"num_trials": 3, **ONE_SEED})))
    queue = open_queue(tmp_path, make_spec(search={"num_trials": 3, "seeds": [1, 2]}))
    assert queue.ended_suggestions() == [] and queue.done == 3
    assert {job.config.seed for job in finish(queue)} == {2}
    assert states(queue) == {"complete": 3}


def test_more_configurations_keep_those_that_are_there(tmp_path: Path) -> None:
    first = finish(open_queue(tmp_path, make_spec(search={"num_trials": 3})))
    entry = {"sampler": "arrp", "B": 99}
    queue = open_queue(tmp_path, make_spec(search={"num_trials": 5}, enqueue=[entry]))
    assert queue.planned == 10
    more = finish(queue)
    assert len(more) == 4 and more[0].config.B == 99
    assert not {job.trial_id for job in first} & {job.trial_id for job in more}


def test_trials_without_a_suggestion_or_with_an_older_one_are_found_by_their_id(
    tmp_path: Path,
) -> None:
    spec = make_spec(search={"num_trials": 4, **ONE_SEED})
    queue = open_queue(tmp_path, spec)
    jobs = finish(queue)
    shapes: list[Any] = [None, 7, {"number": 2}, {"key": "p3", "params": 1, "notes": {}}]
    for job, shape in zip(jobs, shapes, strict=True):
        directory = queue.ledger.directory(job.trial_id)
        directory.write_config({**described(job.config), **job.identity, "suggestion": shape})
    again = open_queue(tmp_path, spec)
    assert again.done == 0 and again.next() is None
    assert states(again) == {"complete": 4} and again.done == 4


def test_two_configurations_under_one_key_are_kept_apart(tmp_path: Path) -> None:
    """A worker of a killed driver wrote its first word after the next driver had asked again."""
    spec = make_spec(search={"num_trials": 3, "algorithm": "tpe"})
    finish(open_queue(tmp_path, spec), most=2)
    other = finish(open_queue(tmp_path / "other", spec))[4]
    shown = {**other.identity, "suggestion": {**other.identity["suggestion"], "key": "p0"}}
    directory = Ledger(tmp_path, "s").directory(other.trial_id)
    directory.write_config({**described(other.config), **shown})
    finish(open_queue(tmp_path, spec))
    last = open_queue(tmp_path, spec)
    assert last.next() is None and states(last) == {"complete": 3}
    assert sorted(ended.key for ended in last.ended_suggestions()) == ["p0", "p0+", "p1"]


def test_a_damaged_suggestion_in_a_directory_does_not_lose_the_others(tmp_path: Path) -> None:
    spec = make_spec(search={"num_trials": 3, **ONE_SEED})
    finish(open_queue(tmp_path, spec))
    folder = tmp_path / "s"
    write_trial(folder, [0.1])  # trained by hand
    TrialDirectory(str(folder / "trials" / "torn")).write("config.json", b"{")
    queue = open_queue(tmp_path, spec)
    assert queue.done == 3 and queue.next() is None
