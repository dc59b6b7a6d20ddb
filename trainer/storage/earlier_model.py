"""The weights that a trial starts from: an earlier trial's, or those of an exported model.

A trial's directory holds config.json and checkpoints.  An exported model's folder
(trainer.inference) holds model.json, weights.safetensors and tokenizer.json.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config import ConfigError, Problem, TrainConfig, stored_config
from trainer.storage.file_hash import file_hash
from trainer.storage.folder import StoreError
from trainer.storage.json_reader import parse_object
from trainer.storage.open import open_folder
from trainer.storage.summary import LAST, counted_epoch
from trainer.storage.trial_directory import WEIGHTS, TrialDirectory, checkpoint_name

#: The files of an exported model beside its weights.
DESCRIPTION, TOKENIZER = "model.json", "tokenizer.json"
_ALLOWED = "the folder of a trial that has ended, or of an exported model"


@dataclass(frozen=True)
class EarlierModel:
    """A trained model in its folder.  Its weights are not read yet."""

    place: str
    config: TrainConfig
    trial_id: str
    epoch: int
    #: sha256 of the weights file, which identifies the model.
    sha256: str
    #: The encoder's sizes and the tokenizer's file, which an exported model has.
    shape: Mapping[str, Any] | None = None
    tokenizer: Path | None = None

    def weights(self) -> bytes:
        """The weights file (safetensors).

        Raises:
            ConfigError: the file is missing or damaged.
        """
        try:
            if self.shape is not None:
                content = _file(Path(self.place), WEIGHTS)
            else:
                content = TrialDirectory(self.place).checkpoint(self.epoch, WEIGHTS)
        except (StoreError, OSError) as error:
            raise refusal(f"{self.place}: its weights cannot be read: {error}") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise refusal(f"{self.place}: its weights do not match their sha256")
        return content

    def description(self) -> dict[str, Any]:
        """What config.json of a trial that starts from it says about it."""
        return {"trial_id": self.trial_id, "epoch": self.epoch, "weights": self.sha256}


def refusal(message: str) -> ConfigError:
    """The error of a `start_from` that cannot be used."""
    return ConfigError([Problem("start_from", message, _ALLOWED)])


def earlier_model(place: str) -> EarlierModel:
    """The model that `start_from: place` means: of a trial, as of its epoch that counts.

    Args:
        place: a folder; for a trial also a URI (`s3://...`).

    Raises:
        ConfigError: there is no such model, or the trial has not ended.
    """
    place = os.path.expanduser(place)
    exported = Path(place)
    try:
        if (exported / DESCRIPTION).is_file():
            return _exported(exported)
        return _of_trial(TrialDirectory(place), place)
    except (StoreError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ConfigError) and error.problems[0].key == "start_from":
            raise
        raise refusal(f"{place}: cannot be read: {error}") from error


def _exported(folder: Path) -> EarlierModel:
    plain = parse_object(_file(folder, DESCRIPTION))
    return EarlierModel(
        place=str(folder),
        config=TrainConfig.from_dict(stored_config(plain)),
        trial_id=str(plain["trial_id"]),
        epoch=int(plain["epoch"]),
        sha256=file_hash(folder / WEIGHTS),
        shape=plain["shape"],
        tokenizer=folder / TOKENIZER,
    )


def _file(folder: Path, name: str) -> bytes:
    content = open_folder(folder).enclosed().read(name)
    if content is None:
        raise StoreError(f"{folder / name}: there is no such file")
    return content


def _of_trial(trial: TrialDirectory, place: str) -> EarlierModel:
    stored = trial.config()
    if stored is None:
        raise refusal(f"{place}: no trial and no exported model there")
    if trial.end() is None:
        raise refusal(f"{place}: this trial has not ended, so its weights still change")
    config = TrainConfig.from_dict(stored_config(stored))
    records = trial.records()
    if not records:
        raise refusal(f"{place}: this trial has no committed epoch")
    epoch = counted_epoch(records, str((stored.get("config") or {}).get("score", LAST)))
    sha256 = (records[epoch - 1].get("files") or {}).get(checkpoint_name(epoch, WEIGHTS))
    if sha256 is None or trial.folder.names(f"checkpoints/{epoch:03d}") == []:
        raise refusal(f"{place}: the weights of epoch {epoch} are no longer there")
    trial_id = str(stored.get("trial_id", trial.folder.name))
    return EarlierModel(place, config, trial_id, epoch, str(sha256))
