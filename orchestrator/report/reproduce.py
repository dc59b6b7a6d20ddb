"""With what a sweep ran, and the commands that run it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from orchestrator.compare.options import Question
from orchestrator.ledger import listing
from orchestrator.report.parts import Code, Missing, Part, Section, Table, Text

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord

_NONE = "unknown"


def section(
    ledger: Ledger, trials: Sequence[TrialRecord], shown: Sequence[TrialRecord], question: Question
) -> Section:
    """`shown`: the trials whose predictions the report draws."""
    made = Section("reproduce", "Environment and commands")
    if trials:
        made.parts.append(_environment(trials))
    made.parts += _commands(ledger, trials, shown, question)
    return made


def _environment(trials: Sequence[TrialRecord]) -> Table:
    """What all trials say of where they ran, with how many of them said it."""
    values: dict[str, list[str]] = {}
    for trial in trials:
        told = trial.identity
        for key in ("device", "threads", "git_commit", "precision"):
            values.setdefault(key.replace("_", " "), []).append(str(told.get(key) or _NONE))
        versions = told.get("versions")
        for name, version in (versions if isinstance(versions, Mapping) else {}).items():
            values.setdefault(str(name), []).append(str(version))
        values.setdefault("data fingerprint", []).append(str(told.get("fingerprint") or _NONE))
    rows = [[name, _counted(found, len(trials))] for name, found in values.items()]
    return Table.plain(
        f"What the {len(trials)} trials say of where they ran.", ["what", "value"], rows, (0, 1)
    )


def _counted(found: Sequence[str], trials: int) -> str:
    different = list(dict.fromkeys(found))
    if len(different) == 1 and len(found) == trials:
        return different[0]
    return ", ".join(f"{value} ({found.count(value)} trials)" for value in different)


def _commands(
    ledger: Ledger, trials: Sequence[TrialRecord], shown: Sequence[TrialRecord], question: Question
) -> Iterable[Part]:
    spec = listing.resolved_spec(ledger)
    file = f"{ledger.name}.yaml"
    lines = [f"pip install -c constraints.txt -e .{_checkout(trials)}"]
    if spec:
        lines += [f"orch sweep {shlex.quote(file)}", f"orch compare {_compared(ledger, question)}"]
        chosen = "".join(f" --trial {trial.trial_id}" for trial in shown)
        lines.append(f"orch report {_compared(ledger, question)}{chosen}")
    saved = ", with the sweep file below saved under its name" if spec else ""
    yield Text(f"In a checkout of the project{saved}:")
    yield Code("\n".join(lines), "Commands")
    for trial in shown:
        told = json.dumps(trial.train_config.to_dict(), indent=1, ensure_ascii=False)
        yield Text(
            f"Trial {trial.trial_id} alone, without Ray, Optuna and MLflow: "
            "python -m trainer --config config.json --out DIR, with this config.json:"
        )
        yield Code(told, f"config.json of {trial.trial_id}")
    if not spec:
        yield Missing("The sweep file is missing or cannot be read, so that it is not shown.")
        return
    # Where it is shown has no part in the result, and may hold addresses.
    kept = {key: value for key, value in spec.items() if key != "tracking"}
    text = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100)
    yield Text("The sweep file as it was resolved, profile and --set included; without tracking:")
    yield Code(text, file)


def _checkout(trials: Sequence[TrialRecord]) -> str:
    commits = {str(trial.identity.get("git_commit") or "") for trial in trials}
    if not commits:
        return ""
    if len(commits) != 1:
        return "    # the trials ran on several commits, see above"
    commit = commits.pop()
    if not commit:
        return "    # the trials do not know their commit"
    plain = commit.removesuffix("-dirty")
    changed = " with changes that were not committed" if commit != plain else ""
    return f"    # commit {plain}{changed}"


def _compared(ledger: Ledger, question: Question) -> str:
    """The sweep's name and the options of the question that are not the default."""
    plain: dict[str, Any] = vars(Question())
    parts = [shlex.quote(ledger.name)]
    for key, value in vars(question).items():
        if value != plain[key] and key != "replicates":
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            parts.append(f"--{key} {shlex.quote(text)}")
    return " ".join(parts)
