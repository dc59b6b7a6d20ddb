"""minBERT over packed tokens (Devlin et al. 2018).

Embeddings, projections, feed-forward and norms compute on the packed (T, H) matrix.  Only attention
knows where sentences begin.  With the same weights the encoder gives the outputs of Hugging Face's
`BertModel`.

Shapes: T tokens, n sentences, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trainer.model.dropout import Dropout, Masks
from trainer.model.encoder_shape import EncoderShape
from trainer.model.packing import Packed
from trainer.model.task_gradients import linear, lookup, norm
from trainer.model.transformer_layer import Layer


class Embeddings(nn.Module):
    """Word + position + token-type embeddings, norm, dropout; fp32."""

    def __init__(self, shape: EncoderShape, dropout: float, masks: Masks):
        super().__init__()
        self.word = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position = nn.Embedding(shape.positions, shape.hidden)
        self.token_type = nn.Embedding(shape.token_types, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        self.dropout = Dropout(dropout, masks)

    def sums(self, packed: Packed) -> Tensor:
        """The sums of the three embeddings before their norm, (T,) -> (T, H)."""
        return (
            lookup(self.word.weight, packed.ids, packed)
            + lookup(self.token_type.weight, packed.token_types, packed)
            + lookup(self.position.weight, packed.positions, packed)
        )

    def forward(self, packed: Packed, shift: Tensor | None = None) -> Tensor:
        """(T,) -> (T, H).  `shift` (T, H), SMART's perturbation, is added to the embeddings."""
        embedded = self.sums(packed)  # (T, H)
        if shift is not None:
            embedded = embedded + shift
        return self.dropout(norm(self.norm, embedded, packed.spans))


class Encoder(nn.Module):
    """BERT: embeddings, layers, pooler, with random weights.

    The layers compute in `dtype`.  Embeddings, norms, softmax and the pooler compute in fp32.
    """

    def __init__(self, shape: EncoderShape, dropout: float = 0.1, attention_dropout: float = 0.1):
        super().__init__()
        self.shape = shape
        self.dtype = torch.float32
        self.masks = Masks()
        self.embeddings = Embeddings(shape, dropout, self.masks)
        self.layers = nn.ModuleList(
            Layer(shape, dropout, attention_dropout, self.masks) for _ in range(shape.layers)
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
        """Let the layers compute in another `dtype` within this context."""
        before, self.dtype = self.dtype, dtype
        try:
            yield
        finally:
            self.dtype = before

    def forward(self, packed: Packed, shift: Tensor | None = None) -> Tensor:
        """Pooled [CLS] vectors (n, H), fp32.  The last layer is computed for [CLS] tokens alone."""
        return self.pool(self.states(packed, shift, first_only=True), packed)

    def states(
        self, packed: Packed, shift: Tensor | None = None, *, first_only: bool = False
    ) -> Tensor:
        """What the last layer gives for every token, (T, H), fp32.

        With `first_only` it computes the [CLS] tokens alone, (n, H).
        """
        hidden = self.embeddings(packed, shift).to(self.dtype)  # (T, H)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden, packed, first_only=first_only and number == last)
        return hidden.float()

    def pool(self, first: Tensor, packed: Packed) -> Tensor:
        """BERT's pooler on the states of the [CLS] tokens: tanh of a linear layer, (n, H)."""
        return torch.tanh(linear(self.pooler, first, packed.sentence_spans))


def to_hugging_face_names(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """An encoder's state dict under Hugging Face's names: the inverse of
    `from_hugging_face_names`."""
    theirs = {
        f"embeddings.{name}_embeddings.weight": weights[f"embeddings.{name}.weight"]
        for name in ("word", "position", "token_type")
    }
    for index in range(layers):
        for kind in ("weight", "bias"):
            parts = weights[f"layers.{index}.query_key_value.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                theirs[f"encoder.layer.{index}.attention.self.{name}.{kind}"] = part.contiguous()
    for module, bert_module in _modules(layers).items():
        for kind in ("weight", "bias"):
            theirs[f"{bert_module}.{kind}"] = weights[f"{module}.{kind}"]
    return theirs


def _modules(layers: int) -> dict[str, str]:
    """Our names of the modules that are the same in both -> Hugging Face's."""
    modules = {"embeddings.norm": "embeddings.LayerNorm", "pooler": "pooler.dense"}
    for index in range(layers):
        layer, bert_layer = f"layers.{index}.", f"encoder.layer.{index}."
        modules |= {
            layer + "attention_output": bert_layer + "attention.output.dense",
            layer + "attention_norm": bert_layer + "attention.output.LayerNorm",
            layer + "intermediate": bert_layer + "intermediate.dense",
            layer + "output": bert_layer + "output.dense",
            layer + "output_norm": bert_layer + "output.LayerNorm",
        }
    return modules


def from_hugging_face_names(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Rename a Hugging Face BERT state dict to our names, in fp32.

    Names may begin with `bert.`, and norms may have the old names `gamma` and `beta`.  Other
    entries (MLM heads) are left out.  The result has no pooler if the checkpoint has none.

    Raises:
        KeyError: a tensor is missing; it holds the tensor's name.
    """
    theirs = {}
    for name, tensor in weights.items():
        name = name.removeprefix("bert.")
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        theirs[name.replace("LayerNorm.beta", "LayerNorm.bias")] = tensor
    ours = {
        "embeddings.word.weight": theirs["embeddings.word_embeddings.weight"],
        "embeddings.position.weight": theirs["embeddings.position_embeddings.weight"],
        "embeddings.token_type.weight": theirs["embeddings.token_type_embeddings.weight"],
    }
    for index in range(layers):
        layer, bert_layer = f"layers.{index}.", f"encoder.layer.{index}."
        for kind in ("weight", "bias"):
            parts = [f"{bert_layer}attention.self.{n}.{kind}" for n in ("query", "key", "value")]
            ours[f"{layer}query_key_value.{kind}"] = torch.cat([theirs[name] for name in parts])
    modules = _modules(layers)
    if "pooler.dense.weight" not in theirs:
        del modules["pooler"]
    for module, bert_module in modules.items():
        for kind in ("weight", "bias"):
            ours[f"{module}.{kind}"] = theirs[f"{bert_module}.{kind}"]
    return {name: tensor.float() for name, tensor in ours.items()}
