"""The block `tracking` of a sweep file: where MLflow and Optuna store what they show."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from orchestrator.database_urls import (
    holds_password,
    names_a_file,
    names_other_variable,
    unknown_driver,
    without_password,
)
from orchestrator.spec.dimension import Model

TRACKING_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql")
#: Databases for Optuna's study.
STUDY_SCHEMES = ("sqlite", "postgresql", "mysql")


class TrackingSpec(Model):
    """The sweep's projections in MLflow and Optuna."""

    uri: str = "sqlite:///mlflow.db"
    #: The place of Optuna's study: `journal` is a file in the sweep's folder.
    study: str = "journal"
    #: Which model goes into MLflow's registry at the end: the best trial's, or none.
    registered_model: Literal["best", "none"] = "best"
    #: Whether MLflow gets a report at the end of a sweep, which takes seconds.  `orch report` makes
    #: one at any time.
    report: bool = True

    @field_validator("uri")
    @classmethod
    def _scheme_is_known(cls, uri: str) -> str:
        if not _has_scheme(uri, TRACKING_SCHEMES):
            raise ValueError(f"{without_password(uri)!r} is not a tracking database or server")
        return _checked(uri)

    @field_validator("study")
    @classmethod
    def _study_has_a_place(cls, study: str) -> str:
        if study not in ("journal", "none") and not _has_scheme(study, STUDY_SCHEMES):
            raise ValueError(f"{without_password(study)!r} is not a place for a study")
        return _checked(study)


def _checked(uri: str) -> str:
    # A sweep file is copied into the sweep's folder, so a password in it would spread.
    if holds_password(uri):
        raise ValueError(
            f"{without_password(uri)!r} contained a password; name an environment variable "
            "in its place (user:${ORCH_DB_PASSWORD}@host), or use ~/.pgpass (PGPASSFILE) "
            "or, for an MLflow server, MLFLOW_TRACKING_PASSWORD"
        )
    if names_other_variable(uri):
        raise ValueError(
            f"{uri!r} names an environment variable; only one whose name begins with ORCH_ can "
            "stand there, and only in place of a password (user:${ORCH_DB_PASSWORD}@host)"
        )
    if allowed := unknown_driver(uri):
        raise ValueError(f"{uri!r} names an unknown driver; allowed: {allowed}")
    if uri.startswith("sqlite") and not names_a_file(uri):
        raise ValueError(f"{uri!r} names no file; allowed: sqlite:///FILE, sqlite:////PATH/FILE")
    return uri


def _has_scheme(uri: str, schemes: tuple[str, ...]) -> bool:
    return "://" in uri and uri.partition("://")[0].partition("+")[0] in schemes
