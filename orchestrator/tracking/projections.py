"""A sweep's projections: MLflow and a persistent Optuna study, both rebuilt from the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from orchestrator.database_urls import (
    JOURNAL_SCHEME,
    UnsetVariable,
    database_file,
    expanded,
    missing_driver,
    resolve_uri,
    without_password,
)
from orchestrator.errors import SweepError, UserError
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.current import current, searched
from orchestrator.ledger.labels import flatten, varied_keys
from orchestrator.ledger.sweep_id import sweep_id
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.search import JOURNAL, Ended, PersistentStudy
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.tracking import TrackingSpec
from orchestrator.tracking import MlflowProjection, SweepDescription
from orchestrator.tracking.background import Projection, root_cause
from orchestrator.tracking.metric_names import dev_metric_name
from orchestrator.tracking.sweep_artifacts import artifacts_of
from trainer.config import ConfigError, TrainConfig
from trainer.config.task_declaration import TaskError, declared_tasks
from trainer.printable import markdown_text


def projections_of(
    spec: SweepSpec,
    ledger: Ledger,
    sweep_id: str,
    ended: Callable[[], Sequence[Ended]],
    say: Callable[[str], None],
    *,
    patient: bool = False,
) -> list[Projection]:
    """The projections that a sweep's file asks for.

    Args:
        ended: returns the suggestions that have ended.
        say: shows a message to the user about a part that cannot be projected.
        patient: include what takes long (`MlflowProjection`).

    Raises `SweepError` if an address names an environment variable that is not set, or a database
    whose driver is not installed.
    """
    for key in ("uri", "study"):
        try:
            expanded(getattr(spec.tracking, key))
        except UnsetVariable as error:
            raise SweepError(f"tracking.{key}: {error}") from error
        if missing := missing_driver(getattr(spec.tracking, key)):
            remedy = "pip install -c constraints.txt -e '.[postgres]'"
            remedy = remedy if missing.startswith("psycopg") else f"pip install {missing}"
            raise SweepError(f"tracking.{key}: the package {missing} is not installed; {remedy}")
    mlflow = MlflowProjection(
        spec.tracking.uri,
        _description(spec, sweep_id),
        ledger,
        artifacts=partial(artifacts_of, ledger, spec.tracking),
        patient=patient,
        say=say,
    )
    projections: list[Projection] = [mlflow]
    if uri := study_uri(spec.tracking.study, ledger):
        directions = {str(k): str(v) for k, v in spec.search.objectives.items()}
        study = PersistentStudy(uri, spec.name, sweep_id, directions)
        projections.append(StudyProjection(study, ended))
    return projections


def _description(spec: SweepSpec, sweep_id: str) -> SweepDescription:
    """A sweep's name, and the columns for it: what varies, and the tasks' metrics."""
    entries, varied = [dict(flatten(entry)) for entry in spec.enqueue], varied_keys(spec)
    always = {key for key, dimension in spec.space.items() if not dimension.when}
    if not spec.space and entries:
        always = set.intersection(*map(set, entries))
    try:
        tasks = declared_tasks(spec.base_value("task_declarations") or {})
        names = spec.base_value("tasks") or ()
        metrics = tuple(dev_metric_name(n, tasks[n].metric) for n in names if tasks[n].scored)
    except (TaskError, KeyError):  # a spec of older code
        metrics = ()
    return SweepDescription(
        spec.name, markdown_text(spec.question), sweep_id, varied=tuple(varied),
        common=tuple(key for key in varied if key in always), task_metrics=metrics,
        partial=_partial_keys(spec, varied),
    )  # fmt: skip


def _partial_keys(spec: SweepSpec, varied: Collection[str]) -> tuple[str, ...]:
    """Dotted keys that the sweep does not vary and that act in some of its trials only.

    They are found by the enqueued configurations, and by one for each choice of the space.
    """
    chosen = [{key: v} for key, each in spec.space.items() for v in each.choices or ()]
    acting: list[set[str]] = []
    for params in [*spec.enqueue, *chosen]:
        with contextlib.suppress(ConfigError):  # of code that is gone, or a choice alone is none
            config = spec.config_for(params, spec.search.seeds[0])
            acting.append({key for key, _ in flatten(config.canonical())})
    if not acting:
        return ()
    ever, always = acting[0].union(*acting), acting[0].intersection(*acting)
    return tuple(sorted(ever - always - set(varied)))


def sync(
    ledger: Ledger, resolved: dict[str, Any], say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Bring all projections of a sweep up to date; returns its number of trials and their names.

    Args:
        resolved: the content of sweep.yaml.  If it is not valid, the only projection is MLflow's at
            its default address.

    Raises `UserError` if a database does not answer.
    """
    try:
        spec = SweepSpec.model_validate({"name": ledger.name, **resolved})
    except ValidationError:
        tracking = TrackingSpec(study="none")
        spec = SweepSpec.model_construct(name=ledger.name, tracking=tracking)
    trials = ledger.trials()
    counted = current(resolved, trials)
    projections = projections_of(
        spec, ledger, sweep_id(ledger.folder), lambda: ended_suggestions(spec, ledger, counted),
        say, patient=True,
    )  # fmt: skip
    states = {trial.status for trial in counted}
    status = "KILLED" if "unfinished" in states else "FAILED" if "failed" in states else "FINISHED"
    problems = []
    for projection in projections:
        try:
            projection.finish(status, [trial.trial_id for trial in trials])
        except Exception as error:  # whatever the database raises
            problems.append(f"{projection.name} does not answer: {root_cause(error)}")
    if problems:
        raise UserError("\n".join(problems))
    return len(trials), [projection.name for projection in projections]


class StudyProjection:
    """A persistent Optuna study as a `background.Projection`."""

    def __init__(self, study: PersistentStudy, ended: Callable[[], Sequence[Ended]]):
        self.name = f"Optuna's study at {without_password(study.uri)}"
        self.is_local = database_file(study.uri) is not None
        self._study = study
        self._ended = ended

    @property
    def projected(self) -> int:
        return self._study.added

    def begin(self) -> None:
        self._study.update(self._ended())

    def update(self, trial_ids: Iterable[str]) -> None:
        self.begin()

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        self.begin()
        self._study.close()


def ended_suggestions(
    spec: SweepSpec, ledger: Ledger, trials: Iterable[TrialRecord]
) -> list[Ended]:
    """The suggestions all of whose trials have ended, from the ledger alone."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in searched(trials):
        if trial.status != "unfinished":
            groups.setdefault(str(trial.identity.get("config_id", "")), []).append(trial)
    seeds = set(spec.search.seeds)
    whole = [t for g in groups.values() if seeds <= {t.config.get("seed") for t in g} for t in g]
    return TrialQueue(spec, ledger, _never_called, trials=whole).ended_suggestions()


def _never_called(config: TrainConfig) -> dict[str, Any]:
    raise AssertionError("a suggestion whose trials have ended needs no new ones")


def study_uri(study: str, ledger: Ledger) -> str:
    """The address of a sweep's study; empty for `none` and for a journal of a remote ledger."""
    if study == "journal":
        folder = ledger.folder.local
        return f"{JOURNAL_SCHEME}{folder / JOURNAL}" if folder is not None else ""
    return "" if study == "none" else resolve_uri(study, ledger.local_out)
