"""A persistent Optuna study of a sweep, for optuna-dashboard and whatever else reads one.

It is a projection: nothing is ever read back from it, and it may be thrown away at any time.
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
from orchestrator.database_urls import expanded
from orchestrator.search.ask_tell_study import DIRECTIONS
from orchestrator.search.suggestions import Ended

#: Name of the journal beside the trials.
JOURNAL = "optuna.journal"

_JOURNAL_SCHEME = "journal:"
_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
_KEY, _TRIALS, _FIXED, _SWEEP = "suggestion", "trial_ids", "fixed", "sweep_id"


class PersistentStudy:
    """The study of one sweep in one storage.  For one thread at a time.

    Methods raise whatever the storage raises; called again they connect anew and read what is
    there, so that every suggestion stands in the study once.

    Args:
        uri: `journal:/path/of/a/file` or a database URL as Optuna's RDBStorage takes it.
        spec_name: the sweep's name and the study's; if a study of another sweep has it, the first
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
        #: Key of a suggestion -> what the study says of its end.
        self._held: dict[str, tuple[Any, ...]] = {}
        self._done = 0
        #: How many suggestions were added.
        self.added = 0

    def update(self, ended: Sequence[Ended]) -> None:
        """Bring the study up to `ended`, to which entries are only ever added in one run.

        A suggestion that ended otherwise than the study says (a seed more, a trial that was
        deleted and trained again) makes the study anew: what Optuna has as ended stays as it is.
        """
        try:
            study = self._study or self._open()
            if any(self._held.get(e.key, _told(e)) != _told(e) for e in ended[self._done :]):
                self._delete(study)
                study = self._open()
            for each in ended[self._done :]:
                if each.key not in self._held:
                    study.add_trial(_as_trial(each))
                    self._held[each.key] = _told(each)
                    self.added += 1
                self._done += 1
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the storage; the next `update` connects again."""
        storage, self._storage, self._study = self._storage, None, None
        self._held, self._done = {}, 0
        if isinstance(storage, RDBStorage):
            with contextlib.suppress(Exception):  # the connection may be what has failed
                storage.remove_session()
                storage.engine.dispose()

    def _open(self) -> Study:
        if self._storage is None:
            self._storage = _open_storage(self.uri)
        study = self._find(self._storage)
        trials = study.get_trials(deepcopy=False)
        held = {trial.user_attrs.get(_KEY, ""): _shown(trial) for trial in trials}
        same = study.directions == self._wanted()
        if not same or len(held) < len(trials):  # a lost connection may have added one twice
            self._delete(study)
            return self._open()
        self._study, self._held, self._done = study, held, 0
        return study

    def _find(self, storage: BaseStorage) -> Study:
        """The study of this very sweep, made if it is not there."""
        for name in (self.spec_name, f"{self.spec_name}-{self.sweep_id[:8]}"):
            try:
                study = optuna.load_study(study_name=name, storage=storage)
            except KeyError:
                study = optuna.create_study(
                    study_name=name, storage=storage, directions=self._wanted()
                )
                study.set_user_attr(_SWEEP, self.sweep_id)
                study.set_metric_names(list(self.directions))
                return study
            owner = study.user_attrs.get(_SWEEP)
            if owner == self.sweep_id:
                return study
            if owner is None and not study.get_trials(deepcopy=False):
                study.set_user_attr(_SWEEP, self.sweep_id)  # ours, killed before it said so
                return study
        raise RuntimeError(f"the studies named {self.spec_name} are other sweeps'")

    def _wanted(self) -> list[StudyDirection]:
        return [DIRECTIONS[goal] for goal in self.directions.values()]

    def _delete(self, study: Study) -> None:
        assert self._storage is not None
        optuna.delete_study(study_name=study.study_name, storage=self._storage)
        self._study, self._held, self._done = None, {}, 0


def _as_trial(ended: Ended) -> FrozenTrial:
    """One suggestion as Optuna's trial, whole: no storage ever shows a part of it."""
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


def _told(ended: Ended) -> tuple[Any, ...]:
    return _shown(_as_trial(ended))


def _shown(trial: FrozenTrial) -> tuple[Any, ...]:
    """What has to be equal, as far as a database keeps it."""
    values = tuple(f"{value:.9g}" for value in trial.values or ())
    return trial.state.name, values, tuple(trial.user_attrs.get(_TRIALS, ()))


def _open_storage(uri: str) -> BaseStorage:
    if not uri.startswith(_JOURNAL_SCHEME):
        os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # a host that is gone is noticed
        return RDBStorage(expanded(uri))
    path = Path(uri.removeprefix(_JOURNAL_SCHEME))
    _mend(path)
    try:
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError:
        raise
    except Exception:  # whatever the damage makes of Optuna's reader: it is only a picture
        path.unlink()
        return JournalStorage(JournalFileBackend(str(path)))


def _mend(path: Path) -> None:
    """Drop a torn last line, behind which nothing could be read again, and an orphaned lock.

    The sweep's own lock is held, so nobody else is writing.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def study_health(uri: str) -> Health:
    """Raises whatever the database raises."""
    if "studies" not in tables(uri):
        return Health(empty=True)
    storage = RDBStorage(uri, skip_compatibility_check=True, skip_table_creation=True)
    try:
        return Health(storage.get_current_version(), storage.get_head_version())
    finally:
        storage.remove_session()
        storage.engine.dispose()
