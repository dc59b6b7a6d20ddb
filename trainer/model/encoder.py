"""minBERT over packed tokens (Devlin et al. 2018).

Embedding, projections, feed-forward and norms run on the packed (total tokens x hidden) matrix;
only attention knows where sentences begin.  Reproduces Hugging Face's `BertModel` on the same
weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.model.dropout import Dropout, Masks
from trainer.model.packing import Packed
from trainer.model.task_gradients import linear, lookup, norm
from trainer.model.transformer_layer import Layer


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of a BERT encoder, under our names; `from_hugging_face` reads a config.json."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int = 512
    token_types: int = 2
    norm_eps: float = 1e-12
    initializer_std: float = 0.02

    @classmethod
    def from_hugging_face(cls, config: dict[str, Any]) -> EncoderShape:
        """Raises `KeyError` (missing size) or `ValueError` (an architecture that is not BERT's)."""
        if config.get("hidden_act", "gelu") != "gelu":
            raise ValueError(f"hidden_act {config['hidden_act']!r} is not BERT's gelu")
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError("only absolute position embeddings are BERT's")
        return cls(
            vocabulary=config["vocab_size"],
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            intermediate=config["intermediate_size"],
            positions=config["max_position_embeddings"],
            token_types=config.get("type_vocab_size", 2),
            norm_eps=config.get("layer_norm_eps", 1e-12),
            initializer_std=config.get("initializer_range", 0.02),
        )


#: Random encoders: (hidden, layers, heads, intermediate); their vocabulary comes from the corpus.
PRESETS = {
    "tiny": (64, 2, 2, 128),
    "mini": (256, 4, 4, 1024),
    "base": (768, 12, 12, 3072),
}


def preset_shape(name: str, vocabulary: int) -> EncoderShape:
    """The shape of a random preset.

    Weights of narrow layers start wider than BERT's 0.02, which suits 768: trained from scratch
    for minutes, a narrow encoder would otherwise hardly leave its start.
    """
    hidden, layers, heads, intermediate = PRESETS[name]
    std = 0.02 * (768 / hidden) ** 0.5
    return EncoderShape(vocabulary, hidden, layers, heads, intermediate, initializer_std=std)


class Embeddings(nn.Module):
    """Word + position + token-type embeddings, norm, dropout: (T,) -> (T, hidden), fp32.

    `shift` (T, hidden) is added to the word embeddings (SMART's perturbation).
    """

    def __init__(self, shape: EncoderShape, dropout: float, masks: Masks):
        super().__init__()
        self.word = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position = nn.Embedding(shape.positions, shape.hidden)
        self.token_type = nn.Embedding(shape.token_types, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        self.dropout = Dropout(dropout, masks)

    def forward(self, packed: Packed, shift: Tensor | None = None) -> Tensor:
        embedded = (
            lookup(self.word.weight, packed.ids, packed)
            + lookup(self.token_type.weight, packed.token_types, packed)
            + lookup(self.position.weight, packed.positions, packed)
        )
        if shift is not None:
            embedded = embedded + shift
        return self.dropout(norm(self.norm, embedded, packed.spans))


class Encoder(nn.Module):
    """BERT: embeddings, layers, pooler.  Weights are random until `load_weights`.

    `dtype` is what the layers compute in; embeddings, norms, softmax and the pooler are fp32.
    """

    def __init__(self, shape: EncoderShape, dropout: float = 0.1, attention_dropout: float = 0.1):
        super().__init__()
        self.shape = shape
        self.dtype = torch.float32
        self.masks = Masks()
        self.embeddings = Embeddings(shape, dropout, self.masks)
        self.layers = nn.ModuleList(
            Layer(
                shape.hidden,
                shape.heads,
                shape.intermediate,
                shape.norm_eps,
                dropout,
                attention_dropout,
                self.masks,
            )
            for _ in range(shape.layers)
        )
        self.pooler = nn.Linear(shape.hidden, shape.hidden)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.shape.initializer_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @contextmanager
    def computing_in(self, dtype: torch.dtype) -> Iterator[None]:
        """Another `dtype` for a while."""
        before, self.dtype = self.dtype, dtype
        try:
            yield
        finally:
            self.dtype = before

    def forward(self, packed: Packed, shift: Tensor | None = None) -> Tensor:
        """Pooled [CLS] vectors (n, hidden), fp32.

        The last layer is computed for the [CLS] tokens alone.
        """
        hidden = self.embeddings(packed, shift).to(self.dtype)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden, packed, first_only=number == last)
        return torch.tanh(linear(self.pooler, hidden.float(), packed.sentence_spans))

    def states(self, packed: Packed) -> Tensor:
        """The last layer's states of all tokens, (T, hidden) in `dtype`."""
        hidden = self.embeddings(packed).to(self.dtype)
        for layer in self.layers:
            hidden = layer(hidden, packed)
        return hidden


def from_hugging_face_names(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Rename a Hugging Face BERT state dict to ours; other entries (MLM heads) are left out.

    Accepts `bert.`-prefixed and bare names and the old `gamma`/`beta` norms.  A checkpoint
    without a pooler gives a state dict without one.  Raises `KeyError` naming a missing tensor.
    """
    bare = {}
    for name, tensor in weights.items():
        name = name.removeprefix("bert.")
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        bare[name.replace("LayerNorm.beta", "LayerNorm.bias")] = tensor
    ours = {
        "embeddings.word.weight": bare["embeddings.word_embeddings.weight"],
        "embeddings.position.weight": bare["embeddings.position_embeddings.weight"],
        "embeddings.token_type.weight": bare["embeddings.token_type_embeddings.weight"],
    }
    modules = {"embeddings.norm": "embeddings.LayerNorm"}
    for index in range(layers):
        theirs, mine = f"encoder.layer.{index}.", f"layers.{index}."
        modules |= {
            mine + "attention_output": theirs + "attention.output.dense",
            mine + "attention_norm": theirs + "attention.output.LayerNorm",
            mine + "intermediate": theirs + "intermediate.dense",
            mine + "output": theirs + "output.dense",
            mine + "output_norm": theirs + "output.LayerNorm",
        }
        for kind in ("weight", "bias"):
            parts = [bare[f"{theirs}attention.self.{n}.{kind}"] for n in ("query", "key", "value")]
            ours[f"{mine}query_key_value.{kind}"] = torch.cat(parts)
    if "pooler.dense.weight" in bare:
        modules["pooler"] = "pooler.dense"
    for mine, theirs in modules.items():
        for kind in ("weight", "bias"):
            ours[f"{mine}.{kind}"] = bare[f"{theirs}.{kind}"]
    return {name: tensor.float() for name, tensor in ours.items()}
