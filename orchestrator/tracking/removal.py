"""Removes a sweep, or one of its trials, from MLflow and Optuna."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import ValidationError

from orchestrator.database_urls import database_file, expanded, resolve_uri, without_password
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.ledger.sweep_id import sweep_id
from orchestrator.search import PersistentStudy
from orchestrator.spec.tracking import TrackingSpec
from orchestrator.tracking.background import root_cause
from orchestrator.tracking.database import connect, is_server
from orchestrator.tracking.moved_folder import ARTIFACTS, CopiedSweep, follow
from orchestrator.tracking.own_runs import (
    KIND,
    REMOVED,
    OwnRuns,
    find_experiment,
    is_active,
    trial_ids,
)
from orchestrator.tracking.projections import study_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient


def remove_from_tracking(ledger: Ledger, resolved: dict[str, Any], trial_id: str = "") -> list[str]:
    """Remove a sweep's runs, models and study, or one trial's run and models, and the study.

    Runs go into MLflow's trash, without their files; `mlflow gc` empties it.  A study without the
    trial is made by `projections.sync`.

    Args:
        resolved: the content of sweep.yaml.
        trial_id: empty for the whole sweep.

    Returns what was removed, in words.  Raises `UserError` if a database does not answer.
    """
    try:
        tracking = TrackingSpec.model_validate(resolved.get("tracking") or {})
    except ValidationError:
        tracking = TrackingSpec(study="none")
    uri = resolve_uri(tracking.uri, ledger.local_out)
    mine, name = sweep_id(ledger.folder), str(resolved.get("name") or ledger.name)
    try:
        removed = _Mlflow(expanded(uri), ledger, mine, name).remove(trial_id)
    except CopiedSweep as error:  # in MLflow the two are one
        raise UserError(
            f"{ledger.folder.path}: {error}; --keep-tracking removes it alone"
        ) from error
    except Exception as error:  # whatever the database raises
        raise _unanswered(f"MLflow at {without_password(uri)}", error) from error
    study = study_uri(tracking.study, ledger)
    try:
        if study and _exists(study) and PersistentStudy(study, name, mine, {}).delete():
            removed.append(f"Optuna's study at {without_password(study)}")
    except Exception as error:
        raise _unanswered(f"Optuna's study at {without_password(study)}", error) from error
    return removed


def _unanswered(name: str, error: Exception) -> UserError:
    return UserError(
        f"{name} does not answer: {root_cause(error)}; the sweep's files are all there. "
        "--keep-tracking removes them alone"
    )


def _exists(uri: str) -> bool:
    """Whether a file's database is there: opening it would make it."""
    file = database_file(uri)
    return file is None or file.is_file()


class _Mlflow:
    """What MLflow has of a sweep.

    Args:
        mine: the sweep's id, which distinguishes it from others of its name.
        name: the sweep's, which its folder may no longer have (`--fresh`).
    """

    def __init__(self, uri: str, ledger: Ledger, mine: str, name: str):
        self._uri, self._ledger, self._mine, self._name = uri, ledger, mine, name
        self._own = (ledger.local_out / ARTIFACTS).resolve()

    def remove(self, trial_id: str) -> list[str]:
        """Remove the runs and the models of the sweep, or of a trial; returns what that was."""
        if not _exists(self._uri):
            return []
        client = connect(self._uri)
        if not is_server(self._uri):
            follow(self._uri, self._ledger)
        experiment = find_experiment(client, self._name, self._mine)
        if experiment is None:
            return []
        number = str(experiment.experiment_id)
        own = OwnRuns(client, number, self._mine)
        versions = self._delete_models(client, number, trial_id)
        leaving = self._leaving(own, trial_id)
        for run in leaving:
            self._delete_files(run.info.artifact_uri)
            self._delete_run(client, run)
        is_empty = {run.info.run_id for run in leaving} >= {run.info.run_id for run in own.active}
        if not trial_id and is_empty and experiment.lifecycle_stage == "active":
            # A new sweep of this name gets an experiment of its own, not this one with its runs.
            client.rename_experiment(number, f"{self._name} (removed, {self._mine[:8]})")
            client.delete_experiment(number)
        counts = {"run": sum(map(is_active, leaving)), "registered model version": versions}
        return [f"{n} {what}{'s' * (n > 1)} in MLflow" for what, n in counts.items() if n]

    def _leaving(self, own: OwnRuns, trial_id: str) -> list[Any]:
        """Runs of the sweep or of a trial, also those that somebody put into the trash."""
        trials = [run for run in own.trials if own.is_certain(run)]
        if trial_id:
            return [run for run in trials if trial_id in trial_ids(run)]
        return [*trials, *own.parents]

    def _delete_run(self, client: MlflowClient, run: Any) -> None:
        """Put a run into the trash, from which no projection takes it out again."""
        if not is_active(run):  # MLflow changes no tag there
            client.restore_run(run.info.run_id)
        client.set_tag(run.info.run_id, KIND, REMOVED)
        client.delete_run(run.info.run_id)

    def _delete_models(self, client: MlflowClient, number: str, trial_id: str) -> int:
        """Delete logged models and registered versions; returns how many versions that were."""
        wanted = {"sweep_id": self._mine, **({"trial_id": trial_id} if trial_id else {})}
        versions = client.search_model_versions(f"name = '{self._name}'")
        mine = [version for version in versions if wanted.items() <= version.tags.items()]
        for version in mine:
            client.delete_model_version(self._name, version.version)
        if mine and len(mine) == len(versions):
            client.delete_registered_model(self._name)
        for model in client.search_logged_models([number]):
            if wanted.items() <= model.tags.items():
                self._delete_files(model.artifact_location)
                client.delete_logged_model(model.model_id)
        return len(mine)

    def _delete_files(self, place: str) -> None:
        """Delete artifacts, as far as their store can.

        Of this machine only those beside the sweep: a copied database names those of the original.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        here = url2pathname(urlsplit(place).path) if place.startswith(("file:", "/")) else None
        if here is not None and not Path(here).resolve().is_relative_to(self._own):
            return
        with contextlib.suppress(Exception):  # a store that cannot, or files that are gone
            get_artifact_repository(place).delete_artifacts()
