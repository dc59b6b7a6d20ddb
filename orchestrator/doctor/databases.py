"""Checks that the databases of MLflow and Optuna answer and have the current tables."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from orchestrator.database_health import Health
from orchestrator.database_urls import UnsetVariable, expanded, resolve_uri, without_password
from orchestrator.doctor.finding import Finding, error, ok
from orchestrator.search.persistent_study import study_health
from orchestrator.tracking.background import root_cause
from orchestrator.tracking.database import tracking_health
from trainer.storage.folder import is_uri

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec


def database_findings(spec: SweepSpec, out: str) -> Iterator[Finding]:
    """Check the databases of MLflow's runs and Optuna's study; nothing there is changed."""
    here = "." if is_uri(out) else out
    uri = resolve_uri(spec.tracking.uri, here)
    yield _finding("mlflow", uri, tracking_health, "mlflow db upgrade")
    study = spec.tracking.study
    if study == "none":
        yield ok("optuna", "the study is not kept")
    elif study == "journal":
        yield ok("optuna", "a file beside the trials")
    else:
        at = resolve_uri(study, here)
        yield _finding("optuna", at, study_health, "optuna storage upgrade --storage")


def _finding(what: str, uri: str, health: Callable[[str], Health], upgrade: str) -> Finding:
    shown = without_password(uri)
    try:
        state = health(expanded(uri))
    except UnsetVariable as problem:
        return error(what, f"{shown}: {problem}", "set it to the database's password")
    except Exception as problem:  # whatever the database's client raises
        remedy = "start it, or correct its address and password; a sweep also trains without it"
        return error(what, f"{shown} does not answer: {root_cause(problem)}", remedy)
    if state.empty:
        return ok(what, f"{shown}, which the first sweep creates")
    if state.current != state.wanted:
        text = f"{shown} has the tables of version {state.current}, not {state.wanted}"
        return error(what, text, f"back it up, then {upgrade} {shlex.quote(shown)}")
    return ok(what, f"{shown} answers" + (f", tables {state.current}" if state.current else ""))
