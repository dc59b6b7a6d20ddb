"""The queue of the confirming stage: look by look, and nothing lost."""

from __future__ import annotations

from pathlib import Path

from orchestrator.ledger import Ledger
from orchestrator.scheduling.confirm_queue import ConfirmQueue
from orchestrator.scheduling.job_queue import Job
from tests.support.ledgers import BASE
from tests.support.searches import identify
from trainer.config import TrainConfig, described


def jobs(ledger: Ledger, count: int) -> list[Job]:
    configs = [TrainConfig.from_dict(BASE | {"seed": seed}) for seed in range(count)]
    identities = [identify(config) for config in configs]
    return [
        Job(each["trial_id"], config, each, ledger.path(each["trial_id"]))
        for config, each in zip(configs, identities, strict=True)
    ]


def queue_of(folder: Path, looks: list[int], failures: int = 0) -> tuple[ConfirmQueue, list[int]]:
    """A queue with looks after so many trials, and the looks that were asked for."""
    ledger, asked = Ledger(str(folder), "s"), []

    def next_look() -> list[Job]:
        ended = sum(ledger.end(name) is not None for name in ledger.trial_ids())
        left = [count for count in looks if count > ended]
        asked.append(left[0] if left else 0)
        return jobs(ledger, left[0]) if left else []

    return ConfirmQueue(ledger, failures, next_look), asked


def end(queue: ConfirmQueue, job: Job) -> None:
    directory = queue.ledger.directory(job.trial_id)
    directory.write_config({**described(job.config), **job.identity})
    directory.write_end("complete", "", {})
    queue.ended(job.trial_id)


def test_a_look_is_taken_only_when_all_its_trials_have_ended(tmp_path: Path) -> None:
    queue, asked = queue_of(tmp_path, [2, 3])
    first, second = queue.next(), queue.next()
    assert first is not None and second is not None
    assert queue.next() is None and asked == [2]  # both still run
    end(queue, first)
    assert queue.next() is None and asked == [2]
    end(queue, second)
    third = queue.next()
    assert third is not None and asked == [2, 3] and queue.done == 2
    end(queue, third)
    assert queue.next() is None and asked == [2, 3, 0] and queue.done == 3


def test_trials_that_have_ended_are_not_trained_again(tmp_path: Path) -> None:
    before, _ = queue_of(tmp_path, [3])
    job = before.next()
    assert job is not None
    end(before, job)
    resumed, _ = queue_of(tmp_path, [3])
    names = [each.trial_id for each in iter(resumed.next, None)]
    assert len(names) == 2 and job.trial_id not in names and resumed.done == 1


def test_a_lost_trial_is_trained_again_before_the_look(tmp_path: Path) -> None:
    queue, asked = queue_of(tmp_path, [1], failures=1)
    job = queue.next()
    assert job is not None
    assert queue.lost(job.trial_id, "died") is None
    again = queue.next()
    assert again is not None and again.trial_id == job.trial_id and asked == [1]
    assert "max_failures is 1" in str(queue.lost(job.trial_id, "died"))
    end_record = queue.ledger.end(job.trial_id)
    assert end_record is not None and end_record["status"] == "failed"
    assert queue.done == 1 and not queue.has_next() and asked == [1, 0]


def test_a_stopped_queue_takes_no_further_look(tmp_path: Path) -> None:
    queue, asked = queue_of(tmp_path, [1, 2])
    job = queue.next()
    assert job is not None
    queue.stop()
    end(queue, job)
    assert not queue.has_next() and asked == [1]
