"""A paper's figures beside ours: the rows that a sweep file quotes under `published`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.table import Table

from orchestrator.errors import UserError
from orchestrator.ledger.listing import resolved_spec
from orchestrator.ledger.trial_id import config_id
from orchestrator.spec.models import PublishedRow, SweepSpec
from trainer.config import ConfigError

if TYPE_CHECKING:
    from orchestrator.compare.configurations import Comparison, Row
    from orchestrator.ledger import Ledger, TrialRecord

_TASKS = ("sst", "qqp", "sts")
_FIGURES = (*_TASKS, "dev_score", "dev_mean", "minutes_per_epoch")


class NotPublished(UserError):
    """A sweep that quotes no figures; the text says what to do."""


def side_by_side(
    ledger: Ledger, trials: Iterable[TrialRecord], comparison: Comparison
) -> tuple[list[dict[str, Any]], str]:
    """One mapping a published row: `method`, `published` and `ours` (figure -> number or None),
    `seeds`; and where the figures come from.

    `trials` are the ledger's, of which `comparison` was made.  A row is matched with the entry of
    `enqueue` at its place, a profile's smaller B included.
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
    found = {row.config_id: row for row in comparison.rows}
    rows = []
    for index, published in enumerate(spec.published.rows):
        ours = None
        if index < len(configs):
            ids = (config_id(configs[index], fingerprint) for fingerprint in fingerprints)
            ours = next((found[name] for name in ids if name in found), None)
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
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """Each figure as published | ours; columns that no row has are left out."""
    shown = [k for k in _FIGURES if any(r["published"][k] is not None for r in rows)]
    made = Table(box=None, pad_edge=False)
    made.add_column("method")
    for key in shown:
        made.add_column(f"{key}\npublished", justify="right")
        made.add_column("\nours", justify="right", style="bold")
    for row in rows:
        cells = []
        for key in shown:
            digits = 2 if key == "minutes_per_epoch" else 3
            mark = "*" if key == "minutes_per_epoch" and row["contended"] else ""
            cells += [
                _number(row["published"][key], digits),
                _number(row["ours"][key], digits, mark),
            ]
        made.add_row(row["method"], *cells)
    return made


def _number(value: float | None, digits: int, mark: str = "") -> str:
    return "-" if value is None else f"{value:.{digits}f}{mark}"
