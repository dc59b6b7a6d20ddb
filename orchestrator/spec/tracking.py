"""The block `tracking` of a sweep file: where MLflow and Optuna keep what they show."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from orchestrator.database_urls import holds_password, without_password
from orchestrator.spec.dimension import Model

TRACKING_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql")
#: Databases that Optuna keeps a study in.
STUDY_SCHEMES = ("sqlite", "postgresql", "mysql")


class TrackingSpec(Model):
    """Where MLflow and Optuna keep their pictures of the sweep."""

    uri: str = "sqlite:///mlflow.db"
    #: Optuna's: `journal` is a file beside the trials, `none` keeps no picture.
    study: str = "journal"
    #: Which model goes into MLflow's registry at the end: that of the trial with the best score.
    registered_model: Literal["best", "none"] = "best"
    #: Whether the end of a sweep draws its report for MLflow, too: seconds.  `orch report` draws
    #: one at any time.
    report: bool = True

    @field_validator("uri")
    @classmethod
    def _scheme_is_known(cls, uri: str) -> str:
        if not _has_scheme(uri, TRACKING_SCHEMES):
            raise ValueError(f"{without_password(uri)!r} is not a tracking database or server")
        return _without_secrets(uri)

    @field_validator("study")
    @classmethod
    def _study_has_a_place(cls, study: str) -> str:
        if study not in ("journal", "none") and not _has_scheme(study, STUDY_SCHEMES):
            raise ValueError(f"{without_password(study)!r} is not a place for a study")
        return _without_secrets(study)


def _without_secrets(uri: str) -> str:
    """A sweep file is copied into the sweep's folder, so that a password in it would spread."""
    if holds_password(uri):
        raise ValueError(
            f"{without_password(uri)!r} had a password written out; name an environment variable "
            "in its place (user:${ORCH_DB_PASSWORD}@host), or leave it to ~/.pgpass (PGPASSFILE) "
            "or, for an MLflow server, to MLFLOW_TRACKING_PASSWORD"
        )
    return uri


def _has_scheme(uri: str, schemes: tuple[str, ...]) -> bool:
    return "://" in uri and uri.partition("://")[0].partition("+")[0] in schemes
