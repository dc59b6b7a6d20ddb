"""What an existing sweep means differently from a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from orchestrator.doctor.finding import Finding, ok, warning
from orchestrator.ledger import Ledger
from orchestrator.ledger.listing import resolved_spec
from trainer.config.formats import FIRST_FORMAT, FORMAT, changes

_REMEDY = (
    "nothing to do: its trials keep their meaning, and the same command continues it; --fresh, or "
    "another name, starts a sweep of today's format"
)


def sweep_findings(ledger: Ledger) -> Iterator[Finding]:
    """The formats of a sweep and of its trials, and the trials that cannot be read."""
    reading = ledger.read()
    for name, reason in reading.unreadable.items():
        yield warning("trial", f"{name} cannot be read: {reason}", "restore it, or move it away")
    count = len(reading.trials)
    yield ok("trials", f"{count} in {ledger.folder.path}")
    kept = resolved_spec(ledger).get("format", FORMAT)
    formats = Counter(trial.identity.get("format", FIRST_FORMAT) for trial in reading.trials)
    if kept == FORMAT and set(formats) <= {FORMAT}:
        yield ok("format", f"{FORMAT}, as today's")
        return
    for written_in in sorted({kept, *formats} - {FORMAT}):
        trials = f"{formats[written_in]} of {count} trials"
        meaning = "; ".join(changes(written_in))
        yield warning("format", f"{written_in} ({trials}): {meaning}", _REMEDY)
