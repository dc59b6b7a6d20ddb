"""The suggestions of a sweep in their order, and their ends."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution

from orchestrator.search.ask_tell_study import PATIENCE, Series, Suggestion
from orchestrator.search.distributions import contains, distribution, in_optuna

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

#: `+`: two drivers used the same key, each for another configuration.
_KEY = re.compile(r"(?:.*/)?([ep])(\d+)\+*")


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: the ledger's status, the values of its objectives, its epochs."""

    status: str
    values: tuple[float, ...]
    epochs: int


@dataclass(frozen=True)
class Ended:
    """A suggestion all of whose trials have ended.

    Attributes:
        params: all of its params.
        shown: the params that Optuna can show, with their `distributions`.
        state: `complete`, `pruned` or `failed`.
        values: the objectives, means over the seeds; empty unless known and finite.
        epochs: of the trial with the fewest.
        trial_ids: one for each seed, in their order.
    """

    key: str
    params: dict[str, Any]
    shown: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    state: str
    values: tuple[float, ...]
    epochs: int
    trial_ids: tuple[str, ...]


def order(key: object) -> tuple[bool, int, str]:
    """Sort key for suggestion keys: entries first, then proposals by their numbers."""
    match = _KEY.fullmatch(str(key))
    return (match[1] == "p", int(match[2]), str(key)) if match else (True, -1, str(key))


class Suggestions:
    """What one sweep tries: first `recall` what the ledger has, then `ask` for more.

    Call `accept` or `reject` right after each `ask`, and `end` once for each suggestion that was
    recalled or accepted.
    """

    def __init__(self, spec: SweepSpec):
        self.spec = spec
        per = spec.search.per
        if per is None:
            self.series = [Series(spec)]
        else:
            choices = spec.space[per].choices or []
            self.series = [Series(spec, str(choice), {per: choice}) for choice in choices]
        self._distributions = {name: distribution(d) for name, d in spec.space.items()}
        self._entries = dict(enumerate(spec.enqueue))
        self._keys: set[str] = set()

    @property
    def left(self) -> int:
        """How many more configurations may start, as far as is known."""
        if self.spec.search.algorithm == "list":
            return min(self.series[0].left, len(self._entries))
        return sum(series.left for series in self.series)

    def recall(self, record: Mapping[str, Any]) -> Suggestion:
        """Restore a suggestion of an earlier run from its `record`.  Recall them in their `order`.

        Raises ValueError if the record is not a suggestion's.
        """
        key, params, notes = (record.get(name) for name in ("key", "params", "notes"))
        match = _KEY.fullmatch(key) if isinstance(key, str) else None
        if not (match and isinstance(params, dict) and isinstance(notes, dict)):
            raise ValueError(f"not a suggestion: {record}")
        assert isinstance(key, str)
        number = int(match[2])
        if match[1] == "e":
            self._entries.pop(number, None)
        while key in self._keys:
            key += "+"
        self._keys.add(key)
        series = self._series_of(params)
        trial = series.recall(number if match[1] == "p" else None, params, notes)
        return Suggestion(key, params, notes, trial)

    def ask(self) -> Suggestion | None:
        """The next suggestion, enqueued ones first; None if there are enough."""
        while self._entries:
            index = next(iter(self._entries))
            entry = self._entries.pop(index)
            series = self._series_of(entry)
            if series.left:
                return series.ask(f"e{index}", entry)
        unfinished = [series for series in self.series if series.left]
        if self.spec.search.algorithm == "list" or not unfinished:
            return None
        return min(unfinished, key=lambda series: series.started).propose()

    def accept(self, suggestion: Suggestion) -> None:
        """Its configuration is new, and counts."""
        self._series_of(suggestion.params).accept()

    def reject(self, suggestion: Suggestion) -> str:
        """Its configuration is known or not valid; returns a message for the user, or nothing."""
        series = self._series_of(suggestion.params)
        if not series.reject(suggestion):
            return ""
        where = f"with {self.spec.search.per} = {series.name} " if series.name else ""
        count = f"{series.started} configuration{'' if series.started == 1 else 's'}"
        return (
            f"{where}the space has no more than {count}: {PATIENCE} proposals in a row repeated "
            f"earlier ones, so the sweep ends before search.num_trials "
            f"({self.spec.search.num_trials})"
        )

    def end(self, suggestion: Suggestion, outcomes: Mapping[str, Outcome]) -> Ended:
        """End a suggestion with the outcomes of its trials, one for each seed.

        One failed seed fails it, because a mean over fewer seeds would not be comparable.  A mean
        that is not finite fails it, too.  One pruned seed prunes it.
        """
        columns = zip(*(outcome.values for outcome in outcomes.values()), strict=True)
        means = tuple(math.fsum(column) / len(column) for column in columns)
        finite = bool(means) and all(map(math.isfinite, means))
        statuses = {outcome.status for outcome in outcomes.values()}
        if not statuses or not statuses <= {"complete", "pruned"}:
            state = "failed"
        elif "pruned" in statuses:
            state = "pruned"
        else:
            state = "complete" if finite else "failed"
        values = means if finite and state != "failed" else ()
        epochs = min((outcome.epochs for outcome in outcomes.values()), default=0)
        series = self._series_of(suggestion.params)
        series.tell(suggestion.number, state, values, epochs)
        params, space = suggestion.params, self.spec.space
        shown = {
            name: in_optuna(dimension, params[name])
            for name, dimension in space.items()
            if name in params and self.spec.acts(name, params) and contains(dimension, params[name])
        }
        distributions = {name: self._distributions[name] for name in shown}
        return Ended(
            suggestion.key, params, shown, distributions, state, values, epochs, tuple(outcomes)
        )

    def _series_of(self, params: Mapping[str, Any]) -> Series:
        """The series of the choice of `search.per`; the spec's checks require one in an entry."""
        if self.spec.search.per is None:
            return self.series[0]
        return next(s for s in self.series if s.given.items() <= params.items())
