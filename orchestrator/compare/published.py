"""A paper's figures beside ours: the rows that a sweep file quotes under `published`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.compare.output.tables import Cell, TableData
from orchestrator.errors import UserError
from orchestrator.ledger.listing import resolved_spec
from orchestrator.ledger.trial_id import config_id
from orchestrator.spec.models import PublishedRow, SweepSpec
from trainer.config import ConfigError
from trainer.metrics import EPOCH

if TYPE_CHECKING:
    from orchestrator.compare.configurations import Comparison, Row
    from orchestrator.ledger import Ledger, TrialRecord

_TASKS = ("sst", "qqp", "sts")
_FIGURES = (*_TASKS, "dev_score", "dev_mean", "minutes_per_epoch")


class NotPublished(UserError):
    """The sweep quotes no figures."""


def side_by_side(
    ledger: Ledger, trials: Iterable[TrialRecord], comparison: Comparison
) -> tuple[list[dict[str, Any]], str]:
    """One mapping per published row, and the source of the figures.

    A mapping has `method`, `published` and `ours` (figure -> number or None), and `seeds`. Row n is
    compared with the nth entry of `enqueue`, even where a profile gives that a smaller B.

    Args:
        trials: those that `comparison` was made from.
    """
    try:
        spec = SweepSpec.model_validate(resolved_spec(ledger))
        configs = [spec.config_for(entry, spec.search.seeds[0]) for entry in spec.enqueue]
    except (ValidationError, ConfigError) as error:
        raise NotPublished(
            f"{ledger.folder.path}: its sweep.yaml cannot be read: {error}"
        ) from error
    if spec.published is None:
        raise NotPublished(f"sweep {spec.name} quotes no published figures (key `published`)")
    # Entries with different tasks read different data.
    fingerprints = {str(trial.identity.get("fingerprint")) for trial in trials}
    by_id = {row.config_id: row for row in comparison.rows}
    rows = []
    for index, published in enumerate(spec.published.rows):
        ours = None
        if index < len(configs):
            ids = (config_id(configs[index], fingerprint) for fingerprint in fingerprints)
            ours = next((by_id[name] for name in ids if name in by_id), None)
        rows.append(_pair(published, ours))
    return rows, spec.published.source


def _pair(published: PublishedRow, ours: Row | None) -> dict[str, Any]:
    figures: dict[str, float | None] = dict.fromkeys(_FIGURES)
    if ours is not None:
        figures |= {task: ours.tasks[task].mean for task in _TASKS if task in ours.tasks}
        for key in ("dev_score", "dev_mean", "minutes_per_epoch"):
            figures[key] = getattr(ours, key).mean
    return {
        "method": published.method,
        "published": {key: getattr(published, key) for key in _FIGURES},
        "ours": figures,
        "seeds": len(ours.seeds) if ours else 0,
        "contended": ours.contended if ours else None,
        "mark": ours.minutes_mark if ours else "",
    }


def published_table(pairs: list[dict[str, Any]]) -> TableData:
    """Each figure, published beside ours; without the figures that no published row has."""
    shown = [key for key in _FIGURES if any(pair["published"][key] is not None for pair in pairs)]
    headings = [EPOCH[key].compare if key in EPOCH else key for key in shown]
    data = TableData(
        ["method", *(f"{name}\n{whose}" for name in headings for whose in ("published", "ours"))]
    )
    for pair in pairs:
        cells = []
        for key in shown:
            minutes = key == "minutes_per_epoch"
            digits, mark = (2, pair["mark"]) if minutes else (3, "")
            ours = pair["ours"][key]
            cells.append(Cell(_number(pair["published"][key], digits)))
            cells.append(
                Cell(_number(ours, digits) + (mark if ours is not None else ""), bool(mark))
            )
        data.add(pair["method"], *cells)
    return data


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
