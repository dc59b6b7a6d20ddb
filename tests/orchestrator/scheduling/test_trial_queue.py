"""As many configurations as were asked for, each trial once, its attempts counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.scheduling.outcome import outcome_of
from tests.support.ledgers import epoch
from tests.support.searches import (
    SPACE,
    begin,
    finish,
    make_spec,
    next_job,
    open_queue,
    states,
    told,
    train,
)
from trainer.config import described
from trainer.storage.trial_directory import TrialDirectory

ONE_SEED = {"seeds": [1]}


@pytest.mark.parametrize("algorithm", ["tpe", "nsga2", "random"])
def test_every_configuration_is_begun_once_and_told(tmp_path: Path, algorithm: str) -> None:
    queue = open_queue(tmp_path, make_spec(search={"algorithm": algorithm, "num_trials": 15}))
    assert queue.planned == 30
    jobs = finish(queue)
    assert states(queue) == {"complete": 15}
    assert len({job.trial_id for job in jobs}) == len(jobs) == queue.done == queue.planned == 30
    assert {job.config.seed for job in jobs} == {1, 2}
    assert len({job.identity["config_id"] for job in jobs}) == 15
    assert queue.trial_ids == [job.trial_id for job in jobs]


def test_a_repeat_does_not_use_up_the_budget(tmp_path: Path) -> None:
    space = {key: SPACE[key] for key in ("sampler", "B")}  # five configurations
    said: list[str] = []
    spec = make_spec(space=space, search={"num_trials": 5, **ONE_SEED})
    queue = open_queue(tmp_path, spec, say=said.append)
    assert len(finish(queue)) == 5
    assert states(queue) == {"complete": 5} and said == []
    assert told(queue)["FAIL"] > 0, "no repeat came: the test shows nothing"


def test_an_exhausted_space_ends_the_sweep_and_is_said_once(tmp_path: Path) -> None:
    spec = make_spec(space={"sampler": SPACE["sampler"]}, search={"num_trials": 12})
    for _ in range(2):  # the second run finds the same
        said: list[str] = []
        queue = open_queue(tmp_path, spec, say=said.append)
        finish(queue)
        assert queue.done == queue.planned == 6  # three samplers, two seeds
        assert not queue.has_next() and not queue.has_next()
        (line,) = said
        assert "the space has no more than 3 configurations" in line and "(12)" in line


def test_an_entry_like_one_that_runs_is_not_begun_again(tmp_path: Path) -> None:
    enqueue = [{"sampler": "round_robin"}, {"sampler": "round_robin"}, {"sampler": "annealed"}]
    search = {"algorithm": "list", **ONE_SEED, "num_trials": 3}
    queue = open_queue(tmp_path, make_spec(enqueue=enqueue, search=search, space={}))
    assert [job.config.sampler for job in finish(queue)] == ["round_robin", "annealed"]
    assert queue.planned == 2


def test_a_suggestion_is_worth_the_mean_over_its_seeds(tmp_path: Path) -> None:
    search = {"num_trials": 1, "objectives": {"minutes_per_epoch": "min", "dev_score": "max"}}
    queue = open_queue(tmp_path, make_spec(search=search))
    trial_ids = []
    for score in (0.4, 0.6):
        assert queue.ended_suggestions() == []
        job = next_job(queue)
        train(queue, job, score=score)
        queue.ended(job.trial_id)
        trial_ids.append(job.trial_id)
    (ended,) = queue.ended_suggestions()
    assert ended.values == pytest.approx((0.1, 0.5))
    assert (ended.key, list(ended.trial_ids)) == ("p0", trial_ids)
    (trial,) = queue.suggestions.series[0].study.trials
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
    queue = open_queue(tmp_path, spec)
    for end in ends:
        job = next_job(queue)
        train(queue, job, status=end)
        queue.ended(job.trial_id)
    words = {"failed": "FAIL", "pruned": "PRUNED", "complete": "COMPLETE"}
    for each in (queue, open_queue(tmp_path, spec)):
        assert states(each) == {state: 1} and told(each) == {words[state]: 1}


def test_a_score_that_is_not_a_number_fails_and_leaves_nothing_running(tmp_path: Path) -> None:
    queue = open_queue(tmp_path, make_spec(search={"num_trials": 1, **ONE_SEED}))
    job = next_job(queue)
    begin(queue, job, epochs=0)
    queue.ledger.close(job.trial_id, "complete", "")  # without a summary nothing is known
    queue.ended(job.trial_id)
    assert states(queue) == {"failed": 1} and told(queue) == {"FAIL": 1}


def test_a_spent_budget_begins_nothing_new_but_finishes_all_seeds(tmp_path: Path) -> None:
    answers = iter([True, False])
    queue = open_queue(tmp_path, make_spec(), may_ask=lambda: next(answers))
    assert [job.config.seed for job in finish(queue)] == [1, 2]
    assert states(queue) == {"complete": 1}


def test_a_stopped_handout_gives_out_nothing_more(tmp_path: Path) -> None:
    queue = open_queue(tmp_path, make_spec())
    job = next_job(queue)
    queue.stop()
    assert queue.stopping and queue.next() is None and not queue.has_next()
    train(queue, job)
    queue.ended(job.trial_id)
    assert queue.done == 1


def test_a_lost_attempt_is_repeated_at_once_and_not_for_ever(tmp_path: Path) -> None:
    queue = open_queue(tmp_path, make_spec(resources={"max_failures": 2}))
    job = next_job(queue)
    for _ in range(2):
        assert queue.lost(job.trial_id, "its node died") is None
        assert next_job(queue) == job
    reason = queue.lost(job.trial_id, "its node died")
    assert reason == "its node died (attempt 3; resources.max_failures is 2)"
    trial = queue.ledger.trial(job.trial_id)
    assert trial is not None, "a trial that died before its first word is not in the ledger"
    assert (trial.status, trial.reason) == ("failed", reason)
    assert queue.done == 1 and next_job(queue) != job
    train(queue, job)
    assert open_queue(tmp_path, queue.spec).done == 1


def test_a_trial_out_of_memory_is_tried_once_more_alone(tmp_path: Path) -> None:
    queue = open_queue(tmp_path, make_spec(search={"num_trials": 1}))
    first, second = next_job(queue), next_job(queue)
    assert queue.out_of_memory(first.trial_id, "24 GiB") is None
    alone = next_job(queue)
    assert alone.alone and alone.trial_id == first.trial_id and not first.alone
    assert queue.lost(alone.trial_id, "its process died") is None
    assert next_job(queue).alone, "what could not run beside others was tried so again"
    reason = queue.out_of_memory(alone.trial_id, "24 GiB")
    assert reason is not None and reason.startswith("out of memory") and "24 GiB" in reason
    train(queue, second)
    queue.ended(second.trial_id)
    assert states(queue) == {"failed": 1}


def test_a_trial_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    class Broken(Ledger):
        def trial(self, trial_id: str) -> TrialRecord | None:
            if trial_id == jobs[0].trial_id:
                raise OSError("the disk is gone")
            return super().trial(trial_id)

    spec = make_spec(search={"num_trials": 2, **ONE_SEED})
    queue = open_queue(tmp_path, spec, ledger=Broken(tmp_path, "s"))
    jobs = [next_job(queue), next_job(queue)]
    for job in jobs:
        train(queue, job)
        queue.ended(job.trial_id)
    assert states(queue) == {"failed": 1, "complete": 1} and queue.done == 2


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
    queue = open_queue(tmp_path, spec, ledger=ledger)
    while (job := queue.next()) is not None:
        opened = reads["directories"]
        queue.planned, queue.done, queue.started  # noqa: B018
        assert reads["directories"] == opened
        directory = TrialDirectory(queue.ledger.path(job.trial_id))
        directory.write_config({**described(job.config), **job.identity})
        directory.commit(epoch(1, 0.5, 0.1, False), {})
        directory.write_end("complete", "", {"dev_score": 0.5})
        queue.ended(job.trial_id)
    del reads["directories"]
    assert reads == dict.fromkeys(queue.trial_ids, 1)


def test_a_search_that_the_budget_ends_is_cut_short_and_not_over(tmp_path: Path) -> None:
    spec = make_spec(search={"num_trials": 2})
    allowed = iter([True, False, False])
    queue = open_queue(tmp_path, spec, may_ask=lambda: next(allowed))
    for _ in range(2):  # both seeds of the only configuration that may start
        job = next_job(queue)
        begin(queue, job)
        queue.ledger.close(job.trial_id, "complete", "")
        queue.ended(job.trial_id)
    assert not queue.has_next() and queue.cut_short
    resumed = open_queue(tmp_path, spec)
    while (job_or_none := resumed.next()) is not None:
        begin(resumed, job_or_none)
        resumed.ledger.close(job_or_none.trial_id, "complete", "")
        resumed.ended(job_or_none.trial_id)
    assert not resumed.cut_short


@pytest.mark.parametrize("lost", ["end.json", "config.json", "epochs/001.json"])
def test_a_trial_whose_files_vanish_fails_this_run_and_is_trained_by_the_next(
    tmp_path: Path, lost: str
) -> None:
    spec = make_spec(search={"num_trials": 1, **ONE_SEED})
    queue = open_queue(tmp_path, spec)
    job = next_job(queue)
    train(queue, job)
    queue.ledger.directory(job.trial_id).folder.delete(lost)
    queue.ended(job.trial_id)
    outcome = outcome_of(queue.ledger, [queue], interrupted=False)
    assert outcome.failed.keys() == {job.trial_id} and outcome.exit_code == 1
    assert next_job(open_queue(tmp_path, spec)).trial_id == job.trial_id
