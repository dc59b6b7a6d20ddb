"""The format of a sweep's configs from one run to the next (trainer.config.formats).

A sweep that an earlier version started keeps the meaning that its file had then, so that new trials
compare with old ones.  A file may also name its format itself.
"""

from __future__ import annotations

from orchestrator.ledger import Ledger
from orchestrator.ledger.listing import resolved_spec
from orchestrator.spec import SweepSpec
from trainer.config.formats import FORMAT, changes


def keep_format(spec: SweepSpec, ledger: Ledger) -> SweepSpec:
    """The sweep in the format of its earlier runs, unless its file names one."""
    kept = resolved_spec(ledger).get("format", spec.format)
    if "format" in spec.model_fields_set or kept == spec.format or type(kept) is not int:
        return spec
    return SweepSpec.model_validate({**spec.to_dict(), "format": kept})


def format_note(spec: SweepSpec) -> str:
    """One line if the sweep's configs have an older format; empty otherwise."""
    if spec.format == FORMAT:
        return ""
    return f"this sweep keeps format {spec.format}: " + "; ".join(changes(spec.format))
