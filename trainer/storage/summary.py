"""Which epoch of a trial counts, and the summary in end.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.metrics import Record

#: What `score` can be: the epoch whose scores are the trial's.
LAST, BEST = "last", "best"


def best_epoch(records: Sequence[Record]) -> int:
    """The epoch with the highest dev_score on the dev sets of the epochs, the first of equals.

    0 without a record.  Its score is optimistic, because it was chosen on the examples that it is
    measured on (trainer.loop.optimism).
    """
    best = max(records, key=lambda record: record["dev_score"], default=None)
    return int(best["epoch"]) if best is not None else 0


def counted_epoch(records: Sequence[Record], score: str) -> int:
    """The epoch that counts: the last one, or the best one with `score: best`."""
    return best_epoch(records) if score == BEST else len(records)


def summarise(records: Sequence[Record], score: str = LAST) -> dict[str, Any]:
    """The summary in end.json: scores of the epoch that counts, mean minutes per epoch, and both
    the last and the best epoch's dev_score.

    Empty without a record.
    """
    if not records:
        return {}
    counted, best = (
        records[number - 1] for number in (counted_epoch(records, score), best_epoch(records))
    )
    return {
        "epochs": len(records),
        "score": score,
        "epoch": counted["epoch"],
        "dev_score": counted["dev_score"],
        "dev_mean": counted["dev_mean"],
        "tasks": {n: v["dev_metric"] for n, v in counted["tasks"].items() if "dev_metric" in v},
        "minutes_per_epoch": sum(r["minutes_per_epoch"] for r in records) / len(records),
        "examples_per_epoch": sum(r["examples"] for r in records) / len(records),
        "contended": None
        if any(r["contended"] is None for r in records)
        else any(r["contended"] for r in records),
        "last_dev_score": records[-1]["dev_score"],
        "best_epoch": best["epoch"],
        "best_dev_score": best["dev_score"],
    }
