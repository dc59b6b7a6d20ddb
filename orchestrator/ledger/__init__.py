"""A sweep's folder: its trials read together, their names, and the lock for its writer."""

from orchestrator.ledger.ledger import (
    RESOLVED,
    STATUSES,
    Ledger,
    Reading,
    TrialRecord,
    local_place,
)

__all__ = [
    "RESOLVED", "STATUSES", "Ledger", "Reading", "TrialRecord", "local_place",
]  # fmt: skip
