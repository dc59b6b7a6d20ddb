"""Sizes of a BERT encoder.  Light: it loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of a BERT encoder, under our names."""

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
        """Read the sizes from the content of a Hugging Face config.json.

        Raises:
            KeyError: a size is missing.
            ValueError: the architecture is not BERT's.
        """
        kind = config.get("model_type", "bert")
        if kind != "bert":
            raise ValueError(f"model_type {kind!r}; allowed: bert")
        if config.get("hidden_act", "gelu") != "gelu":
            raise ValueError(f"hidden_act {config['hidden_act']!r} is not BERT's gelu")
        if config.get("position_embedding_type", "absolute") != "absolute":
            raise ValueError("BERT has absolute position embeddings, this config has others")
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

    def to_hugging_face(self) -> dict[str, Any]:
        """The sizes under the keys of a Hugging Face config.json."""
        return {
            "model_type": "bert",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate,
            "max_position_embeddings": self.positions,
            "type_vocab_size": self.token_types,
            "layer_norm_eps": self.norm_eps,
            "initializer_range": self.initializer_std,
            "hidden_act": "gelu",
        }


#: Random encoders: (hidden, layers, heads, intermediate).  Their vocabulary comes from the corpus.
PRESETS = {
    "tiny": (64, 2, 2, 128),
    "mini": (256, 4, 4, 1024),
    "base": (768, 12, 12, 3072),
}


def preset_shape(name: str, vocabulary: int) -> EncoderShape:
    """The shape of a random preset.

    BERT's initial standard deviation of 0.02 suits 768 hidden units.  Narrow encoders start wider,
    because a short training from scratch would otherwise hardly move them.
    """
    hidden, layers, heads, intermediate = PRESETS[name]
    std = 0.02 * (768 / hidden) ** 0.5
    return EncoderShape(vocabulary, hidden, layers, heads, intermediate, initializer_std=std)
