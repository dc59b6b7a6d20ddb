"""A paper's figures and ours: the rows that a sweep file quotes under `published`.

A row names its configuration, so figures never stand beside those of another one.  Beside the
figures stands what was really run, and where that is not what the paper ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.compare.configurations import Spread, plain
from orchestrator.compare.published_setup import Ran, differences, ran_by
from orchestrator.errors import UserError
from orchestrator.ledger.listing import resolved_spec
from orchestrator.ledger.timing_sessions import Session, timings
from orchestrator.ledger.trial_id import config_id
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.published import PublishedRow
from trainer.config import ConfigError
from trainer.config.task_choices import METRICS
from trainer.storage.summary import BEST, LAST

if TYPE_CHECKING:
    from orchestrator.compare.configurations import Comparison, Row
    from orchestrator.ledger import Ledger, TrialRecord

#: Figures of a row besides those of its tasks.
SCORES = ("dev_score", "dev_mean")
MINUTES = "minutes_per_epoch"


class NotPublished(UserError):
    """The sweep quotes no figures."""


@dataclass(frozen=True)
class Pair:
    """A published row and ours.

    Attributes:
        published: the paper's figures, by the name of a task, score or `minutes_per_epoch`.
        ours: mean and standard deviation over seeds, by the same names.
        seeds: of our trials; of a joined row, the seeds that every task has.
        config_ids: of our configurations; several for a joined row.
        absent: why there is nothing of ours; empty if there is.
        ran: what was run.
        differs: where that is not what the paper ran.
        minutes_mark: as `Row.minutes_mark`; `†` for minutes of `orch time`.
        score: which epoch our figures are of, `last` or `best`.
        other: figures of the other epoch, on the dev sets of the epochs.
        optimism: by how much figures of the best epoch are too high, where that is known.
    """

    method: str
    published: dict[str, float]
    note: str = ""
    published_B: int | None = None
    ours: dict[str, Spread] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    config_ids: list[str] = field(default_factory=list)
    absent: str = ""
    ran: Ran | None = None
    differs: list[str] = field(default_factory=list)
    minutes_mark: str = ""
    score: str = LAST
    other: dict[str, Spread] = field(default_factory=dict)
    optimism: dict[str, Spread] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: `ours` has means, `spread` has standard deviations."""
        named = {key: plain(value) for key, value in vars(self).items()}
        for key in ("ours", "other", "optimism"):
            named[key] = {name: spread.mean for name, spread in getattr(self, key).items()}
        return {**named, "spread": {name: spread.sd for name, spread in self.ours.items()}}


@dataclass(frozen=True)
class SideBySide:
    """All rows of a sweep's `published`, with its source and its note."""

    source: str
    note: str
    pairs: list[Pair]


def side_by_side(
    ledger: Ledger, trials: Iterable[TrialRecord], comparison: Comparison
) -> SideBySide:
    """One pair for each published row.

    Args:
        trials: those that `comparison` was made from.
    """
    try:
        spec = SweepSpec.model_validate(resolved_spec(ledger))
        published = spec.published
        if published is None:
            raise NotPublished(f"sweep {spec.name} quotes no published figures (key `published`)")
        trials = list(trials)
        own = [_rows_of(spec, row, trials, comparison) for row in published.rows]
    except (ValidationError, ConfigError) as error:
        raise NotPublished(
            f"{ledger.folder.path}: its sweep.yaml cannot be read: {error}"
        ) from error
    by_id = {trial.trial_id: trial for trial in trials}
    sessions = [session for session in timings(ledger) if not session.problem]
    pairs = []
    for row, ours in zip(published.rows, own, strict=True):
        figures = dict(row.tasks) | {
            key: value for key in (*SCORES, MINUTES) if (value := getattr(row, key)) is not None
        }
        setup = published.setup_of(row)
        about = Pair(row.method, figures, row.note, setup.B)
        if absent := _absent(spec, row, ours):
            pairs.append(_with(about, absent=absent))
            continue
        parts = {task: each for task, each in ours.items() if each is not None}
        ran = ran_by({task: (each, by_id[each.trials[0]]) for task, each in parts.items()})
        values, seeds = _joined(parts) if row.joined else _single(next(iter(parts.values())))
        mark = "".join(dict.fromkeys(m for each in parts.values() for m in each.minutes_mark))
        timed = _timed(sessions, [each.config_id for each in parts.values()])
        if timed is not None:
            values[MINUTES], mark = Spread(timed, None), "†"
        differs = differences(ran, setup)
        score = next(iter(parts.values())).score
        other, optimism = _both_epochs(parts, BEST if score == LAST else LAST)
        pairs.append(
            _with(
                about, ours=values, seeds=seeds, ran=ran, differs=differs, minutes_mark=mark,
                score=score, other=other, optimism=optimism,
                config_ids=[each.config_id for each in parts.values()],
            )
        )  # fmt: skip
    return SideBySide(published.source, published.note, pairs)


