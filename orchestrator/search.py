"""What to try next: an Optuna study, asked and told.  The only module that imports optuna.

The study is a journal file beside the trials, one study name a sweep.  What is random is drawn from
the seed, the suggestion's number and the parameter's name, never from a generator's position, so a
sweep that was killed proposes the same things as one that was not (adaptive samplers also look at
the values told so far).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

if TYPE_CHECKING:
    from orchestrator.spec import Dimension, SweepSpec

JOURNAL = "optuna.journal"

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Suggestion:
    """One configuration to try; `params` are dotted config keys, conditional ones if they act."""

    number: int
    params: dict[str, Any]
    finished: bool = False


class StudyError(Exception):
    """The journal is damaged; the text says where and what to do."""


class Suggestions:
    """The study of one sweep.  Use it under the sweep's lock: there is one writer."""

    def __init__(self, folder: Path, spec: SweepSpec):
        self.spec = spec
        path = folder / JOURNAL
        _repair(path)
        search = spec.search
        self.sampler = _sampler(search.algorithm, search.seed)
        directions = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
        try:
            self.study: Study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path))),
                study_name=spec.name,
                sampler=self.sampler,
                directions=[directions[goal] for goal in search.objectives.values()],
                load_if_exists=True,
            )
        except (ValueError, KeyError, AssertionError) as error:
            raise StudyError(
                f"{path}: cannot be read ({error}); move it away: trials keep their results, and "
                "list, grid and random searches find them again"
            ) from error
        self._enqueue_missing()

    def earlier(self) -> list[Suggestion]:
        """Suggestions of earlier runs of this sweep, finished or not, in their order.

        A suggestion that was interrupted while it was being made is completed here.
        """
        trials = self.study.get_trials(deepcopy=False)
        return [
            Suggestion(t.number, self._recorded(t), finished=True)
            if t.state.is_finished()
            else self._suggest(Trial(self.study, t._trial_id))
            for t in trials
            if t.state != TrialState.WAITING
        ]

    def begun(self) -> int:
        """How many suggestions were made so far, enqueued ones that wait not counted."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(t.state != TrialState.WAITING for t in trials)

    def ask(self) -> Suggestion | None:
        """The next suggestion, enqueued ones first; None when there are as many as were wanted."""
        begun = self.begun()
        if begun >= self.spec.search.num_trials:
            return None
        if self.spec.search.algorithm == "list" and begun >= len(self.spec.enqueue):
            return None
        return self._suggest(self.study.ask())

    def tell(self, number: int, states: Sequence[str], values: Sequence[Sequence[float]]) -> None:
        """End a suggestion as its trials did, one a seed (`complete`, `pruned`, `failed`).

        `values` are each trial's objectives in their order; the suggestion's are the means.  One
        failed seed fails it, and so does a mean that is not finite: a mean over fewer seeds would
        not be comparable.  One pruned seed prunes it.
        """
        means = [math.fsum(column) / len(column) for column in zip(*values, strict=True)]
        finite = bool(means) and all(math.isfinite(mean) for mean in means)
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            return
        if "failed" in states or not (finite or "pruned" in states):
            self.study.tell(number, state=TrialState.FAIL)
        elif "pruned" in states:
            if finite and len(means) == 1:  # Optuna has intermediate values of one objective only
                Trial(self.study, trial._trial_id).report(means[0], step=1)
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, means)

    def _enqueue_missing(self) -> None:
        """Enqueue each entry once, even if an earlier start was killed among them."""
        entries = {t.user_attrs.get("entry") for t in self.study.get_trials(deepcopy=False)}
        for index, entry in enumerate(self.spec.enqueue):
            if index in entries:
                continue
            space = self.spec.space
            proposed = {k: v for k, v in entry.items() if k in space and _contains(space[k], v)}
            fixed = {k: v for k, v in entry.items() if k not in proposed}
            self.study.enqueue_trial(proposed, user_attrs={"entry": index, "fixed": fixed})

    def _suggest(self, trial: Trial) -> Suggestion:
        """Walk the space in its order; a dimension is asked for only where its `when` holds."""
        params: dict[str, Any] = dict(trial.user_attrs.get("fixed", {}))
        for key, dimension in self.spec.space.items():
            if key not in params and self.spec.acts(key, params):
                params[key] = _ask_dimension(trial, key, dimension)
        return Suggestion(trial.number, params)

    def _recorded(self, trial: FrozenTrial) -> dict[str, Any]:
        space = self.spec.space
        asked = {
            k: (space[k].choices or [])[v] if k in space and _by_position(space[k]) else v
            for k, v in trial.params.items()
        }
        return {**trial.user_attrs.get("fixed", {}), **asked}


class _Numbered(BaseSampler):
    """A sampler made anew for every (suggestion, parameter) from a seed of its own."""

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self._make = make
        self._seed = seed

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}  # every parameter is drawn by itself: conditional spaces have no fixed shape

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        text = f"{self._seed}:{trial.number}:{param_name}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        return self._make(seed).sample_independent(study, trial, param_name, param_distribution)


def _sampler(algorithm: str, seed: int) -> BaseSampler:
    """`constant_liar` counts running suggestions as bad, so that parallel ones spread out."""
    if algorithm == "tpe":
        return _Numbered(lambda s: TPESampler(seed=s, constant_liar=True, multivariate=False), seed)
    return _Numbered(lambda s: RandomSampler(seed=s), seed)


def _ask_dimension(trial: Trial, key: str, dimension: Dimension) -> Any:
    if dimension.kind == "categorical":
        choices = list(dimension.choices or [])
        if _by_position(dimension):
            return choices[trial.suggest_categorical(key, range(len(choices)))]
        return trial.suggest_categorical(key, choices)
    low, high, step, log = dimension.low, dimension.high, dimension.step, dimension.log
    assert low is not None and high is not None
    if dimension.kind == "int":
        return trial.suggest_int(key, int(low), int(high), step=int(step or 1), log=log)
    return trial.suggest_float(key, float(low), float(high), step=step, log=log)


def _by_position(dimension: Dimension) -> bool:
    """Optuna stores scalars only; other choices (a per-task batch size) go by their position."""
    return not all(isinstance(c, bool | int | float | str | None) for c in dimension.choices or [])


def _contains(dimension: Dimension, value: Any) -> bool:
    """Whether the search itself could have proposed `value`."""
    if dimension.kind == "categorical":
        choices = dimension.choices or []
        found = any(c == value and type(c) is type(value) for c in choices)
        return found and not _by_position(dimension)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    assert dimension.low is not None and dimension.high is not None
    if not dimension.low <= value <= dimension.high:
        return False
    if dimension.kind == "int" and value != int(value):
        return False
    steps = (value - dimension.low) / dimension.step if dimension.step else 0.0
    return abs(steps - round(steps)) < 1e-8


def _repair(path: Path) -> None:
    """Make the journal readable after a crash: drop a torn last line and an orphaned lock.

    Optuna would append behind the torn line and then never read the file again.  The sweep's own
    lock is held here, so nobody else is writing.
    """
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())
