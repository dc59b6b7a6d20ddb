"""minBERT over packed tokens (Devlin et al. 2018).

Embedding, projections, feed-forward and norms run on the packed (total tokens x hidden) matrix;
only attention knows where sentences begin.  Reproduces Hugging Face's `BertModel` on the same
weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.dropout import Dropout, dropout


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


@dataclass
class Packed:
    """Sentences laid end to end; T tokens in n sentences.

    `ids`, `positions`, `token_types`: int64 (T,).  `slots`: int64 (T,), where each token lies in
    the padded (n x longest) grid that attention uses.  `first`: int64 (n,), the index of each
    sentence's [CLS] token.  `mask`: bool (n, 1, 1, longest) or None when no slot is padding.
    """

    ids: Tensor
    positions: Tensor
    token_types: Tensor
    slots: Tensor
    first: Tensor
    mask: Tensor | None
    longest: int

    @property
    def sentences(self) -> int:
        return self.first.shape[0]

    def to(self, device: torch.device) -> Packed:
        if device.type == "cpu":
            return self
        return Packed(
            ids=self.ids.to(device, non_blocking=True),
            positions=self.positions.to(device, non_blocking=True),
            token_types=self.token_types.to(device, non_blocking=True),
            slots=self.slots.to(device, non_blocking=True),
            first=self.first.to(device, non_blocking=True),
            mask=None if self.mask is None else self.mask.to(device, non_blocking=True),
            longest=self.longest,
        )


def pack(
    ids: np.ndarray, lengths: np.ndarray, first_lengths: np.ndarray, *, restart: bool = False
) -> Packed:
    """Describe sentences that already lie end to end.

    Args:
        ids: int (T,), token ids of all sentences, special tokens included.
        lengths: int (n,), tokens of each sentence (or pair); their sum is T.
        first_lengths: int (n,), how many of them belong to the first sentence.
        restart: the second sentence is embedded as if it stood alone: its positions start at 0
            again and its token type is 0.
    """
    ends = np.cumsum(lengths)
    starts = ends - lengths
    longest = int(lengths.max())
    positions = np.arange(len(ids)) - np.repeat(starts, lengths)
    slots = np.repeat(np.arange(len(lengths)) * longest, lengths) + positions
    second = positions >= np.repeat(first_lengths, lengths)
    if restart:
        positions = positions - np.where(second, np.repeat(first_lengths, lengths), 0)
        second = np.zeros_like(second)
    mask = None
    if longest * len(lengths) != len(ids):
        inside = np.arange(longest)[None, :] < lengths[:, None]
        mask = torch.from_numpy(inside).view(len(lengths), 1, 1, longest)
    return Packed(
        ids=torch.from_numpy(ids.astype(np.int64)),
        positions=torch.from_numpy(positions),
        token_types=torch.from_numpy(second.astype(np.int64)),
        slots=torch.from_numpy(slots),
        first=torch.from_numpy(starts.astype(np.int64)),
        mask=mask,
        longest=longest,
    )


class _ToGrid(torch.autograd.Function):
    """Packed rows -> padded grid.  Slots are unique, so the gradient is a plain gather."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, slots: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(slots)
        return rows.new_zeros(size, rows.shape[1]).index_copy_(0, slots, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(0, ctx.saved_tensors[0]), None, None


class _FromGrid(torch.autograd.Function):
    """Padded grid -> packed rows; the gradient is a plain scatter for the same reason."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.size = grid.shape[0]
        return grid.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (slots,) = ctx.saved_tensors
        return grad.new_zeros(ctx.size, grad.shape[1]).index_copy_(0, slots, grad), None


class _Lookup(torch.autograd.Function):
    """Rows of a table whose gradient is added straight into the table's `.grad`.

    Autograd would fill and add a dense gradient of the whole table for every task of a step, most
    of it zeros.  Needs `.grad` to be set before backward, as `FlatParameters` does; where it is
    not, the dense gradient is returned as usual.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.table = table
        return table.index_select(0, ids)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None]:
        (ids,) = ctx.saved_tensors
        if ctx.table.grad is None:
            return torch.zeros_like(ctx.table).index_add_(0, ids, gradient), None
        ctx.table.grad.index_add_(0, ids, gradient)
        return None, None


