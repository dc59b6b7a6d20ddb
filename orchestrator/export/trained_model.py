"""The model of a chosen trial, loaded from its checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import UserError, unknown_name
from orchestrator.export.chosen_trial import ChosenTrial
from orchestrator.ledger.listing import data_folders
from trainer.config import TrainConfig

if TYPE_CHECKING:
    from trainer.config.tasks import Task
    from trainer.inference import Model

DEVICES = ("auto", "cpu", "cuda")


def config_of(chosen: ChosenTrial, data: str | None = None) -> TrainConfig:
    """A trial's config with the place where its data are now.

    Args:
        data: the folder of the data, if they moved.
    """
    trial = chosen.trial
    where = data_folders(chosen.ledger, data)
    return TrainConfig.from_dict({**trial.config, "data": {**trial.config["data"], **where}})


def check_device(device: str) -> None:
    """Raise `UserError` for a device that does not exist, or not here."""
    import torch

    if device not in DEVICES:
        raise unknown_name(f"--device {device}: no such device", device, DEVICES)
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no CUDA device here")


def load_model(
    chosen: ChosenTrial, *, epoch: str = "counted", device: str = "auto", data: str | None = None
) -> Model:
    """A trial's model.

    Args:
        epoch: `counted` (the one that counts), `best` or `last`.
        device: `auto`, `cpu` or `cuda`.
        data: the folder of the data, if they moved; a random encoder's vocabulary comes from them.

    Raises:
        UserError: an argument is none of these, the weights are not there, or the encoder or the
            data that a vocabulary comes from cannot be found or have changed.
    """
    from trainer.data.corpus import DataError
    from trainer.inference import EPOCHS, Model
    from trainer.model.pretrained import EncoderError
    from trainer.storage.folder import StoreError

    if epoch not in EPOCHS:
        raise unknown_name(f"--epoch {epoch}: no such epoch", epoch, EPOCHS)
    check_device(device)
    directory = chosen.ledger.directory(chosen.trial.trial_id)
    try:
        return Model.of_trial(directory, config_of(chosen, data), device, epoch)
    except StoreError as error:
        if not directory.names("checkpoints"):
            raise UserError(
                f"{directory.path}: holds no weights, as a trial of a pack; use the sweep where it "
                "was trained"
            ) from error
        if epoch == "best":
            raise UserError(
                f"{error}; --epoch best needs a trial with keep: best or both"
            ) from error
        raise UserError(str(error)) from error
    except (DataError, EncoderError) as error:
        raise UserError(str(error)) from error


def task_of(chosen: ChosenTrial, name: str) -> Task:
    """The task that a user names, or the trial's only one.  Raises `UserError`."""
    tasks = {task.name: task for task in chosen.trial.train_config.task_list}
    if name and name not in tasks:
        raise unknown_name(f"--task {name}: not a task of this model", name, tasks)
    if not name and len(tasks) > 1:
        raise UserError(f"--task: the model has several tasks; choose one: {', '.join(tasks)}")
    return tasks[name or next(iter(tasks))]
