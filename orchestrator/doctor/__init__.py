"""`orch doctor` checks whether a sweep could run here, or on a cluster, before one is started.

Each finding is one line: how serious it is, what was checked, what was found, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.doctor.cluster import cluster_findings
from orchestrator.doctor.databases import database_findings
from orchestrator.doctor.finding import Finding
from orchestrator.doctor.inputs import input_findings
from orchestrator.doctor.kept_sweep import sweep_findings
from orchestrator.doctor.local import local_findings
from orchestrator.ledger import RESOLVED, Ledger
from trainer.storage.folder import is_uri

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

__all__ = ["Finding", "examine"]


def examine(
    spec: SweepSpec | None,
    out: str,
    address: str | None,
    insecure: bool = False,
    ledger: Ledger | None = None,
) -> Iterator[Finding]:
    """Check everything that a sweep needs; problems become findings, not exceptions.

    Args:
        spec: the sweep; without one, only what every sweep needs is checked.
        out: the folder of all sweeps, a path or a URI.
        address: address of a Ray cluster whose nodes are checked too.
        insecure: also join a cluster that asks for no token.
        ledger: a sweep that was started.
    """
    place = out if is_uri(out) else str(Path(out).expanduser().resolve())
    if ledger is None and spec is not None and Ledger(place, spec.name).folder.has(RESOLVED):
        ledger = Ledger(place, spec.name)
    if ledger is not None:
        yield from sweep_findings(ledger)
    yield from local_findings(spec, place, address)
    if spec is not None:
        yield from input_findings(spec)
        yield from database_findings(spec, place)
    if address is not None:
        yield from cluster_findings(spec, place, address, insecure)