class Embeddings(nn.Module):
    """Word + position + token-type embeddings, norm, dropout: (T,) -> (T, hidden).

    `shift` (T, hidden) is added to the word embeddings (SMART's perturbation).
    """

    def __init__(self, shape: EncoderShape, dropout: float):
        super().__init__()
        self.word = nn.Embedding(shape.vocabulary, shape.hidden)
        self.position = nn.Embedding(shape.positions, shape.hidden)
        self.token_type = nn.Embedding(shape.token_types, shape.hidden)
        self.norm = nn.LayerNorm(shape.hidden, eps=shape.norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, packed: Packed, shift: Tensor | None = None) -> Tensor:
        embedded = (
            _Lookup.apply(self.word.weight, packed.ids)
            + self.token_type(packed.token_types)
            + self.position(packed.positions)
        )
        if shift is not None:
            embedded = embedded + shift
        return self.dropout(self.norm(embedded))


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, drop: float) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V for (n, heads, longest, d); `mask` is true where a key counts.

    With dropout on a CPU torch's own function takes a slow general path; there the arithmetic is
    spelled out (a sentence always has a key, so no row needs saving from an empty softmax).
    """
    if drop == 0.0 or query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=drop)
    scores = query @ (key * query.shape[-1] ** -0.5).transpose(-2, -1)
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, -torch.inf)
    with torch.autocast(query.device.type, enabled=False):  # softmax sums in fp32 either way
        weights = dropout(torch.softmax(scores, dim=-1), drop)
    return weights @ value


class Layer(nn.Module):
    """One post-norm transformer layer, (T, hidden) -> (T, hidden)."""

    def __init__(self, shape: EncoderShape, dropout: float, attention_dropout: float):
        super().__init__()
        hidden = shape.hidden
        self.heads = shape.heads
        self.attention_dropout = attention_dropout
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=shape.norm_eps)
        self.intermediate = nn.Linear(hidden, shape.intermediate)
        self.output = nn.Linear(shape.intermediate, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=shape.norm_eps)
        self.dropout = Dropout(dropout)

    def attention(self, hidden: Tensor, packed: Packed) -> Tensor:
        size, longest = packed.sentences * packed.longest, packed.longest
        grid = _ToGrid.apply(self.query_key_value(hidden), packed.slots, size)
        query, key, value = grid.view(packed.sentences, longest, 3, self.heads, -1).permute(
            2, 0, 3, 1, 4
        )
        drop = self.attention_dropout if self.training else 0.0
        mixed = _attend(query, key, value, packed.mask, drop)
        return _FromGrid.apply(mixed.transpose(1, 2).reshape(size, -1), packed.slots)

    def forward(self, hidden: Tensor, packed: Packed) -> Tensor:
        attended = self.attention_output(self.attention(hidden, packed))
        hidden = self.attention_norm(hidden + self.dropout(attended))
        fed = self.output(F.gelu(self.intermediate(hidden)))
        return self.output_norm(hidden + self.dropout(fed))


class Encoder(nn.Module):
    """BERT: embeddings, layers, pooler.  Weights are random until `load_weights`."""

    def __init__(self, shape: EncoderShape, dropout: float = 0.1, attention_dropout: float = 0.1):
        super().__init__()
        self.shape = shape
        self.embeddings = Embeddings(shape, dropout)
        self.layers = nn.ModuleList(
            Layer(shape, dropout, attention_dropout) for _ in range(shape.layers)
        )
        self.pooler = nn.Linear(shape.hidden, shape.hidden)
        self.apply(self._initialise)

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.shape.initializer_std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def forward(self, packed: Packed, shift: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Hidden states (T, hidden) and pooled [CLS] vectors (n, hidden)."""
        hidden = self.embeddings(packed, shift)
        for layer in self.layers:
            hidden = layer(hidden, packed)
        pooled = torch.tanh(self.pooler(hidden.index_select(0, packed.first)))
        return hidden, pooled


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
