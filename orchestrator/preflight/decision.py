"""The sweep's decision from one run to the next: kept, fixed anew, or dropped by `--reopen`.

A decision fixes one configuration of each compared method, their seeds and the looks.  It stands in
sweep.yaml (`resolved.decision`).  From its first confirming trial it stays, and the question and
the search are fixed with it (`checks.check_same_sweep`).  Before that, a change of either drops it,
because it may choose other configurations.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import SweepError
from orchestrator.ledger import RESOLVED, Ledger, TrialRecord
from orchestrator.ledger.current import confirming
from orchestrator.preflight.checks import changes_of_decision, in_numbers, resolved_before
from orchestrator.spec import SweepSpec
from orchestrator.spec.decide import ResolvedDecision
from orchestrator.spec.yaml_lines import dump


def keep_decision(spec: SweepSpec, ledger: Ledger, trials: Iterable[TrialRecord]) -> SweepSpec:
    """The sweep with the decision of its earlier runs, if it still holds.

    Raises `SweepError` if sweep.yaml cannot be read.
    """
    before = resolved_before(ledger.folder, ledger.folder.read(RESOLVED))
    decision = _decision_in(ledger, before)
    if decision is None or before is None:
        return spec
    if not confirming(trials, decision.number) and changes_of_decision(before, spec.to_dict()):
        return spec
    resolved = spec.resolved.model_copy(update={"decision": decision})
    return spec.model_copy(update={"resolved": resolved})


def reopen(ledger: Ledger, trials: Iterable[TrialRecord]) -> str:
    """Drop the decision from sweep.yaml, never its trials; returns a message for the user.

    The next decision gets the next number, and seeds above all that were used.
    """
    before = resolved_before(ledger.folder, ledger.folder.read(RESOLVED))
    decision = _decision_in(ledger, before)
    if decision is None or before is None:
        return "nothing to reopen: the sweep has no decision"
    kept = {key: value for key, value in before["resolved"].items() if key != "decision"}
    after = {key: value for key, value in before.items() if key != "resolved"}
    after |= {"resolved": kept} if kept else {}
    text = dump(after)
    ledger.folder.write(RESOLVED, text.encode())
    own = confirming(trials, decision.number)
    stay = f"its {in_numbers(len(own), 'confirming trial')} stay in the ledger" if own else ""
    return f"reopened: decision {decision.number} is dropped" + (f"; {stay}" if stay else "")


def _decision_in(ledger: Ledger, before: dict[str, Any] | None) -> ResolvedDecision | None:
    plain = ((before or {}).get("resolved") or {}).get("decision")
    if plain is None:
        return None
    try:
        return ResolvedDecision.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SweepError(
            f"{ledger.folder.path}: {RESOLVED}: resolved.decision.{where}: {first['msg']}; restore "
            "it, or remove resolved.decision to decide again"
        ) from error
