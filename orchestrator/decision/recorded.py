"""The decision that a sweep's folder has recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from orchestrator.ledger.listing import resolved_spec
from orchestrator.spec.decide import ResolvedDecision

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger
    from orchestrator.spec import SweepSpec


def recorded(ledger: Ledger) -> ResolvedDecision | None:
    """What was fixed before the first confirming trial; None if nothing was."""
    resolved = resolved_spec(ledger).get("resolved")
    decision = resolved.get("decision") if isinstance(resolved, dict) else None
    try:
        return None if decision is None else ResolvedDecision.model_validate(decision)
    except ValidationError:  # somebody edited it
        return None


def with_decision(spec: SweepSpec, decision: ResolvedDecision | None) -> SweepSpec:
    """The sweep with this decision in its resolved part."""
    resolved = spec.resolved.model_copy(update={"decision": decision})
    return spec.model_copy(update={"resolved": resolved})
