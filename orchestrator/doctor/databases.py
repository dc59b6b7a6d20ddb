"""Whether MLflow's and Optuna's databases answer and have the tables of today's versions."""

from __future__ import annotations

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
    """Of MLflow's runs and of Optuna's study, each where the sweep file says.

    Nothing is made or changed there.
    """
    here = "." if is_uri(out) else out
    uri = resolve_uri(spec.tracking.uri, here)
    yield _finding("mlflow", uri, tracking_health, "mlflow db upgrade")
    study = spec.tracking.study
    if study == "none":
        yield ok("optuna", "no picture of the study is kept")
    elif study == "journal":
        yield ok("optuna", "a file beside the trials")
    else:
        at = resolve_uri(study, here)
        yield _finding("optuna", at, study_health, "optuna storage upgrade --storage")


def _finding(what: str, uri: str, health: Callable[[str], Health], upgrade: str) -> Finding:
    shown = without_password(uri)
    try:
        found = health(expanded(uri))
    except UnsetVariable as problem:
        return error(what, f"{shown}: {problem}", "set it to the database's password")
    except Exception as problem:  # whatever the database's client raises
        remedy = "start it, or correct its address and password; a sweep trains without it"
        return error(what, f"{shown} does not answer: {root_cause(problem)}", remedy)
    if found.empty:
        return ok(what, f"{shown}, to be made by the first sweep")
    if found.current != found.wanted:
        text = f"{shown} has the tables of version {found.current}, not {found.wanted}"
        return error(what, text, f"back it up, then {upgrade} '{shown}'")
    return ok(what, f"{shown} answers" + (f", tables {found.current}" if found.current else ""))
