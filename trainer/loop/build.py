"""From a config to its model, and the checks that need no data."""

from __future__ import annotations

import torch
from torch import nn

from trainer.combiners import registry as combiners
from trainer.config import ConfigError, Problem, TrainConfig
from trainer.config.choices import DEFAULT_HEAD, HEADS, PAIR_MODES
from trainer.config.tasks import Task
from trainer.data.corpus import Corpus
from trainer.loop import determinism
from trainer.loop.device import choose_device
from trainer.loop.start_from import check_shapes, load_earlier
from trainer.model.encoder import Encoder
from trainer.model.encoder_shape import EncoderShape, preset_shape
from trainer.model.freezing import frozen_segments
from trainer.model.heads import HeadSpec, MultitaskModel
from trainer.model.pretrained import find_checkpoint
from trainer.storage.earlier_model import earlier_model


def build_model(config: TrainConfig, corpus: Corpus) -> MultitaskModel:
    """The encoder that a config names, loaded or random, with new heads.

    With `start_from` encoder and heads have the weights of that model, as far as heads agree.

    Raises:
        EncoderError: the encoder cannot be found or read.
        ConfigError: there is nothing to start from, or it does not fit.
    """
    checkpoint = find_checkpoint(config.encoder)
    shape = checkpoint.shape if checkpoint else preset_shape(config.encoder, corpus.vocabulary)
    encoder = Encoder(shape, config.encoder_dropout, config.attention_dropout)
    if checkpoint and not config.start_from:
        weights = checkpoint.weights()
        pooler = {k: v for k, v in encoder.state_dict().items() if k.startswith("pooler.")}
        encoder.load_state_dict(pooler | weights)
    model = with_heads(config, encoder)
    if config.start_from:
        earlier = earlier_model(config.start_from)
        check_shapes(earlier, shape)
        old = earlier.config
        load_earlier(model, earlier, {t.name: head_of(old, t).head for t in old.task_list})
    return model


def with_heads(config: TrainConfig, encoder: Encoder) -> MultitaskModel:
    """The encoder with the config's layers and heads on it, freshly initialised."""
    return MultitaskModel(
        encoder,
        [head_of(config, task) for task in config.task_list],
        config.dropout,
        shared_layer=config.shared_layer,
        relational_layer=config.relational_layer,
    )


def head_of(config: TrainConfig, task: Task) -> HeadSpec:
    """The task's head.  One that needs more vectors than the task has becomes the default."""
    vectors, head = config.vectors_of(task), config.head_of(task.name)
    return HeadSpec(
        task,
        head if HEADS[head].needs_vectors <= vectors else DEFAULT_HEAD,
        vectors,
        features=str(config.for_task("pair_features", task.name)),
        pooling=str(config.for_task("pooling", task.name)),
    )


def check_methods(config: TrainConfig) -> None:
    """Check what building the trial would check, before any data are read.

    Raises:
        ConfigError: device, `deterministic`, task names, pair modes, `data.max_length` or
            `start_from` do not fit.
        EncoderError, CombinerError, FreezeError: what the config names cannot be used here.
    """
    problems = []
    if config.device == "cuda" and not torch.cuda.is_available():
        problems.append(Problem("device", "there is no CUDA device here", "auto, cpu"))
    for name in config.tasks:
        if hasattr(nn.ModuleDict, name):
            problems.append(Problem("tasks", f"{name!r} cannot name a task", "another name"))
    if config.deterministic:
        problems += determinism.why_not(choose_device(config.device))
    checkpoint = find_checkpoint(config.encoder)
    shape = checkpoint.shape if checkpoint else preset_shape(config.encoder, vocabulary=0)
    for task in config.task_list:
        if (length := config.max_length_of(task)) > shape.positions:
            message = f"{length} tokens of {task.name} are more than the encoder's positions"
            problems.append(Problem("data.max_length", message, f"up to {shape.positions}"))
    problems += _second_sentences(config, shape)
    if problems:
        raise ConfigError(problems)
    if config.start_from:
        check_shapes(earlier_model(config.start_from), shape)
    combiners.build(config)
    layers = [f"layers.{index}" for index in range(shape.layers)]
    frozen_segments(config.freeze, ["embeddings", *layers, "pooler"])


def _second_sentences(config: TrainConfig, shape: EncoderShape) -> list[Problem]:
    """Tasks whose pair mode marks the second sentence by a token type that the encoder lacks."""
    if shape.token_types > 1:
        return []
    problems = []
    for task in filter(lambda task: task.is_pair, config.task_list):
        mode = PAIR_MODES[config.pair_of(task.name)]
        if mode.marks_second:
            modes = ", ".join(mode.name for mode in PAIR_MODES.values() if not mode.marks_second)
            message = (
                f"{mode.name} gives the second sentence of {task.name} token type 1, and this "
                "encoder has one token type (`type_vocab_size` in its config.json)"
            )
            problems.append(Problem("pair", message, modes))
    return problems
