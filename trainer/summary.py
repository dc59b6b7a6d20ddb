"""end.json's summary of a trial."""

from __future__ import annotations

from typing import Any


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """end.json's summary: the last epoch's scores, and the mean minutes an epoch."""
    last = records[-1]
    best = max(records, key=lambda record: record["dev_score"])
    return {
        "epochs": last["epoch"],
        "dev_score": last["dev_score"],
        "dev_mean": last["dev_mean"],
        "tasks": {n: v["dev_metric"] for n, v in last["tasks"].items() if "dev_metric" in v},
        "minutes_per_epoch": sum(r["minutes_per_epoch"] for r in records) / len(records),
        "examples_per_epoch": sum(r["examples"] for r in records) / len(records),
        "contended": None
        if any(r["contended"] is None for r in records)
        else any(r["contended"] for r in records),
        "best_epoch": best["epoch"],
        "best_dev_score": best["dev_score"],
    }
