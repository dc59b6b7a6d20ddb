"""A persistent Optuna study of a sweep, for optuna-dashboard and other readers.

It is a projection: the search never reads it, and it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from orchestrator.database_health import Health, tables
from orchestrator.database_urls import JOURNAL_SCHEME, expanded
from orchestrator.search.ask_tell_study import DIRECTIONS
from orchestrator.search.suggestions import Ended

#: Name of the journal beside the trials.
JOURNAL = "optuna.journal"

_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_KEY, _TRIALS, _FIXED, _SWEEP, _NAME = "suggestion", "trial_ids", "fixed", "sweep_id", "sweep"


class PersistentStudy:
    """The study of one sweep in one storage.  For one thread at a time.

    Methods raise whatever the storage raises.  The next call connects again and reads what is
    there, so that the study has every suggestion once.

    Args:
        uri: `journal:/path/of/a/file`, or a database URL for Optuna's RDBStorage.
        spec_name: the sweep's name and the study's.  If another sweep's study has it, the first
            digits of `sweep_id` are added.
        directions: objective -> `max` or `min`, in the order of the values.
    """

    def __init__(self, uri: str, spec_name: str, sweep_id: str, directions: Mapping[str, str]):
        self.uri = uri
        self.spec_name = spec_name
        self.sweep_id = sweep_id
        self.directions = dict(directions)
        self._storage: BaseStorage | None = None
        self._study: Study | None = None
        #: Key of a suggestion -> its end in the study.
        self._held: dict[str, tuple[Any, ...]] = {}
        self._done = 0
        #: How many suggestions this process has added.
        self.added = 0

    def update(self, ended: Sequence[Ended]) -> None:
        """Add the suggestions of `ended` that the study lacks; during a run `ended` only grows.

        Optuna never changes an ended trial.  So if a suggestion's end differs from the study's
        (another seed, a trial that was deleted and trained again), the study is created again.
        """
        try:
            study = self._study or self._open()
            new = [(each, _as_trial(each)) for each in ended[self._done :]]
            if any(self._held.get(e.key, _compared(t)) != _compared(t) for e, t in new):
                self._delete(study)
                study = self._open()
                new = [(each, _as_trial(each)) for each in ended]
            for each, trial in new:
                if each.key not in self._held:
                    study.add_trial(trial)
                    self._held[each.key] = _compared(trial)
                    self.added += 1
                self._done += 1
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the storage; the next `update` connects again."""
        storage, self._storage, self._study = self._storage, None, None
        self._held, self._done = {}, 0
        if isinstance(storage, RDBStorage):
            with contextlib.suppress(Exception):  # the connection may be what has failed
                storage.remove_session()
                storage.engine.dispose()

    def delete(self) -> bool:
        """Delete the sweep's study; returns whether there was one."""
        found = False
        try:
            self._storage = storage = _open_storage(self.uri)
            while (study := self._existing(storage)) is not None:
                self._delete(study)
                found = True
        finally:
            self.close()
        return found

    def _names(self) -> tuple[str, str]:
        """The names that the study may have: the second one if another sweep's has the first."""
        return self.spec_name, f"{self.spec_name}-{self.sweep_id[:8]}"

    def _open(self) -> Study:
        if self._storage is None:
            self._storage = _open_storage(self.uri)
        study = self._find(self._storage)
        trials = study.get_trials(deepcopy=False)
        held = {trial.user_attrs.get(_KEY, ""): _compared(trial) for trial in trials}
        same = study.directions == self._wanted()
        if not same or len(held) < len(trials):  # a lost connection may have added one twice
            self._delete(study)
            return self._open()
        self._study, self._held, self._done = study, held, 0
        return study

    def _existing(self, storage: BaseStorage) -> Study | None:
        """The study of the sweep with this id, whatever somebody has called it."""
        if not self.sweep_id:
            return None
        every = optuna.get_all_study_summaries(storage, include_best_trial=False)
        of_id = {e.study_name: e for e in every if e.user_attrs.get(_SWEEP) == self.sweep_id}
        # A copy of the sweep under another name has the same id.
        mine = {
            name
            for name, each in of_id.items()
            if name in self._names() or each.user_attrs.get(_NAME) == self.spec_name
        }
        name = next((name for name in [*self._names(), *sorted(mine)] if name in mine), None)
        return None if name is None else optuna.load_study(study_name=name, storage=storage)

    def _find(self, storage: BaseStorage) -> Study:
        """The study of the sweep with this id; created if it does not exist."""
        if (existing := self._existing(storage)) is not None:
            return existing
        for name in self._names():
            try:
                study = optuna.load_study(study_name=name, storage=storage)
            except KeyError:
                study = optuna.create_study(
                    study_name=name, storage=storage, directions=self._wanted()
                )
                study.set_user_attr(_SWEEP, self.sweep_id)
                study.set_user_attr(_NAME, self.spec_name)
                study.set_metric_names(list(self.directions))
                return study
            if _SWEEP not in study.user_attrs and not study.get_trials(deepcopy=False):
                # ours: a driver was killed before it wrote the id
                study.set_user_attr(_SWEEP, self.sweep_id)
                return study
        raise RuntimeError(f"the studies named {self.spec_name} belong to other sweeps")

    def _wanted(self) -> list[StudyDirection]:
        return [DIRECTIONS[goal] for goal in self.directions.values()]

    def _delete(self, study: Study) -> None:
        assert self._storage is not None
        optuna.delete_study(study_name=study.study_name, storage=self._storage)
        self._study, self._held, self._done = None, {}, 0


def _as_trial(ended: Ended) -> FrozenTrial:
    """A suggestion as a complete Optuna trial, so that no storage ever shows a part of it."""
    state = _STATES[ended.state]
    single = len(ended.values) == 1
    shown = ended.values and (state == TrialState.COMPLETE or single)
    fixed = {key: value for key, value in ended.params.items() if key not in ended.shown}
    return create_trial(
        state=state,
        values=list(ended.values) if shown else None,
        params=ended.shown,
        distributions=ended.distributions,
        intermediate_values={ended.epochs: ended.values[0]}
        if state == TrialState.PRUNED and single
        else {},
        user_attrs={_KEY: ended.key, _TRIALS: list(ended.trial_ids), _FIXED: fixed},
    )


def _compared(trial: FrozenTrial) -> tuple[Any, ...]:
    """What must be equal, with the precision of all databases."""
    values = tuple(f"{value:.9g}" for value in trial.values or ())
    return trial.state.name, values, tuple(trial.user_attrs.get(_TRIALS, ()))


def _open_storage(uri: str) -> BaseStorage:
    if not uri.startswith(JOURNAL_SCHEME):
        os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # a host that is gone is noticed
        return RDBStorage(expanded(uri))
    path = Path(uri.removeprefix(JOURNAL_SCHEME))
    _repair(path)
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError:
        raise
    except Exception:  # Optuna cannot read a damaged journal; we can rebuild it
        path.unlink()
        return JournalStorage(JournalFileBackend(str(path)))


def _repair(path: Path) -> None:
    """Delete an incomplete last line, after which Optuna could not read on, and an orphaned lock.

    We hold the sweep's lock, so nobody else is writing.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def study_health(uri: str) -> Health:
    """The health of a study's database; raises what the database raises."""
    if "studies" not in tables(uri):
        return Health(empty=True)
    storage = RDBStorage(uri, skip_compatibility_check=True, skip_table_creation=True)
    try:
        return Health(storage.get_current_version(), storage.get_head_version())
    finally:
        storage.remove_session()
        storage.engine.dispose()
