"""A sweep's folder: its trials read together, what they are called, who may write to it."""

from orchestrator.ledger.ledger import (
    RESOLVED,
    STATUSES,
    Ledger,
    Reading,
    TrialRecord,
    local_place,
    printable,
)

__all__ = [
    "RESOLVED",
    "STATUSES",
    "Ledger",
    "Reading",
    "TrialRecord",
    "local_place",
    "printable",
]
