"""The sweep file: reading, checking and resolving it into a `SweepSpec`."""

from orchestrator.spec.dimension import Dimension
from orchestrator.spec.layers import profile_names
from orchestrator.spec.load import load_spec
from orchestrator.spec.models import (
    OBJECTIVES,
    BudgetSpec,
    ResourcesSpec,
    SchedulerSpec,
    SearchSpec,
    SweepSpec,
)
from orchestrator.spec.tracking import TrackingSpec

__all__ = [
    "OBJECTIVES",
    "BudgetSpec",
    "Dimension",
    "ResourcesSpec",
    "SchedulerSpec",
    "SearchSpec",
    "SweepSpec",
    "TrackingSpec",
    "load_spec",
    "profile_names",
]
