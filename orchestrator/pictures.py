"""What a sweep is shown in: MLflow and a persistent Optuna study, both drawn from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from orchestrator.addresses import UnsetVariable, expanded, resolve_uri, without_password
from orchestrator.checks import SweepError
from orchestrator.extension import current
from orchestrator.handout import Handout
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.origin import sweep_id
from orchestrator.search import JOURNAL, Ended, StudyPicture, Suggestions
from orchestrator.spec_models import SweepSpec, TrackingSpec
from orchestrator.tracker import Picture, root_cause
from orchestrator.tracking import Projection, SweepPicture
from trainer.config import TrainConfig


def pictures(
    spec: SweepSpec, ledger: Ledger, sweep_id: str, ended: Callable[[], Sequence[Ended]]
) -> list[Picture]:
    """The pictures that a sweep asks for.  `ended` gives the suggestions that have ended.

    Raises `SweepError` if an address names an environment variable that is not set.
    """
    for key in ("uri", "study"):
        try:
            expanded(getattr(spec.tracking, key))
        except UnsetVariable as error:
            raise SweepError(f"tracking.{key}: {error}") from error
    sweep = SweepPicture(spec.name, spec.question, sweep_id)
    found: list[Picture] = [Projection(spec.tracking.uri, ledger.local_out, sweep, ledger)]
    uri = _study_uri(spec, ledger)
    if uri:
        directions = {str(k): str(v) for k, v in spec.search.objectives.items()}
        found.append(Study(StudyPicture(uri, spec.name, sweep_id, directions), ended))
    return found


class Unreachable(Exception):
    """A picture's database does not answer; the text names it and says why."""


def sync(ledger: Ledger, resolved: dict[str, Any]) -> tuple[int, list[str]]:
    """Draw all of a sweep's pictures now; returns its number of trials and the pictures' names.

    `resolved` is its sweep.yaml; without a readable one there is MLflow's alone, at its default.
    Raises `Unreachable`.
    """
    try:
        spec = SweepSpec.model_validate({"name": ledger.name, **resolved})
    except ValidationError:
        tracking = TrackingSpec(study="none")
        spec = SweepSpec.model_construct(name=ledger.name, tracking=tracking)
    trials = ledger.trials()
    here = current(resolved, trials)
    try:
        drawn = pictures(
            spec, ledger, sweep_id(ledger.folder), lambda: ended_suggestions(spec, ledger, here)
        )
    except SweepError as error:
        raise Unreachable(str(error)) from error
    states = {trial.status for trial in here}
    status = "KILLED" if "unfinished" in states else "FAILED" if "failed" in states else "FINISHED"
    problems = []
    for picture in drawn:
        try:
            picture.finish(status, [trial.trial_id for trial in trials])
        except Exception as error:  # whatever the picture's database raises
            problems.append(f"{picture.name}: does not answer: {root_cause(error)}")
    if problems:
        raise Unreachable("\n".join(problems))
    return len(trials), [picture.name for picture in drawn]


class Study:
    """A persistent Optuna study as a `tracker.Picture`."""

    def __init__(self, picture: StudyPicture, ended: Callable[[], Sequence[Ended]]):
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
    return Handout(spec, Suggestions(spec), ledger, _unasked, trials=whole).ended_suggestions()


def _unasked(config: TrainConfig) -> dict[str, Any]:
    raise AssertionError("a suggestion whose trials have ended needs no new ones")


def _study_uri(spec: SweepSpec, ledger: Ledger) -> str:
    """Where the study is kept; empty for nowhere, as for a journal beside a remote ledger."""
    study = spec.tracking.study
    if study == "journal":
        folder = ledger.folder.local
        return f"journal:{folder / JOURNAL}" if folder is not None else ""
    return "" if study == "none" else resolve_uri(study, ledger.local_out)
