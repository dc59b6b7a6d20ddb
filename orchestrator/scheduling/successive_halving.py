"""Asynchronous successive halving, rebuilt from the ledger: which trials stop early.

A rung is an epoch at which trials are compared: `grace * factor ** k`.  A trial that reaches one is
ranked among those that reached it earlier.  It stops unless it is in the best `1 / factor`.
Everything the rungs hold follows from the epochs' records, so a new driver can rebuild them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.ledger.current import searched
from orchestrator.spec.models import OBJECTIVES

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.spec import SweepSpec


class Rungs:
    """ASHA's stopping rule (Li et al. 2018), with the decisions of Ray's `ASHAScheduler`.

    With several values a trial's rank is minus the number of its non-dominated front among the
    trials of the rung (Deb et al. 2002), and the rule stays the same.

    Args:
        grace: the first rung; no trial stops before this epoch.
        factor: each rung is `factor` times the one before; one trial in `factor` passes it.
        max_epochs: the last epoch that can be a rung.
    """

    def __init__(self, grace: int, factor: int, max_epochs: int):
        share = (1 - 1 / factor) * 100
        self._rungs: list[_Rung] = []
        milestone = grace
        while milestone <= max_epochs:
            self._rungs.insert(0, _Rung(milestone, share))
            milestone *= factor

    def result(self, trial_id: str, epoch: int, values: Sequence[float]) -> bool:
        """Add an epoch's values (more is better); returns whether the trial stops after it.

        A trial counts once in each rung, with the first epoch that reaches it.  Values that are
        not finite are not ranked.
        """
        for rung in self._rungs:
            if epoch >= rung.milestone:
                known = trial_id in rung.trial_ids
                finite = all(map(math.isfinite, values))
                return not known and finite and rung.add(trial_id, values)
        return False


class Halving:
    """The rungs of a sweep, filled from its epochs' records."""

    def __init__(self, spec: SweepSpec):
        scheduler, objectives = spec.scheduler, spec.search.objectives
        if scheduler.rank == "fronts":
            goals = dict(objectives)
        else:
            goals = {
                scheduler.metric: objectives.get(scheduler.metric, OBJECTIVES[scheduler.metric])
            }
        self._signs = {metric: 1.0 if goal == "max" else -1.0 for metric, goal in goals.items()}
        #: Trials that were ended as pruned when the rungs were rebuilt.
        self.ended_late: list[str] = []
        self._rungs = Rungs(scheduler.grace_epochs, scheduler.reduction_factor, _max_epochs(spec))

    def result(self, trial_id: str, epoch: int, record: Mapping[str, Any]) -> bool:
        """Whether a trial stops after an epoch; `record` holds its metrics."""
        values = [sign * _number(record.get(metric)) for metric, sign in self._signs.items()]
        return self._rungs.result(trial_id, epoch, values)

    def replay(self, trials: Iterable[TrialRecord]) -> dict[str, int]:
        """Fill the rungs with the epochs of earlier runs, in the order of their commits.

        Returns trial -> newest epoch for the trials which that epoch stops.  A driver that was
        killed right after that commit had no time to stop them.
        """
        commits = sorted(
            (when, trial.trial_id, epoch, record)
            for trial in trials
            for when, epoch, record in _commits(trial)
        )
        stopped: dict[str, int] = {}
        for _, trial_id, epoch, record in commits:
            stopped.pop(trial_id, None)
            if self.result(trial_id, epoch, record):
                stopped[trial_id] = epoch
        return stopped


def rebuilt(spec: SweepSpec, ledger: Ledger, trials: Iterable[TrialRecord]) -> Halving | None:
    """The rungs after earlier runs of this sweep; None if nothing stops trials early.

    Ends as pruned the trials that a killed driver had no time to stop.  Confirming trials run all
    their epochs, so they are in no rung.
    """
    if spec.scheduler.name == "none":
        return None
    halving = Halving(spec)
    known = {trial.trial_id: trial for trial in searched(trials)}
    for trial_id, epoch in halving.replay(known.values()).items():
        trial = known[trial_id]
        if trial.status == "unfinished" and epoch < trial.config.get("epochs", 0):
            ledger.close(trial_id, "pruned", stop_reason(epoch))
            halving.ended_late.append(trial_id)
    return halving


def stop_reason(epoch: Any) -> str:
    """The reason in end.json of a trial that was stopped after `epoch`."""
    return f"stopped by asha after epoch {epoch}"


class _Rung:
    """The trials that reached one epoch, each with its rank."""

    def __init__(self, milestone: int, share: float):
        self.milestone = milestone
        self.trial_ids: set[str] = set()
        self._share = share
        self._ranks: NDArray[np.float64] = np.empty(64)
        #: The ranked points, (values, capacity); empty for a single value.
        self._points: NDArray[np.float64] = np.empty((0, 64))

    def add(self, trial_id: str, values: Sequence[float]) -> bool:
        """Rank a trial; returns whether it is below the percentile of the earlier ones."""
        count = len(self.trial_ids)
        if count == len(self._ranks):
            self._ranks = np.resize(self._ranks, 2 * count)
        rank = values[0] if len(values) == 1 else self._sort_in(values)
        before = self._ranks[:count]
        stops = count > 0 and rank < float(np.percentile(before, self._share))
        self._ranks[count] = rank
        self.trial_ids.add(trial_id)
        return stops

    def _sort_in(self, values: Sequence[float]) -> float:
        """Put a point into its non-dominated front; returns minus the front's number.

        Efficient non-dominated level update (Li et al. 2017): the points of that front which the
        new one dominates move down by one front, and push others down in turn.
        """
        count, capacity = len(self.trial_ids), len(self._ranks)
        if self._points.shape != (len(values), capacity):
            grown = np.empty((len(values), capacity))
            grown[: len(self._points), :count] = self._points[:, :count]
            self._points = grown
        point = np.array(values)[:, None]
        points, ranks = self._points[:, :count], self._ranks[:count]
        above = ranks[_dominates(points, point)]
        rank = level = above.min() - 1 if above.size else 0.0
        sinking = point
        while sinking.size:
            members = np.flatnonzero(ranks == level)
            under = _dominates(sinking[:, :, None], points[:, None, members]).any(axis=0)
            sinking = points[:, members[under]]
            level -= 1
            ranks[members[under]] = level
        self._points[:, count] = values
        return float(rank)


def _dominates(better: NDArray[np.float64], worse: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where points (values, ...) are at least as good in all values and better in one."""
    return np.all(better >= worse, axis=0) & np.any(better > worse, axis=0)


def _commits(trial: TrialRecord) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Time, number and record of each epoch; times never decrease, even if a clock was set back."""
    latest = ""
    for record in trial.records:
        when = record.get("finished_at")
        latest = max(latest, when) if isinstance(when, str) else latest
        yield latest, record["epoch"], record


def _max_epochs(spec: SweepSpec) -> int:
    """The most epochs that a trial of the sweep can have."""
    values = [spec.base_value("epochs"), *(entry.get("epochs") for entry in spec.enqueue)]
    if "epochs" in spec.space:
        dimension = spec.space["epochs"]
        values += dimension.choices or [dimension.high]
    return max(int(epochs) for epochs in values if isinstance(epochs, int | float))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
