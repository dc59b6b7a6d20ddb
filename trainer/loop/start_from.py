"""Start from an earlier model: its encoder, and its heads where task, head and shapes agree.

Frozen first and fine-tuned then, or another task first: the two runs are two trials, and the second
one names the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from trainer.model.encoder_shape import EncoderShape, preset_shape
from trainer.model.heads import MultitaskModel
from trainer.model.pretrained import find_checkpoint
from trainer.model.weights_file import tensors
from trainer.storage.earlier_model import EarlierModel, refusal
from trainer.storage.folder import StoreError

#: Parts of a model between encoder and heads, which a trial takes over if it has them too.
_BETWEEN = ("shared_layer.", "relational_layer.")


def check_shapes(earlier: EarlierModel, shape: EncoderShape) -> None:
    """Check that an encoder of this shape can take the earlier weights.

    The size of the vocabulary is left out, because it needs the data for a random preset
    (trainer.data.corpus.prepare checks it).

    Raises:
        ConfigError: a size differs.
        EncoderError: the earlier trial's encoder cannot be found.
    """
    theirs, ours = _comparable(_shape_of(earlier)), _comparable(shape)
    different = [
        f"{name} {getattr(theirs, name)} (this encoder: {getattr(ours, name)})"
        for name in vars(ours)
        if getattr(theirs, name) != getattr(ours, name)
    ]
    if different:
        raise refusal(f"{earlier.place}: its encoder has {', '.join(different)}")


def _shape_of(earlier: EarlierModel) -> EncoderShape:
    if earlier.shape is not None:
        return EncoderShape(**earlier.shape)
    checkpoint = find_checkpoint(earlier.config.encoder)
    return checkpoint.shape if checkpoint else preset_shape(earlier.config.encoder, vocabulary=0)


def _comparable(shape: EncoderShape) -> EncoderShape:
    """Without what fine-tuning does not need: vocabulary (checked apart), initial weights."""
    return replace(shape, vocabulary=0, initializer_std=0.0)


def load_earlier(model: MultitaskModel, earlier: EarlierModel, heads: Mapping[str, str]) -> None:
    """Load the earlier weights into a new model.

    Args:
        heads: the earlier model's tasks and the names of their heads.

    Raises:
        ConfigError: the weights cannot be read, or do not fit the encoder.
    """
    try:
        weights = tensors(earlier.weights(), earlier.place)
    except StoreError as error:
        raise refusal(f"its weights cannot be read: {error}") from error
    own = model.state_dict()
    encoder = {name for name in own if name.startswith("encoder.")}
    if missing := sorted(name for name in encoder if not _fits(name, weights, own)):
        raise refusal(f"{earlier.place}: its {missing[0]} does not fit this encoder")
    taken = set(encoder)
    same = [f"heads.{n}." for n, spec in model.specs.items() if heads.get(n) == spec.head]
    for prefix in (*_BETWEEN, *same):
        names = {name for name in own if name.startswith(prefix)}
        if all(_fits(name, weights, own) for name in names):
            taken |= names
    model.load_state_dict(own | {name: weights[name] for name in taken})


def _fits(name: str, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    return name in weights and weights[name].shape == own[name].shape
