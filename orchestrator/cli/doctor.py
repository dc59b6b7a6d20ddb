"""`orch doctor`: checks whether a sweep could run here, or on a cluster."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from orchestrator.cli.fitted_table import LIST_BELOW, wrap
from orchestrator.cli.terminal import (
    Insecure,
    Json,
    Out,
    Overrides,
    Profile,
    console,
    print_json,
    terminal_width,
)

if TYPE_CHECKING:
    from orchestrator.doctor import Finding


_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def examine_machine(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|SWEEP",
            help="A sweep file, to check what it needs; or the name of a sweep that was started.",
        ),
    ] = None,
    profile: Profile = None,
    overrides: Overrides = None,
    out: Out = "sweeps",
    address: Annotated[
        str | None, typer.Option(metavar="A", help="Also check every node of this Ray cluster.")
    ] = None,
    insecure: Insecure = False,
    as_json: Json = False,
) -> None:
    """Check versions, devices, disks, data, databases and nodes; exit 1 if a sweep would fail."""
    from orchestrator.doctor import examine
    from orchestrator.ledger.listing import find_sweep
    from orchestrator.spec import load_spec

    named = file is not None and not Path(file).is_file() and not file.endswith((".yaml", ".yml"))
    ledger = find_sweep(file, out) if file and named else None
    spec = load_spec(file, profile, overrides or ()) if file and not named else None
    findings = []
    for finding in examine(spec, out, address, insecure, ledger):
        findings.append(finding)
        if not as_json:
            _print(finding)
    failed = any(finding.level == "error" for finding in findings)
    if as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    raise typer.Exit(failed)


def _print(finding: Finding) -> None:
    """Print a finding as soon as it is known, because a cluster takes a while."""
    where = f"{finding.what} on {finding.node}" if finding.node else finding.what
    head, found = f"{finding.level:<8}{where:<12} ", finding.found
    if finding.remedy:
        found += f"; {finding.remedy}" if "\n" not in found else f"\n{finding.remedy}"
    if width := terminal_width():
        indent = " " * (len(head) if width >= LIST_BELOW else 2)
        lines = wrap(found, width - len(indent))
        first = [head + lines.pop(0)] if width >= LIST_BELOW else [head.rstrip()]
        found, head = "\n".join([*first, *(indent + line for line in lines)]), ""
    text = Text(head + found)
    text.stylize(_STYLES[finding.level], 0, len(finding.level))
    console().print(text, soft_wrap=True, highlight=False)
