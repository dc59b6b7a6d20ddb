"""The best trial's model in MLflow's registry, at `models:/<sweep>/<version>`."""

from __future__ import annotations

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

#: The largest model that the end of a sweep uploads to a server.
SMALL_BYTES = 100 * 2**20
#: The alias of the currently best version: `models:/<sweep>@best`.
ALIAS = "best"
#: Tags of logged models and versions.
_TRIAL, _SWEEP, _EPOCH = "trial_id", "sweep_id", "epoch"
#: Input examples for a model; they are in no corpus.
_EXAMPLES = {
    False: ("a warm and funny film that is over too soon", ""),
    True: ("How do I learn to swim?", "What is the best way to learn swimming?"),
}


class TooLarge(ValueError):
    """A model is too large to upload at the end of a sweep; the text says what uploads it."""


@dataclass(frozen=True)
class BestTrial:
    """The trial whose model is registered, with its run and its sweep's experiment."""

    trial_id: str
    label: str
    directory: TrialDirectory
    run_id: str
    experiment: str
    sweep: SweepDescription


def register(
    client: MlflowClient, best: BestTrial, limit: int | None, progress: Callable[[], None]
) -> None:
    """Register a trial's model as the newest version of the sweep's model, unless it already is.

    Args:
        limit: the largest allowed model in bytes; None for no limit.

    Raises `TooLarge`, `StoreError` for a trial without a complete checkpoint, `DataError` or
    `EncoderError` if its tokenizer is gone, and whatever the database raises.
    """
    sweep = best.sweep
    name = f"name = '{sweep.name}'"
    if not client.search_registered_models(name):
        _name_again_or_create(client, sweep)
    mine = [v for v in client.search_model_versions(name) if _is_of(v.tags, best)]
    places = {model.artifact_location for model in _logged_models(client, best)}
    whole = [v for v in mine if v.status == "READY" and v.source in places]
    for version in mine if not whole else ():  # of a model that somebody deleted
        client.delete_model_version(sweep.name, version.version)
    if not whole:
        model = _logged(client, best, limit, progress)
        tags = {_TRIAL: best.trial_id, _SWEEP: sweep.sweep_id}
        version = client.create_model_version(
            sweep.name, model.artifact_location, best.run_id, tags, description=best.label,
            model_id=model.model_id,
        )  # fmt: skip
        whole = [version]
    newest = max(whole, key=lambda version: int(version.version))
    present = client.get_registered_model(sweep.name).aliases.get(ALIAS)
    if str(present) != str(newest.version):  # an int from a database, text from a server
        client.set_registered_model_alias(sweep.name, ALIAS, newest.version)
    progress()


def _name_again_or_create(client: MlflowClient, sweep: SweepDescription) -> None:
    """Make the registered model of the sweep's name, out of the one that had it if that exists."""
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'")
        if any(_is_of_sweep(client, version, sweep) for version in versions):
            client.rename_registered_model(model.name, sweep.name)
            return
    client.create_registered_model(sweep.name, description=_described(sweep))


def _is_of_sweep(client: MlflowClient, version: Any, sweep: SweepDescription) -> bool:
    """Whether a version is of the sweep, and not of a copy under another name."""
    from mlflow.exceptions import MlflowException

    if version.tags.get(_SWEEP) != sweep.sweep_id:
        return False
    try:
        return bool(client.get_run(version.run_id).data.tags.get("sweep") == sweep.name)
    except MlflowException:  # the run is gone
        return False


def _logged_models(client: MlflowClient, best: BestTrial) -> list[Any]:
    """The trial's models in the experiment whose upload is complete, and whose files are there."""
    found = client.search_logged_models([best.experiment], f"tags.{_TRIAL} = '{best.trial_id}'")
    mine = [m for m in found if _is_of(m.tags, best) and m.status.value == "READY"]
    return [model for model in mine if client.list_logged_model_artifacts(model.model_id)]


def _described(sweep: SweepDescription) -> str:
    """What the registered model is, and how to use it, in Markdown."""
    what = f"The best trial of the best configuration of the sweep {sweep.name}."
    use = f"`orch predict {sweep.name}` uses it; in Python, "
    use += f'`mlflow.pyfunc.load_model("models:/{sweep.name}@{ALIAS}")`.'
    return "\n\n".join(filter(None, [sweep.question, f"{what} {use}"]))


def _is_of(tags: dict[str, str], best: BestTrial) -> bool:
    return tags.get(_TRIAL) == best.trial_id and tags.get(_SWEEP, "") == best.sweep.sweep_id


def _logged(
    client: MlflowClient, best: BestTrial, limit: int | None, progress: Callable[[], None]
) -> Any:
    """The trial's model in the experiment.  Deletes models whose upload was interrupted."""
    run_id, sweep, whole = best.run_id, best.sweep, _logged_models(client, best)
    tried = client.search_logged_models([best.experiment], f"tags.{_TRIAL} = '{best.trial_id}'")
    for model in tried:
        if _is_of(model.tags, best) and model.model_id not in {m.model_id for m in whole[:1]}:
            client.delete_logged_model(model.model_id)
    if whole:
        _add_output(client, run_id, whole[0], int(whole[0].tags.get(_EPOCH, 0)))
        return whole[0]
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
    model = client.finalize_logged_model(model.model_id, "READY")
    _add_output(client, run_id, model, epoch)
    return model


def _add_output(client: MlflowClient, run_id: str, model: Any, epoch: int) -> None:
    """Add the model to its run's outputs, unless it is there: MLflow would add it again."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run_id).outputs
    if model.model_id not in {each.model_id for each in (outputs.model_outputs if outputs else ())}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, epoch)])


def _save(trial: TrialDirectory, folder: Path, limit: int | None) -> int:
    """Write a model in MLflow's format; returns its epoch."""
    import pandas
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import save_model
    from mlflow.types import ColSpec, Schema

    from trainer import inference

    with tempfile.TemporaryDirectory() as parent:
        exported = Path(parent, "trained")  # MLflow keeps the folder's name
        exported.mkdir()
        description = inference.export(trial, exported)
        size = sum(path.stat().st_size for path in exported.iterdir())
        if limit is not None and size > limit:
            raise TooLarge(f"it has {size / 1e6:.0f} MB; run orch sync to upload it to the server")
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
    """Write the logged model's id into the MLmodel file."""
    from mlflow.models import Model

    file = folder / "MLmodel"
    described = Model.load(str(file))
    described.model_id = model.model_id
    described.save(str(file))
