"""A trained model that predicts: sentences in, predictions out.

`export` copies everything that the model needs out of a trial directory.  So `Model.load` needs
neither the trial, nor the pretrained encoder, nor the data.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from trainer.config import FORMAT, TrainConfig, stored_config
from trainer.config.choices import PRECISIONS
from trainer.config.tasks import Task
from trainer.data.corpus import split_of
from trainer.data.sources import same_data
from trainer.data.split import Split
from trainer.data.vocabulary import tokenizer_of
from trainer.loop.build import with_heads
from trainer.loop.device import DTYPES, choose_device, hardware_of, round_products
from trainer.loop.evaluation import evaluate, probabilities
from trainer.loop.extra_evaluation import Trained
from trainer.model.encoder import Encoder
from trainer.model.encoder_shape import EncoderShape, preset_shape
from trainer.model.heads import MultitaskModel
from trainer.model.packing import alignment
from trainer.model.pretrained import find_checkpoint
from trainer.model.weights_file import load_into
from trainer.storage.earlier_model import DESCRIPTION, TOKENIZER
from trainer.storage.summary import BEST, LAST, counted_epoch
from trainer.storage.trial_directory import (
    WEIGHTS,
    StoreError,
    TrialDirectory,
    checkpoint_name,
)

logger = logging.getLogger("trainer")


class InferenceError(ValueError):
    """Sentences that cannot be predicted.  The message says which and why."""


@dataclass(frozen=True)
class Description:
    """model.json: the trial, config and encoder of the weights."""

    trial_id: str
    epoch: int
    config: TrainConfig
    shape: EncoderShape
    #: The precision of its training: one of `PRECISIONS`.
    precision: str

    @property
    def tasks(self) -> list[Task]:
        return self.config.task_list

    def to_json(self) -> str:
        plain = vars(self) | {"config": self.config.to_dict(), "shape": asdict(self.shape)}
        plain["format"] = FORMAT
        return json.dumps(plain, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Description:
        plain = json.loads(text)
        config = TrainConfig.from_dict(stored_config(plain))
        del plain["config"]
        plain.pop("format", None)
        return cls(config=config, shape=EncoderShape(**plain.pop("shape")), **plain)


@dataclass(frozen=True)
class Checkpoint:
    """The weights after an epoch of a trial."""

    stored: dict[str, Any]
    epoch: int
    content: bytes
    sha256: str

    @property
    def precision(self) -> str:
        """The precision of its training: one of `PRECISIONS`.  Raises `StoreError` for another."""
        precision = self.stored.get("precision", "fp32")
        if precision not in PRECISIONS:
            raise StoreError(f"config.json: precision {precision!a} is none of {PRECISIONS}")
        return str(precision)


#: Which epoch of a trial answers: the one that counts, or the best or last one anyway.
COUNTED = "counted"
EPOCHS = (COUNTED, BEST, LAST)


def kept_checkpoint(trial: TrialDirectory, which: str = COUNTED) -> Checkpoint:
    """The weights of an epoch: one of `EPOCHS`.

    The last epoch counts, or the best one if the trial has `score: best`.  Raises `StoreError` if
    the weights are not there or not complete.
    """
    stored, records = trial.config(), trial.records()
    if stored is None or not records:
        raise StoreError(f"{trial.path}: no committed epoch")
    score = str((stored.get("config") or {}).get("score", LAST))
    epoch = counted_epoch(records, score if which == COUNTED else which)
    return Checkpoint(stored, epoch, *trial.weights(records[epoch - 1]))


def check_vocabulary(trial: TrialDirectory, config: TrainConfig, recorded: str | None) -> None:
    """Raise `StoreError` if the data that gave a random encoder its vocabulary have changed.

    Other data would give other words for the same ids.

    Args:
        recorded: the fingerprint of the data that the trial was trained on.
    """
    if find_checkpoint(config.encoder) is None and not same_data(recorded, config):
        raise StoreError(f"{trial.path}: its data have changed, and with them its vocabulary")


def load_trained(
    trial: TrialDirectory, config: TrainConfig, device: torch.device, which: str = COUNTED
) -> Trained:
    """A trial's model as of an epoch, computing in the precision of its training.

    Args:
        config: the trial's, with the place where its data are now.
        which: the epoch, one of `EPOCHS`.

    Raises:
        StoreError: the trial has no complete checkpoint, or its data have changed.
        EncoderError, DataError: its encoder or its data cannot be found.
    """
    kept = kept_checkpoint(trial, which)
    check_vocabulary(trial, config, kept.stored.get("fingerprint"))
    encoder = Encoder(_shape_of(config, tokenizer_of(config)))
    encoder.dtype = DTYPES[kept.precision]
    round_products(kept.precision)
    model = with_heads(config, encoder)
    load_into(model, kept.content, f"{trial.path}: {checkpoint_name(kept.epoch, WEIGHTS)}")
    model = model.to(device).eval()
    return Trained(model, config, device, kept.precision, kept.epoch, kept.sha256)


def _shape_of(config: TrainConfig, tokenizer: Tokenizer) -> EncoderShape:
    checkpoint = find_checkpoint(config.encoder)
    if checkpoint:
        return checkpoint.shape
    return preset_shape(config.encoder, tokenizer.get_vocab_size())


def export(trial: TrialDirectory, folder: Path) -> Description:
    """Write a trial's model, as of the epoch that counts, into an empty folder.

    The files are `weights.safetensors` (encoder and heads), `tokenizer.json`, and `model.json`
    (config and shape).

    Raises:
        StoreError: the trial has no complete checkpoint, or its data have changed.
        EncoderError, DataError: its tokenizer cannot be found.
    """
    kept = kept_checkpoint(trial)
    config = TrainConfig.from_dict(stored_config(kept.stored))
    tokenizer = tokenizer_of(config)
    check_vocabulary(trial, config, kept.stored.get("fingerprint"))
    shape = _shape_of(config, tokenizer)
    trial_id = str(kept.stored.get("trial_id", trial.folder.name))
    description = Description(trial_id, kept.epoch, config, shape, kept.precision)
    (folder / WEIGHTS).write_bytes(kept.content)
    (folder / TOKENIZER).write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / DESCRIPTION).write_text(description.to_json(), encoding="utf-8")
    return description


class Model:
    """A trained model on a device."""

    def __init__(
        self,
        model: MultitaskModel,
        tokenizer: Tokenizer,
        description: Description,
        device: torch.device,
    ):
        self.description = description
        self.config = description.config
        self.tasks = {task.name: task for task in description.tasks}
        self.tokenizer = tokenizer
        self._device = device
        self._model = model.to(device).eval()

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Model:
        """The model that `export` wrote, computing in the precision that it was trained in.

        A device that emulates this precision is slow, and a warning says so.
        """
        description = Description.from_json((folder / DESCRIPTION).read_text(encoding="utf-8"))
        chosen = choose_device(device)
        hardware = hardware_of(chosen)
        precision = description.precision
        if DTYPES[precision] != torch.float32 and precision not in hardware.native:
            logger.warning(
                "the model computes in %s, and %s: predictions take long",
                precision, hardware.multiplies(precision),
            )  # fmt: skip
        encoder = Encoder(description.shape)
        encoder.dtype = DTYPES[precision]
        model = with_heads(description.config, encoder)
        model.load_state_dict(load_file(folder / WEIGHTS))
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        return cls(model, tokenizer, description, chosen)

    @classmethod
    def of_trial(
        cls, trial: TrialDirectory, config: TrainConfig, device: str = "auto", which: str = COUNTED
    ) -> Model:
        """The model of a trial where it was trained.  Arguments and errors: `load_trained`."""
        trained = load_trained(trial, config, choose_device(device), which)
        stored = trial.config() or {}
        trial_id = str(stored.get("trial_id", trial.folder.name))
        shape = trained.model.encoder.shape
        description = Description(trial_id, trained.epoch, config, shape, trained.precision)
        return cls(trained.model, tokenizer_of(config), description, trained.device)

    def predict(
        self, task: str, first: Sequence[str], second: Sequence[str] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and scores, both float64 (n,), as in a trial's predictions.

        A prediction is a class or a real value.  A score is the probability of the predicted class,
        for a task with one logit that of class 1, and for a regression the value itself.

        Args:
            first: n sentences.
            second: n second sentences, for a task with pairs.

        Raises:
            InferenceError: the model was not trained on the task, or sentences are missing.
        """
        split = self.split(task, first, second)
        if not len(split):
            return np.empty(0), np.empty(0)
        predicted = evaluate(self._model, split, **self._computing)
        return predicted.predictions, predicted.scores

    def probabilities(
        self, task: str, first: Sequence[str], second: Sequence[str] = ()
    ) -> np.ndarray:
        """Probabilities of all classes, float64 (n, classes); real values, float64 (n,).

        A row's largest probability is that of the class that `predict` gives.  Arguments and errors
        are those of `predict`.
        """
        return self.probabilities_of(self.split(task, first, second))

    def probabilities_of(self, split: Split) -> np.ndarray:
        """`probabilities` of the examples of a split of one of the model's tasks."""
        if not len(split):
            return np.empty((0, split.task.label_classes) if split.task.integer_labels else 0)
        return probabilities(self._model, split, **self._computing)

    def weights(self) -> dict[str, torch.Tensor]:
        """All weights under our names, fp32, on the CPU; those of the encoder begin with
        `encoder.`."""
        return {name: t.detach().float().cpu() for name, t in self._model.state_dict().items()}

    @property
    def _computing(self) -> dict[str, Any]:
        return {
            "batch_size": self.config.eval_batch_size,
            "device": self._device,
            "align": alignment(self._device, self._model.encoder.dtype),
        }

    def split(self, task: str, first: Sequence[str], second: Sequence[str] = ()) -> Split:
        """The sentences as a split.  Arguments and errors are those of `predict`."""
        if task not in self.tasks:
            allowed = ", ".join(self.tasks)
            raise InferenceError(f"task {task!r}: not a task of this model; allowed: {allowed}")
        declared = self.tasks[task]
        columns = [first, second] if declared.is_pair else [first]
        if any(len(column) != len(first) for column in columns):
            raise InferenceError(f"task {task}: needs two sentences in each row")
        texts = list(zip(*columns, strict=True))
        if not all(isinstance(text, str) for row in texts for text in row):
            raise InferenceError(f"task {task}: a sentence is missing or is not text")
        return split_of(texts, declared, self.config, self.tokenizer)
