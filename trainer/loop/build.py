"""From a config to its model, and what can be known before one is built."""

from __future__ import annotations

import torch
from torch import nn

from trainer.combiners import registry as combiners
from trainer.config import ConfigError, Problem, TrainConfig
from trainer.config.choices import HEADS
from trainer.data.corpus import Corpus
from trainer.model.encoder import Encoder, preset_shape
from trainer.model.freezing import frozen_segments
from trainer.model.heads import MultitaskModel
from trainer.model.pretrained import find_checkpoint


def build_model(config: TrainConfig, corpus: Corpus) -> MultitaskModel:
    """The encoder a config names, loaded or random, with fresh heads."""
    checkpoint = find_checkpoint(config.encoder)
    shape = checkpoint.shape if checkpoint else preset_shape(config.encoder, corpus.vocabulary)
    encoder = Encoder(shape, config.dropout, config.attention_dropout)
    if checkpoint:
        weights = checkpoint.weights()
        pooler = {k: v for k, v in encoder.state_dict().items() if k.startswith("pooler.")}
        encoder.load_state_dict(pooler | weights)
    return with_heads(config, encoder)


def with_heads(config: TrainConfig, encoder: Encoder) -> MultitaskModel:
    """The config's layers and heads, fresh, on an encoder."""
    vectors = {task.name: config.vectors_of(task) for task in config.task_list}
    return MultitaskModel(
        encoder,
        config.task_list,
        config.dropout,
        vectors=vectors,
        heads={
            name: head
            for name, count in vectors.items()
            if HEADS[head := config.head_of(name)].needs_vectors <= count
        },
        shared_layer=config.shared_layer,
        relational_layer=config.relational_layer,
    )


def check_methods(config: TrainConfig) -> None:
    """Raise now what building the trial would raise: `ConfigError`, `EncoderError`,
    `CombinerError` or `FreezeError`."""
    problems = []
    if config.device == "cuda" and not torch.cuda.is_available():
        problems.append(Problem("device", "there is no CUDA device here", "auto, cpu"))
    for name in config.tasks:
        if hasattr(nn.ModuleDict, name):
            problems.append(Problem("tasks", f"{name!r} cannot name a task", "another name"))
    checkpoint = find_checkpoint(config.encoder)
    shape = checkpoint.shape if checkpoint else preset_shape(config.encoder, vocabulary=0)
    if config.data.max_length > shape.positions:
        message = f"{config.data.max_length} is more than the encoder's positions"
        problems.append(Problem("data.max_length", message, f"up to {shape.positions}"))
    if problems:
        raise ConfigError(problems)
    combiners.build(config)
    layers = [f"layers.{index}" for index in range(shape.layers)]
    frozen_segments(config.freeze, ["embeddings", *layers, "pooler"])
