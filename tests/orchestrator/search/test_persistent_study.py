"""Optuna's persistent study: each suggestion once, whatever happened in between."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.search import JOURNAL, Ended, PersistentStudy
from tests.support.searches import SPACE, begin, finish, make_spec, open_queue, train

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

ONE = {"dev_score": "max"}
TWO = {"dev_score": "max", "minutes_per_epoch": "min"}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> list[Ended]:
    """Twelve suggestions of a real trial queue: complete ones, a pruned one, a failed one."""
    enqueue = [
        {"sampler": "arrp", "B": 99, "batch_size": SPACE["batch_size"]["choices"][1]},
        {"sampler": "round_robin", "B": 64},
    ]
    spec = make_spec(search={"num_trials": 12}, enqueue=enqueue)
    queue = open_queue(tmp_path_factory.mktemp("ended"), spec)
    for number in range(24):
        job = queue.next()
        assert job is not None
        status = {6: "pruned", 9: "failed"}.get(number, "complete")
        begin(queue, job, score=number / 30)
        train(queue, job, status=status, score=number / 30)
        queue.ended(job.trial_id)
    return queue.ended_suggestions()


@pytest.fixture(params=["journal", "sqlite"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "journal":
        return f"journal:{tmp_path}/{JOURNAL}"
    return f"sqlite:///{tmp_path}/studies.db"


def storage(uri: str) -> Any:
    """As optuna-dashboard opens it."""
    if uri.startswith("journal:"):
        backend = optuna.storages.journal.JournalFileBackend(uri.removeprefix("journal:"))
        return optuna.storages.JournalStorage(backend)
    return uri


def load(uri: str, name: str = "s") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage(uri))


def keys(uri: str, name: str = "s") -> list[str]:
    return [trial.user_attrs["suggestion"] for trial in load(uri, name).trials]


@pytest.fixture
def open_study() -> Iterator[Any]:
    opened: list[PersistentStudy] = []

    def make(uri: str, sweep_id: str = "id", directions: dict[str, str] = ONE) -> PersistentStudy:
        opened.append(PersistentStudy(uri, "s", sweep_id, directions))
        return opened[-1]

    yield make
    for study in opened:
        study.close()


def test_every_ended_suggestion_stands_in_it_once(
    uri: str, ended: list[Ended], open_study: Any
) -> None:
    """Also after a crash between two adds, and with two connections one after the other."""
    open_study(uri).update(ended[:5])
    second = open_study(uri)
    second.update(ended[:4])
    assert keys(uri) == [each.key for each in ended[:5]]
    for count in (5, 7, 7, 12):
        second.update(ended[:count])
        assert keys(uri) == [each.key for each in ended[: max(5, count)]]


def test_it_shows_what_optuna_can_show(uri: str, ended: list[Ended], open_study: Any) -> None:
    open_study(uri).update(ended)
    study = load(uri)
    assert study.direction.name == "MAXIMIZE" and study.metric_names == ["dev_score"]
    states = [trial.state for trial in study.trials]
    assert states == [
        {3: TrialState.PRUNED, 4: TrialState.FAIL}.get(n, TrialState.COMPLETE) for n in range(12)
    ]
    first, second, pruned, failed = (study.trials[n] for n in (0, 1, 3, 4))
    assert first.params["sampler"] == "arrp" and "B" not in first.params
    assert first.params["batch_size"] == '{"qqp": 16, "sst": 8, "sts": 8}'
    assert first.user_attrs["fixed"] == {"B": 99}
    assert second.user_attrs["fixed"] == {"B": 64} and "B" not in second.params
    assert first.user_attrs["trial_ids"] == list(ended[0].trial_ids)
    assert first.value == pytest.approx(0.5 / 30)
    assert pruned.intermediate_values == {1: pytest.approx(6.5 / 30)}
    assert failed.values is None
    importances = optuna.importance.get_param_importances(study, params=["sampler", "batch_size"])
    assert set(importances) == {"sampler", "batch_size"}


def test_several_objectives_are_shown(uri: str, ended: list[Ended], open_study: Any) -> None:
    two = [replace(e, values=(*e.values, 1.0) if e.values else ()) for e in ended]
    open_study(uri, directions=TWO).update(two)
    assert [direction.name for direction in load(uri).directions] == ["MAXIMIZE", "MINIMIZE"]
    assert load(uri).trials[1].values == pytest.approx(two[1].values)


def test_a_study_with_other_objectives_is_drawn_anew(
    uri: str, ended: list[Ended], open_study: Any
) -> None:
    open_study(uri, directions=TWO).update([])
    open_study(uri).update(ended)
    assert keys(uri) == [each.key for each in ended]


def test_a_study_that_people_deleted_or_renamed_is_there_once(
    uri: str, ended: list[Ended], open_study: Any
) -> None:
    """Optuna renames by copying."""
    open_study(uri).update(ended[:5])
    optuna.delete_study(study_name="s", storage=storage(uri))
    open_study(uri).update(ended[:6])
    assert keys(uri) == [each.key for each in ended[:6]]
    optuna.copy_study(
        from_study_name="s", from_storage=storage(uri), to_storage=storage(uri),
        to_study_name="mine",
    )  # fmt: skip
    optuna.delete_study(study_name="s", storage=storage(uri))
    for _ in range(2):
        open_study(uri).update(ended)
        assert optuna.get_all_study_names(storage(uri)) == ["mine"]
        assert keys(uri, "mine") == [each.key for each in ended]
    copy = PersistentStudy(uri, "copy", "id", ONE)  # of the sweep, under another name
    copy.update(ended[:2])
    assert keys(uri, "copy") == [each.key for each in ended[:2]] and copy.delete()
    assert open_study(uri).delete() and optuna.get_all_study_names(storage(uri)) == []


def test_a_sweep_of_the_same_name_has_a_study_of_its_own(
    uri: str, ended: list[Ended], open_study: Any
) -> None:
    open_study(uri, "first").update(ended[:2])
    for _ in range(2):
        open_study(uri, "0123456789").update(ended[:3])
    assert len(keys(uri)) == 2 and len(keys(uri, "s-01234567")) == 3
    optuna.create_study(study_name="t", storage=storage(uri))  # killed before it said whose it is
    PersistentStudy(uri, "t", "id", ONE).update(ended[:1])
    assert len(keys(uri, "t")) == 1


def test_what_ended_otherwise_than_the_study_says_is_drawn_anew(
    uri: str, ended: list[Ended], open_study: Any
) -> None:
    """Another seed was added, or a directory was deleted and its trial trained again."""
    open_study(uri).update(ended)
    changed = [replace(ended[0], trial_ids=(*ended[0].trial_ids, "third")), *ended[1:3]]
    study = open_study(uri)
    study.update(changed[:1])
    study.update(changed)
    found = load(uri).trials
    assert [trial.user_attrs["trial_ids"] for trial in found] == [
        list(e.trial_ids) for e in changed
    ]


def test_a_suggestion_that_was_added_twice_is_noticed(
    uri: str, ended: list[Ended], open_study: Any
) -> None:
    open_study(uri).update(ended)
    study = load(uri)
    study.add_trial(study.trials[0])  # what a lost answer of a database makes of a second try
    study = open_study(uri)
    study.update(ended)
    assert sorted(keys(uri)) == sorted(each.key for each in ended)


def test_a_storage_that_fails_in_the_middle_is_caught_up_later(
    ended: list[Ended], open_study: Any, tmp_path: Path
) -> None:
    study = open_study(f"sqlite:///{tmp_path}/studies.db")
    study.update(ended[:3])
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute(
            "create trigger full before insert on trials when (select count(*) from trials) > 6"
            " begin select raise(abort, 'disk full'); end"
        )
    for _ in range(2):
        with pytest.raises(Exception, match="disk full"):
            study.update(ended)
    assert keys(study.uri) == [each.key for each in ended[:7]]
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("drop trigger full")
    open_study(study.uri).update(ended[:9])  # what the database took was not known
    study.update(ended)
    assert keys(study.uri) == [each.key for each in ended]


def test_a_database_that_is_not_there_yet_is_asked_again(
    ended: list[Ended], open_study: Any, tmp_path: Path
) -> None:
    study = open_study(f"sqlite:///{tmp_path}/later/studies.db")
    with pytest.raises(Exception, match="unable to open database"):
        study.update(ended[:2])
    (tmp_path / "later").mkdir()
    study.update(ended)
    assert len(keys(study.uri)) == 12


def test_nothing_is_asked_of_the_storage_when_nothing_changed(
    ended: list[Ended], open_study: Any, tmp_path: Path
) -> None:
    many = [replace(ended[1], key=f"p{n}") for n in range(40)]
    study = open_study(f"sqlite:///{tmp_path}/studies.db")
    study.update(many)
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        connection.execute("drop table trials")
    begin = time.perf_counter()
    for _ in range(1000):
        study.update(many)
    assert time.perf_counter() - begin < 0.5


@pytest.mark.parametrize("damage", ["torn", "garbage", "no study", "lock", "dead lock"])
def test_a_damaged_journal_does_not_break_it_for_ever(
    damage: str, ended: list[Ended], open_study: Any, tmp_path: Path
) -> None:
    path = tmp_path / JOURNAL
    open_study(f"journal:{path}").update(ended[:6])
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "torn":
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    elif damage == "garbage":
        path.write_bytes(b"garbage\n" + b"".join(lines))
    elif damage == "no study":
        path.write_bytes(b"".join(lines[1:]))
    else:
        (tmp_path / f"{JOURNAL}.lock").symlink_to(path)
        if damage == "dead lock":
            path.unlink()
    begin = time.monotonic()
    open_study(f"journal:{path}").update(ended)
    assert time.monotonic() - begin < 10, "Optuna waits 30 s for a lock that nobody holds"
    assert keys(f"journal:{path}") == [each.key for each in ended]


def test_a_sweep_without_an_end_yet_has_its_study(
    uri: str, open_study: Any, tmp_path: Path
) -> None:
    queue = open_queue(tmp_path, make_spec(search={"num_trials": 1}))
    study = open_study(uri)
    study.update(queue.ended_suggestions())
    assert load(uri).trials == [] and load(uri).user_attrs == {"sweep_id": "id", "sweep": "s"}
    finish(queue)
    study.update(queue.ended_suggestions())
    assert keys(uri) == ["p0"]
