"""The best trial's model in MLflow's registry: loaded by `models:/<sweep>/<version>`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.sweep_run import SweepDescription
from trainer.storage.trial_directory import TrialDirectory

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from trainer.config.tasks import Task

#: A model that a server takes while the end of a sweep waits for it.
SMALL_BYTES = 100 * 2**20
#: The version that is the best one now: `models:/<sweep>@best`.
ALIAS = "best"
#: Says of a logged model or a version which trial it is.
_TRIAL, _SWEEP, _EPOCH = "trial_id", "sweep_id", "epoch"
#: Sentences that show what a model takes; they stand in no corpus.
_EXAMPLES = {
    False: ("a warm and funny film that is over too soon", ""),
    True: ("How do I learn to swim?", "What is the best way to learn swimming?"),
}


class TooLarge(ValueError):
    """A model that a server is not given at the end of a sweep; the text says how it is."""


@dataclass(frozen=True)
class BestTrial:
    """The trial whose model is registered, with its run and its sweep's experiment.

    Attributes:
        label: what people call the trial.
    """

    trial_id: str
    label: str
    directory: TrialDirectory
    run_id: str
    experiment: str
    sweep: SweepDescription


def register(
    client: MlflowClient, best: BestTrial, limit: int | None, progress: Callable[[], None]
) -> None:
    """Register a trial's model as the newest version of the sweep's model, unless it is that.

    Args:
        limit: bytes that a model may have; None: any size.

    Raises `TooLarge`, `StoreError` for a trial without a whole checkpoint, `DataError` or
    `EncoderError` if its tokenizer is gone, and whatever the database raises.
    """
    sweep = best.sweep
    versions = client.search_model_versions(f"name = '{sweep.name}'")
    mine = [v for v in versions if _is_of(v.tags, best) and v.status == "READY"]
    if not mine:
        model = _logged(client, best, limit, progress)
        if not versions:
            _ensure_name(client, sweep)
        tags = {_TRIAL: best.trial_id, _SWEEP: sweep.sweep_id}
        version = client.create_model_version(
            sweep.name, model.artifact_location, best.run_id, tags, description=best.label,
            model_id=model.model_id,
        )  # fmt: skip
        mine = [version]
    newest = max(mine, key=lambda version: int(version.version))
    present = client.get_registered_model(sweep.name).aliases.get(ALIAS)
    if str(present) != str(newest.version):  # a database gives a number, a server text
        client.set_registered_model_alias(sweep.name, ALIAS, newest.version)
    progress()


def _ensure_name(client: MlflowClient, sweep: SweepDescription) -> None:
    if not client.search_registered_models(f"name = '{sweep.name}'"):
        client.create_registered_model(sweep.name, description=sweep.question)


def _is_of(tags: dict[str, str], best: BestTrial) -> bool:
    return tags.get(_TRIAL) == best.trial_id and tags.get(_SWEEP, "") == best.sweep.sweep_id


def _logged(
    client: MlflowClient, best: BestTrial, limit: int | None, progress: Callable[[], None]
) -> Any:
    """The trial's model in the experiment; one whose upload broke off is deleted."""
    run_id, sweep, this = best.run_id, best.sweep, f"tags.{_TRIAL} = '{best.trial_id}'"
    for found in client.search_logged_models([best.experiment], this):
        if found.source_run_id == run_id and found.status.value == "READY":
            _note_output(client, run_id, found, int(found.tags.get(_EPOCH, 0)))
            return found
        if found.source_run_id == run_id:
            client.delete_logged_model(found.model_id)
    with tempfile.TemporaryDirectory() as folder:
        epoch = _save(best.directory, Path(folder, "model"), limit)
        progress()
        model = client.create_logged_model(
            best.experiment, name=f"{sweep.name}-best", source_run_id=run_id, model_type="orch-mtl",
            tags={_TRIAL: best.trial_id, _SWEEP: sweep.sweep_id, _EPOCH: str(epoch)},
        )  # fmt: skip
        _write_id(Path(folder, "model"), model)
        client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
    progress()
    made = client.finalize_logged_model(model.model_id, "READY")
    _note_output(client, run_id, made, epoch)
    return made


def _note_output(client: MlflowClient, run_id: str, model: Any, epoch: int) -> None:
    """Name the model as its run's output, once: MLflow would take it again and again."""
    from mlflow.entities import LoggedModelOutput

    noted = client.get_run(run_id).outputs
    if model.model_id not in {each.model_id for each in (noted.model_outputs if noted else ())}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, epoch)])


def _save(trial: TrialDirectory, folder: Path, limit: int | None) -> int:
    """Write a model in MLflow's format; returns its epoch."""
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")  # not whatever project we stand in
    import pandas
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, Schema

    from trainer import inference

    with tempfile.TemporaryDirectory() as parent:
        exported = Path(parent, "trained")  # MLflow keeps its name
        exported.mkdir()
        description = inference.export(trial, exported)
        size = sum(path.stat().st_size for path in exported.iterdir())
        if limit is not None and size > limit:
            raise TooLarge(f"it has {size / 1e6:.0f} MB, which only orch sync uploads to a server")
        text = [ColSpec("string", name) for name in ("task", "sentence1")]
        text.append(ColSpec("string", "sentence2", required=False))
        numbers = [ColSpec("double", name) for name in ("prediction", "score")]
        save_model(
            str(folder),
            loader_module="orchestrator.tracking.served_model",
            data_path=str(exported),
            signature=ModelSignature(Schema(text), Schema(numbers)),
            input_example=pandas.DataFrame([_example(task) for task in description.tasks]),
            pip_requirements=["orch-mtl"],
            metadata={"trial_id": description.trial_id, "epoch": description.epoch},
        )
    return description.epoch


def _example(task: Task) -> dict[str, str]:
    first, second = _EXAMPLES[task.is_pair]
    return {"task": task.name, "sentence1": first, "sentence2": second}


def _write_id(folder: Path, model: Any) -> None:
    """Have the MLmodel file name the logged model that it is."""
    from mlflow.models import Model

    file = folder / "MLmodel"
    described = Model.load(str(file))
    described.model_id = model.model_id
    described.save(str(file))
