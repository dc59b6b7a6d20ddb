"""As many configurations as were asked for, each trial once, its attempts counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger, TrialRecord
from tests.support.ledgers import epoch
from tests.support.searches import (
    SPACE,
    begin,
    finish,
    make_spec,
    next_job,
    open_handout,
    states,
    told,
    train,
)
from trainer.storage.trial_directory import TrialDirectory

ONE_SEED = {"seeds": [1]}


@pytest.mark.parametrize("algorithm", ["tpe", "nsga2", "random"])
def test_every_configuration_is_begun_once_and_told(tmp_path: Path, algorithm: str) -> None:
    handout = open_handout(tmp_path, make_spec(search={"algorithm": algorithm, "num_trials": 15}))
    assert handout.planned == 30
    jobs = finish(handout)
    assert states(handout) == {"complete": 15}
    assert len({job.trial_id for job in jobs}) == len(jobs) == handout.done == handout.planned == 30
    assert {job.config.seed for job in jobs} == {1, 2}
    assert len({job.identity["config_id"] for job in jobs}) == 15
    assert handout.trial_ids == [job.trial_id for job in jobs]


def test_a_repeat_does_not_use_up_the_budget(tmp_path: Path) -> None:
    space = {key: SPACE[key] for key in ("sampler", "B")}  # five configurations
    said: list[str] = []
    spec = make_spec(space=space, search={"num_trials": 5, **ONE_SEED})
    handout = open_handout(tmp_path, spec, say=said.append)
    assert len(finish(handout)) == 5
    assert states(handout) == {"complete": 5} and said == []
    assert told(handout)["FAIL"] > 0, "no repeat came: the test shows nothing"


def test_an_exhausted_space_ends_the_sweep_and_is_said_once(tmp_path: Path) -> None:
    spec = make_spec(space={"sampler": SPACE["sampler"]}, search={"num_trials": 12})
    for _ in range(2):  # the second run finds the same
        said: list[str] = []
        handout = open_handout(tmp_path, spec, say=said.append)
        finish(handout)
        assert handout.done == handout.planned == 6  # three samplers, two seeds
        assert not handout.has_next() and not handout.has_next()
        (line,) = said
        assert "the space has no more than 3 configurations" in line and "(12)" in line


def test_an_entry_like_one_that_runs_is_not_begun_again(tmp_path: Path) -> None:
    enqueue = [{"sampler": "round_robin"}, {"sampler": "round_robin"}, {"sampler": "annealed"}]
    search = {"algorithm": "list", **ONE_SEED, "num_trials": 3}
    handout = open_handout(tmp_path, make_spec(enqueue=enqueue, search=search, space={}))
    assert [job.config.sampler for job in finish(handout)] == ["round_robin", "annealed"]
    assert handout.planned == 2


def test_a_suggestion_is_worth_the_mean_over_its_seeds(tmp_path: Path) -> None:
    search = {"num_trials": 1, "objectives": {"minutes_per_epoch": "min", "dev_score": "max"}}
    handout = open_handout(tmp_path, make_spec(search=search))
    trial_ids = []
    for score in (0.4, 0.6):
        assert handout.ended_suggestions() == []
        job = next_job(handout)
        train(handout, job, score=score)
        handout.ended(job.trial_id)
        trial_ids.append(job.trial_id)
    (ended,) = handout.ended_suggestions()
    assert ended.values == pytest.approx((0.1, 0.5))
    assert (ended.key, list(ended.trial_ids)) == ("p0", trial_ids)
    (trial,) = handout.suggestions.series[0].study.trials
    assert trial.values == pytest.approx([0.1, 0.5])


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("complete", "failed"), "failed"),
        (("pruned", "failed"), "failed"),
        (("complete", "pruned"), "pruned"),
        (("complete", "complete"), "complete"),
    ],
)
@pytest.mark.parametrize("objectives", [["dev_score"], ["dev_score", "minutes_per_epoch"]])
def test_a_suggestion_is_told_how_its_trials_ended(
    tmp_path: Path, ends: tuple[str, str], state: str, objectives: list[str]
) -> None:
    search = {"num_trials": 1, "objectives": dict.fromkeys(objectives, "max")}
    spec = make_spec(search=search)
    handout = open_handout(tmp_path, spec)
    for end in ends:
        job = next_job(handout)
        train(handout, job, status=end)
        handout.ended(job.trial_id)
    words = {"failed": "FAIL", "pruned": "PRUNED", "complete": "COMPLETE"}
    for each in (handout, open_handout(tmp_path, spec)):
        assert states(each) == {state: 1} and told(each) == {words[state]: 1}


def test_a_score_that_is_not_a_number_fails_and_leaves_nothing_running(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec(search={"num_trials": 1, **ONE_SEED}))
    job = next_job(handout)
    begin(handout, job, epochs=0)
    handout.ledger.close(job.trial_id, "complete", "")  # without a summary nothing is known
    handout.ended(job.trial_id)
    assert states(handout) == {"failed": 1} and told(handout) == {"FAIL": 1}


def test_a_spent_budget_begins_nothing_new_but_finishes_all_seeds(tmp_path: Path) -> None:
    answers = iter([True, False])
    handout = open_handout(tmp_path, make_spec(), may_ask=lambda: next(answers))
    assert [job.config.seed for job in finish(handout)] == [1, 2]
    assert states(handout) == {"complete": 1}


def test_a_stopped_handout_gives_out_nothing_more(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec())
    job = next_job(handout)
    handout.stop()
    assert handout.stopping and handout.next() is None and not handout.has_next()
    train(handout, job)
    handout.ended(job.trial_id)
    assert handout.done == 1


def test_a_lost_attempt_is_repeated_at_once_and_not_for_ever(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec(resources={"max_failures": 2}))
    job = next_job(handout)
    for _ in range(2):
        assert handout.lost(job.trial_id, "its node died") is None
        assert next_job(handout) == job
    reason = handout.lost(job.trial_id, "its node died")
    assert reason == "its node died (attempt 3; resources.max_failures is 2)"
    trial = handout.ledger.trial(job.trial_id)
    assert trial is not None, "a trial that died before its first word is not in the ledger"
    assert (trial.status, trial.reason) == ("failed", reason)
    assert handout.done == 1 and next_job(handout) != job
    train(handout, job)
    assert open_handout(tmp_path, handout.spec).done == 1


def test_a_trial_out_of_memory_is_tried_once_more_alone(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec(search={"num_trials": 1}))
    first, second = next_job(handout), next_job(handout)
    assert handout.out_of_memory(first.trial_id, "24 GiB") is None
    alone = next_job(handout)
    assert alone.alone and alone.trial_id == first.trial_id and not first.alone
    assert handout.lost(alone.trial_id, "its process died") is None
    assert next_job(handout).alone, "what could not run beside others was tried so again"
    reason = handout.out_of_memory(alone.trial_id, "24 GiB")
    assert reason is not None and reason.startswith("out of memory") and "24 GiB" in reason
    train(handout, second)
    handout.ended(second.trial_id)
    assert states(handout) == {"failed": 1}


def test_a_trial_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    class Broken(Ledger):
        def trial(self, trial_id: str) -> TrialRecord | None:
            if trial_id == jobs[0].trial_id:
                raise OSError("the disk is gone")
            return super().trial(trial_id)

    spec = make_spec(search={"num_trials": 2, **ONE_SEED})
    handout = open_handout(tmp_path, spec, ledger=Broken(tmp_path, "s"))
    jobs = [next_job(handout), next_job(handout)]
    for job in jobs:
        train(handout, job)
        handout.ended(job.trial_id)
    assert states(handout) == {"failed": 1, "complete": 1} and handout.done == 2


def test_every_ended_trial_is_read_once(tmp_path: Path) -> None:
    reads: Counter[str] = Counter()

    class Counted(Ledger):
        def trial(self, trial_id: str) -> TrialRecord | None:
            reads[trial_id] += 1
            return super().trial(trial_id)

        def directory(self, trial_id: str) -> TrialDirectory:
            reads["directories"] += 1
            return super().directory(trial_id)

    spec = make_spec()
    ledger = Counted(tmp_path, "s")
    handout = open_handout(tmp_path, spec, ledger=ledger)
    while (job := handout.next()) is not None:
        opened = reads["directories"]
        handout.planned, handout.done, handout.begun  # noqa: B018
        assert reads["directories"] == opened
        directory = TrialDirectory(handout.ledger.path(job.trial_id))
        directory.write_config({"config": job.config.to_dict(), **job.identity})
        directory.commit(epoch(1, 0.5, 0.1, False), {})
        directory.write_end("complete", "", {"dev_score": 0.5})
        handout.ended(job.trial_id)
    del reads["directories"]
    assert reads == dict.fromkeys(handout.trial_ids, 1)
