"""As many suggestions as were asked for, each trial once, nothing forgotten in a crash."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest

from ledgers import epoch
from orchestrator.handout import Handout, Job
from orchestrator.identity import config_id, trial_id
from orchestrator.ledger import Ledger
from orchestrator.search import JOURNAL, StudyError, Suggestions
from orchestrator.spec import SweepSpec
from trainer.config import TrainConfig

SPACE: dict[str, Any] = {
    "sampler": {"choices": ["round_robin", "annealed", "arrp"]},
    "B": {"choices": [64, 128], "when": {"sampler": ["annealed", "arrp"]}},
    "lambda": {"low": 0.1, "high": 1.0, "when": {"sampler": "arrp"}},
    "batch_size": {"choices": [8, {"sst": 8, "qqp": 16, "sts": 8}]},
}


def make_spec(**changes: Any) -> SweepSpec:
    search = {"algorithm": "random", "num_trials": 8, "seeds": [1, 2]} | changes.pop("search", {})
    base = {"data": {"source": "synthetic"}, "encoder": "tiny", "tasks": ["sst", "qqp", "sts"]}
    return SweepSpec.model_validate(
        {"name": "s", "base": base, "space": SPACE, "search": search} | changes
    )


def open_handout(folder: Path, spec: SweepSpec, **kwargs: Any) -> Handout:
    ledger = Ledger(folder, spec.name)
    ledger.trials_folder.mkdir(parents=True, exist_ok=True)
    return Handout(spec, Suggestions(ledger.folder, spec), ledger, identify, **kwargs)


def identify(config: TrainConfig) -> dict[str, Any]:
    ids = {"trial_id": trial_id(config, "f"), "config_id": config_id(config, "f")}
    return {**ids, "fingerprint": "f"}


def train(handout: Handout, job: Job, status: str = "complete", score: float = 0.5) -> None:
    directory = handout.ledger.directory(job.trial_id)
    directory.write_config({"config": job.config.to_dict(), **job.identity})
    record = directory.commit(epoch(1, score, 0.1, False), {})
    directory.write_end(status, "", {"epochs": 1, "dev_score": score, "minutes_per_epoch": 0.1})
    assert record["epoch"] == 1


def finish(handout: Handout) -> list[Job]:
    jobs = []
    while (job := handout.next()) is not None:
        train(handout, job)
        handout.ended(job.trial_id)
        jobs.append(job)
    return jobs


def states(handout: Handout) -> Counter[str]:
    return Counter(trial.state.name for trial in handout.suggestions.study.trials)


@pytest.mark.parametrize("algorithm", ["tpe", "random"])
def test_every_suggestion_is_asked_once_and_told(tmp_path: Path, algorithm: str) -> None:
    handout = open_handout(tmp_path, make_spec(search={"algorithm": algorithm, "num_trials": 15}))
    jobs = finish(handout)
    assert states(handout) == {"COMPLETE": 15}
    assert len({job.trial_id for job in jobs}) == len(jobs) == handout.done == handout.planned
    assert {job.config.seed for job in jobs} == {1, 2}


def test_a_dimension_is_suggested_only_where_its_condition_holds(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec(search={"num_trials": 20}))
    finish(handout)
    for trial in handout.suggestions.study.trials:
        sampler = trial.params["sampler"]
        assert ("B" in trial.params) == (sampler != "round_robin")
        assert ("lambda" in trial.params) == (sampler == "arrp")


def test_a_choice_that_is_a_mapping_reaches_the_config(tmp_path: Path) -> None:
    jobs = finish(open_handout(tmp_path, make_spec(search={"num_trials": 20})))
    sizes = [job.config.batch_size for job in jobs]
    assert 8 in sizes and {"sst": 8, "qqp": 16, "sts": 8} in sizes


def test_enqueued_configs_come_first_with_keys_and_values_the_space_lacks(tmp_path: Path) -> None:
    enqueue = [{"sampler": "arrp", "B": 99, "dropout": 0.2}, {"sampler": "proportional"}]
    jobs = finish(open_handout(tmp_path, make_spec(enqueue=enqueue)))
    first, third = jobs[0].config, jobs[2].config
    assert (first.sampler, first.B, first.dropout) == ("arrp", 99, 0.2)
    assert 0.1 <= first.lambda_ <= 1.0
    assert third.sampler == "proportional"


def test_a_list_tries_its_entries_and_nothing_else(tmp_path: Path) -> None:
    enqueue = [{"sampler": "arrp"}, {"sampler": "round_robin"}]
    search = {"algorithm": "list", "seeds": [1]}
    handout = open_handout(tmp_path, make_spec(enqueue=enqueue, search=search, space={}))
    assert [job.config.sampler for job in finish(handout)] == ["arrp", "round_robin"]
    assert states(handout) == {"COMPLETE": 2}


def test_a_repeated_suggestion_is_answered_from_the_ledger(tmp_path: Path) -> None:
    spec = make_spec(space={"sampler": SPACE["sampler"]}, search={"num_trials": 12})
    handout = open_handout(tmp_path, spec)
    jobs = finish(handout)
    assert len(jobs) == 6  # three samplers, two seeds
    assert states(handout) == {"COMPLETE": 12}
    by_sampler: dict[str, set[float]] = {}
    for trial in handout.suggestions.study.trials:
        by_sampler.setdefault(trial.params["sampler"], set()).add(trial.value)
    assert all(len(values) == 1 for values in by_sampler.values())


def test_a_suggestion_that_repeats_a_running_one_waits_for_it(tmp_path: Path) -> None:
    enqueue = [{"sampler": "round_robin"}, {"sampler": "round_robin"}, {"sampler": "annealed"}]
    search = {"algorithm": "list", "seeds": [1]}
    handout = open_handout(tmp_path, make_spec(enqueue=enqueue, search=search, space={}))
    first, other = handout.next(), handout.next()
    assert first is not None and other is not None
    assert other.config.sampler == "annealed"
    assert states(handout) == {"RUNNING": 3}
    train(handout, first)
    handout.ended(first.trial_id)
    assert states(handout) == {"COMPLETE": 2, "RUNNING": 1}


def test_a_suggestion_is_worth_the_mean_over_its_seeds(tmp_path: Path) -> None:
    search = {"num_trials": 1, "objectives": {"minutes_per_epoch": "min", "dev_score": "max"}}
    handout = open_handout(tmp_path, make_spec(search=search))
    for score in (0.4, 0.6):
        job = handout.next()
        assert job is not None
        train(handout, job, score=score)
        handout.ended(job.trial_id)
    assert handout.suggestions.study.trials[0].values == pytest.approx([0.1, 0.5])
    assert [d.name for d in handout.suggestions.study.directions] == ["MINIMIZE", "MAXIMIZE"]


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("complete", "failed"), "FAIL"),
        (("pruned", "failed"), "FAIL"),
        (("complete", "pruned"), "PRUNED"),
        (("complete", "complete"), "COMPLETE"),
    ],
)
@pytest.mark.parametrize("objectives", [["dev_score"], ["dev_score", "minutes_per_epoch"]])
def test_a_suggestion_is_told_how_its_trials_ended(
    tmp_path: Path, ends: tuple[str, str], state: str, objectives: list[str]
) -> None:
    search = {"num_trials": 1, "objectives": dict.fromkeys(objectives, "max")}
    handout = open_handout(tmp_path, make_spec(search=search))
    for end in ends:
        job = handout.next()
        assert job is not None
        train(handout, job, status=end)
        handout.ended(job.trial_id)
    assert states(handout) == {state: 1}


def test_a_score_that_is_not_a_number_fails_and_leaves_nothing_running(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec(search={"num_trials": 1, "seeds": [1]}))
    assert handout.next() is not None
    handout.suggestions.tell(0, ["complete"], [[float("nan")]])
    assert states(handout) == {"FAIL": 1}


@pytest.mark.parametrize("algorithm", ["tpe", "random"])
@pytest.mark.parametrize("seed", range(4))
def test_crashes_anywhere_lose_and_repeat_nothing(
    tmp_path: Path, algorithm: str, seed: int
) -> None:
    """Killed between any two of: give out, train, tell; with two trials running at a time."""
    spec = make_spec(
        search={"algorithm": algorithm, "num_trials": 9}, enqueue=[{"sampler": "arrp"}]
    )
    dice = random.Random(seed)
    trained: Counter[str] = Counter()
    for _ in range(200):
        handout = open_handout(tmp_path, spec)
        running: list[Job] = []
        while True:
            if dice.random() < 0.15:
                break  # killed: what was handed out and what was not told is lost
            job = handout.next() if len(running) < 2 else None
            if job is not None:
                running.append(job)
                continue
            if not running:
                break
            job = running.pop(dice.randrange(len(running)))
            train(handout, job)
            trained[job.trial_id] += 1
            if dice.random() < 0.1:
                break  # killed before the end was told
            handout.ended(job.trial_id)
        if not running and not handout.has_next() and handout.done == len(handout.trial_ids):
            break
    assert states(handout) == {"COMPLETE": 9}
    assert set(trained.values()) == {1}
    assert set(trained) == set(handout.trial_ids) == set(handout.ledger.trial_ids())
    if algorithm == "random":
        undisturbed = finish(open_handout(tmp_path / "undisturbed", spec))
        assert {job.trial_id for job in undisturbed} == set(trained)


def test_a_suggestion_killed_while_it_was_made_is_completed_as_it_would_have_been(
    tmp_path: Path,
) -> None:
    spec = make_spec(search={"num_trials": 3, "seeds": [1]})
    whole = [job.config for job in finish(open_handout(tmp_path / "whole", spec))]
    finish(open_handout(tmp_path / "cut", spec))
    lines = (tmp_path / "cut" / "s" / JOURNAL).read_text().splitlines(keepends=True)
    for cut in range(1, len(lines)):
        folder = tmp_path / f"cut-{cut}"
        handout_folder = folder / "s"
        handout_folder.mkdir(parents=True)
        (handout_folder / JOURNAL).write_text("".join(lines[:cut]) + lines[cut][:5])  # torn
        jobs = finish(open_handout(folder, spec))
        assert [job.config for job in jobs] == whole, cut


def test_trials_with_epochs_behind_them_go_on_first(tmp_path: Path) -> None:
    spec = make_spec(search={"num_trials": 4, "seeds": [1]})
    handout = open_handout(tmp_path, spec)
    jobs = [handout.next() for _ in range(3)]
    last = jobs[-1]
    assert last is not None
    handout.ledger.directory(last.trial_id).commit(epoch(1, 0.5, 0.1, False), {})
    again = open_handout(tmp_path, spec)
    assert again.begun == 1
    assert again.next() == last


def test_more_seeds_train_only_the_new_ones(tmp_path: Path) -> None:
    finish(open_handout(tmp_path, make_spec(search={"num_trials": 3, "seeds": [1]})))
    handout = open_handout(tmp_path, make_spec(search={"num_trials": 3, "seeds": [1, 2]}))
    assert {job.config.seed for job in finish(handout)} == {2}
    assert states(handout) == {"COMPLETE": 3}


def test_a_spent_budget_begins_nothing_new_but_finishes_all_seeds(tmp_path: Path) -> None:
    answers = iter([True, False])
    handout = open_handout(tmp_path, make_spec(), may_ask=lambda: next(answers))
    assert [job.config.seed for job in finish(handout)] == [1, 2]
    assert states(handout) == {"COMPLETE": 1}


def test_optuna_reads_the_journal_under_the_sweeps_name(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec(search={"num_trials": 2}))
    finish(handout)
    path = str(handout.ledger.folder / JOURNAL)
    backend = optuna.storages.journal.JournalFileBackend(path)
    storage = optuna.storages.JournalStorage(backend)
    assert optuna.get_all_study_names(storage) == ["s"]


def test_a_damaged_journal_is_named(tmp_path: Path) -> None:
    handout = open_handout(tmp_path, make_spec(search={"num_trials": 2}))
    path = handout.ledger.folder / JOURNAL
    path.write_text("damaged\n" + path.read_text())
    with pytest.raises(StudyError, match="optuna.journal: cannot be read"):
        open_handout(tmp_path, make_spec(search={"num_trials": 2}))
