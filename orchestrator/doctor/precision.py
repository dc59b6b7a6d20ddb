"""The precision that a sweep would use and why, or why it would be refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.doctor.finding import Finding, error, ok
from orchestrator.preflight.precision import preview
from trainer.loop.device import Hardware, PrecisionError

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

_WHAT = "precision"


def precision_findings(
    spec: SweepSpec, out: str, hardware: Sequence[Hardware]
) -> Iterator[Finding]:
    """Check the precision on the hardware of the sweep's trials."""
    try:
        text = preview(spec, out, hardware)
    except PrecisionError as problem:
        yield error(_WHAT, problem.problem.removeprefix(f"{_WHAT}: "), problem.remedy)
        return
    yield ok(_WHAT, text.removeprefix(f"{_WHAT}: "))