def _with(pair: Pair, **changes: Any) -> Pair:
    return Pair(**{**vars(pair), **changes})


def _rows_of(
    spec: SweepSpec, row: PublishedRow, trials: Sequence[TrialRecord], comparison: Comparison
) -> dict[str, Row | None]:
    """Our row for every configuration that a published row names; by task if it joins several."""
    # Configurations with different tasks read different data.
    fingerprints = {str(trial.identity.get("fingerprint")) for trial in trials}
    by_id = {each.config_id: each for each in comparison.rows}
    rows: dict[str, Row | None] = {}
    for path, params in row.configs():
        config = spec.config_for(params, spec.search.seeds[0])
        ids = [config_id(config, fingerprint) for fingerprint in fingerprints]
        rows[path[-1]] = next((by_id[name] for name in ids if name in by_id), None)
    return rows


def _absent(spec: SweepSpec, row: PublishedRow, ours: Mapping[str, Row | None]) -> str:
    """Why a row has no figures of ours; empty if it has."""
    if not ours:
        return "names no configuration"
    from orchestrator.spec.published_checks import canonical

    entries = [canonical(spec, entry) for entry in spec.enqueue]
    for path, params in row.configs():
        if ours[path[-1]] is not None:
            continue
        of_task = f" ({path[-1]})" if row.joined else ""
        if spec.search.algorithm == "list" and canonical(spec, params) not in entries:
            return f"not in this sweep{of_task}"
        return f"no complete trial{of_task}"
    return ""


def _single(row: Row) -> tuple[dict[str, Spread], list[int]]:
    scores = {key: getattr(row, key) for key in (*SCORES, MINUTES)}
    return {**row.tasks, **scores}, row.seeds


def _joined(parts: Mapping[str, Row]) -> tuple[dict[str, Spread], list[int]]:
    """The figures of one trial a task: scores over the seeds that all have, minutes added up."""
    of_seed = [
        {seed: records for seed, records in zip(row.seeds, row.records, strict=True)}
        for row in parts.values()
    ]
    seeds = sorted(set.intersection(*map(set, of_seed)))
    figures = {task: row.tasks[task] for task, row in parts.items() if task in row.tasks}
    if not seeds or len(figures) < len(parts):
        return figures, seeds
    values = [
        [
            own[seed][-1]["tasks"][task]["dev_metric"]
            for task, own in zip(parts, of_seed, strict=True)
        ]
        for seed in seeds
    ]  # (seeds, tasks)
    signed = [METRICS[row.metrics[task]].signed for task, row in parts.items()]
    halved = [
        [(v + 1) / 2 if s else v for v, s in zip(each, signed, strict=True)] for each in values
    ]
    minutes = [
        sum(sum(r[MINUTES] for r in own[seed]) / len(own[seed]) for own in of_seed)
        for seed in seeds
    ]
    figures["dev_score"] = Spread.of([sum(each) / len(each) for each in halved])
    figures["dev_mean"] = Spread.of([sum(each) / len(each) for each in values])
    figures[MINUTES] = Spread.of(minutes)
    return figures, seeds


def _both_epochs(
    parts: Mapping[str, Row], other: str
) -> tuple[dict[str, Spread], dict[str, Spread]]:
    """Figures of the other epoch, and the best epoch's optimism; of tasks where rows are joined."""
    if len(parts) == 1:
        (row,) = parts.values()
        return row.both[other], row.both["optimism"]
    figures, optimism = (
        {task: row.both[key][task] for task, row in parts.items() if task in row.both[key]}
        for key in (other, "optimism")
    )
    return figures, optimism


def _timed(sessions: Sequence[Session], config_ids: Sequence[str]) -> float | None:
    """Minutes per epoch from the newest quiet session that timed all; None if there is none."""
    for session in reversed(sessions):
        if set(config_ids) <= {config.config_id for config in session.configs}:
            return sum(session.minutes(each).minutes.value for each in config_ids)
    return None
