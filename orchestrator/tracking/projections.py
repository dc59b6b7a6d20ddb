"""What a sweep is shown in: MLflow and a persistent Optuna study, both drawn from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from orchestrator.database_urls import (
    UnsetVariable,
    expanded,
    missing_driver,
    resolve_uri,
    without_password,
)
from orchestrator.errors import SweepError, UserError
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.current import current
from orchestrator.ledger.labels import flatten
from orchestrator.ledger.sweep_id import sweep_id
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.search import JOURNAL, Ended, PersistentStudy, Suggestions
from orchestrator.spec.models import SweepSpec
from orchestrator.spec.tracking import TrackingSpec
from orchestrator.tracking import MlflowProjection, SweepDescription
from orchestrator.tracking.background import Projection, root_cause
from orchestrator.tracking.metric_names import dev_metric_name
from orchestrator.tracking.sweep_artifacts import exhibits
from trainer.config import TrainConfig
from trainer.config.tasks import TaskError, declared_tasks


def pictures(
    spec: SweepSpec,
    ledger: Ledger,
    sweep_id: str,
    ended: Callable[[], Sequence[Ended]],
    say: Callable[[str], None],
    *,
    patient: bool = False,
) -> list[Projection]:
    """The pictures that a sweep asks for.

    Args:
        ended: gives the suggestions that have ended.
        say: is told what could not be drawn although the picture's database answers.
        patient: nobody waits for a sweep to end: draw what takes long, too.

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
        ledger.local_out,
        _sweep_picture(spec, sweep_id),
        ledger,
        exhibits=partial(exhibits, ledger, spec.tracking.report),
        register=spec.tracking.registered_model == "best",
        patient=patient,
        say=say,
    )
    found: list[Projection] = [mlflow]
    uri = study_uri(spec.tracking.study, ledger)
    if uri:
        directions = {str(k): str(v) for k, v in spec.search.objectives.items()}
        found.append(Study(PersistentStudy(uri, spec.name, sweep_id, directions), ended))
    return found


def varied_keys(spec: SweepSpec) -> list[str]:
    """The dotted keys of the config in which a sweep's configurations may differ."""
    entries = (key for entry in spec.enqueue for key, _ in flatten(entry))
    return list(dict.fromkeys([*spec.space, *entries]))


def _sweep_picture(spec: SweepSpec, sweep_id: str) -> SweepDescription:
    """A sweep's name and what is worth a column: what varies, and the tasks' metrics."""
    entries, varied = [dict(flatten(entry)) for entry in spec.enqueue], varied_keys(spec)
    always = {key for key, dimension in spec.space.items() if not dimension.when}
    if not spec.space and entries:
        always = set.intersection(*map(set, entries))
    try:
        tasks = declared_tasks(spec.base_value("task_declarations") or {})
        names = spec.base_value("tasks") or ()
        metrics = tuple(dev_metric_name(n, tasks[n].metric) for n in names if tasks[n].scored)
    except (TaskError, KeyError):  # a resolved spec that today's code does not know any more
        metrics = ()
    return SweepDescription(
        spec.name, spec.question, sweep_id, varied=tuple(varied),
        common=tuple(key for key in varied if key in always), task_metrics=metrics,
    )  # fmt: skip


def sync(
    ledger: Ledger, resolved: dict[str, Any], say: Callable[[str], None]
) -> tuple[int, list[str]]:
    """Draw all of a sweep's pictures now; returns its number of trials and the pictures' names.

    `resolved` is its sweep.yaml; without a readable one there is MLflow's alone, at its default.
    `say` is told what could not be drawn.  Raises `UserError` if a database does not
    answer.
    """
    try:
        spec = SweepSpec.model_validate({"name": ledger.name, **resolved})
    except ValidationError:
        tracking = TrackingSpec(study="none")
        spec = SweepSpec.model_construct(name=ledger.name, tracking=tracking)
    trials = ledger.trials()
    here = current(resolved, trials)
    drawn = pictures(
        spec, ledger, sweep_id(ledger.folder), lambda: ended_suggestions(spec, ledger, here),
        say, patient=True,
    )  # fmt: skip
    states = {trial.status for trial in here}
    status = "KILLED" if "unfinished" in states else "FAILED" if "failed" in states else "FINISHED"
    problems = []
    for picture in drawn:
        try:
            picture.finish(status, [trial.trial_id for trial in trials])
        except Exception as error:  # whatever the picture's database raises
            problems.append(f"{picture.name}: does not answer: {root_cause(error)}")
    if problems:
        raise UserError("\n".join(problems))
    return len(trials), [picture.name for picture in drawn]


class Study:
    """A persistent Optuna study as a `tracker.Projection`."""

    def __init__(self, picture: PersistentStudy, ended: Callable[[], Sequence[Ended]]):
        self.name = f"Optuna's study at {without_password(picture.uri)}"
        self._picture = picture
        self._ended = ended

    @property
    def drawn(self) -> int:
        return self._picture.added

    def begin(self) -> None:
        self._picture.update(self._ended())

    def update(self, trial_ids: Iterable[str]) -> None:
        self._picture.update(self._ended())

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        self._picture.update(self._ended())
        self._picture.close()


def ended_suggestions(
    spec: SweepSpec, ledger: Ledger, trials: Iterable[TrialRecord]
) -> list[Ended]:
    """Those of which every seed's trial has ended, from the ledger alone."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.status != "unfinished":
            groups.setdefault(str(trial.identity.get("config_id", "")), []).append(trial)
    seeds = set(spec.search.seeds)
    whole = [t for g in groups.values() if seeds <= {t.config.get("seed") for t in g} for t in g]
    return TrialQueue(spec, Suggestions(spec), ledger, _unasked, trials=whole).ended_suggestions()


def _unasked(config: TrainConfig) -> dict[str, Any]:
    raise AssertionError("a suggestion whose trials have ended needs no new ones")


def study_uri(study: str, ledger: Ledger) -> str:
    """Where `tracking.study` keeps a sweep's study; empty for nowhere, as for a journal beside a
    remote ledger."""
    if study == "journal":
        folder = ledger.folder.local
        return f"journal:{folder / JOURNAL}" if folder is not None else ""
    return "" if study == "none" else resolve_uri(study, ledger.local_out)
