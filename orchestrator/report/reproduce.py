"""The section on how a sweep ran: its environment, and the commands that run it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.output.tables import TableData
from orchestrator.ledger import listing
from orchestrator.report.parts import Code, File, Missing, Part, Section, Table, Text
from orchestrator.spec.yaml_lines import dump

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord


def section(
    ledger: Ledger,
    trials: Sequence[TrialRecord],
    shown: Sequence[TrialRecord],
    options: ComparisonOptions,
) -> Section:
    """`shown`: the trials whose predictions the report shows."""
    result = Section("reproduce", "Environment, commands and files", folded=True)
    if trials:
        result.parts.append(_environment(trials))
    result.parts += _commands(ledger, trials, shown, options)
    return result


def _environment(trials: Sequence[TrialRecord]) -> Table:
    """Where the trials ran; a value that not all of them share has the number of its trials."""
    values: dict[str, list[str]] = {}
    for trial in trials:
        identity = trial.identity
        versions = identity.get("versions")
        environment = {
            **{
                key.replace("_", " "): identity.get(key) or "unknown"
                for key in ("device", "threads", "git_commit", "precision")
            },
            **(versions if isinstance(versions, Mapping) else {}),
            "data fingerprint": identity.get("fingerprint") or "unknown",
        }
        for name, value in environment.items():
            values.setdefault(str(name), []).append(str(value))
    data = TableData(["what", "value"])
    for name, all_values in values.items():
        different = list(dict.fromkeys(all_values))
        if len(different) > 1 or len(all_values) < len(trials):
            different = [f"{value} ({all_values.count(value)} trials)" for value in different]
        data.add(name, ", ".join(different))
    return Table(f"Where the {len(trials)} trials ran, as they recorded it.", data)


def _commands(
    ledger: Ledger,
    trials: Sequence[TrialRecord],
    shown: Sequence[TrialRecord],
    options: ComparisonOptions,
) -> Iterable[Part]:
    spec = listing.resolved_spec(ledger)
    file = f"{ledger.name}.yaml"
    lines = [f"pip install -c constraints.txt -e .{_checkout(trials)}"]
    if spec:
        arguments = _arguments(ledger, options)
        chosen = "".join(f" --trial {trial.trial_id}" for trial in shown)
        lines += [f"orch sweep {shlex.quote(file)}", f"orch compare {arguments}"]
        lines.append(f"orch report {arguments}{chosen}")
    saved = f", with {file} saved in it" if spec else ""
    yield Text(f"In a checkout of the project{saved}:")
    yield Code("\n".join(lines), "Commands")
    for trial in shown:
        config = json.dumps(trial.train_config.to_dict(), indent=1, ensure_ascii=False)
        yield Text(
            f"Trial {trial.trial_id} alone, without Ray, Optuna and MLflow: "
            "python -m trainer --config config.json --out DIR, with the config.json of its folder."
        )
        yield File(f"{trial.trial_id}.config.json", config)
    if not spec:
        yield Missing("The sweep file is missing or cannot be read, so it is not shown.")
        return
    # `tracking` does not affect the result, and may hold addresses.
    kept = {key: value for key, value in spec.items() if key != "tracking"}
    text = dump(kept)
    yield Text("The resolved sweep file, with its profile and --set applied, without tracking.")
    yield File(file, text)


def _checkout(trials: Sequence[TrialRecord]) -> str:
    """A shell comment that names the trials' commit."""
    commits = {str(trial.identity.get("git_commit") or "") for trial in trials}
    if not commits:
        return ""
    if len(commits) > 1:
        return "    # the trials ran on several commits, see above"
    commit = commits.pop()
    if not commit:
        return "    # the trials did not record their commit"
    changed = " with uncommitted changes" if commit.endswith("-dirty") else ""
    return f"    # commit {commit.removesuffix('-dirty')}{changed}"


def _arguments(ledger: Ledger, options: ComparisonOptions) -> str:
    """The sweep's name and the options that are not the default."""
    defaults: dict[str, Any] = vars(ComparisonOptions())
    parts = [shlex.quote(ledger.name)]
    for key, value in vars(options).items():
        if value != defaults[key] and key != "replicates":
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            parts.append(f"--{key} {shlex.quote(text)}")
    return " ".join(parts)
