"""Sentences laid end to end.  The encoder computes on them instead of on padded batches.

The tokens of a step's tasks form spans, one for each row of J (trainer.model.task_gradients).  A
span ends in a few filler tokens, so that its size is a multiple of the alignment and the same
sizes come up again.  Nothing reads what is computed for a filler, so its gradient is zero.

Shapes: T tokens with fillers, n sentences, m sentences where each span's fillers count as one more,
U distinct words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.model.spans import Span, Spans

#: A span is filled up to a multiple of so many tokens on a CPU, and on a GPU.
ALIGNMENT = 16
GPU_ALIGNMENT = 128


def alignment(device: torch.device, dtype: torch.dtype) -> int:
    """The multiple of tokens to which filling up a span pays.

    On a CPU, products in bf16 are compiled for their shape, and one of a new shape costs eight
    times as much as one of a known shape.  On a GPU, a CUDA graph serves one combination of sizes.
    """
    if device.type == "cuda":
        return GPU_ALIGNMENT
    return 32 if dtype == torch.bfloat16 else ALIGNMENT


@dataclass(frozen=True)
class Part:
    """The sentences of one task in a step, or of one batch."""

    #: int (T,), all token ids end to end, special tokens included.
    ids: np.ndarray
    #: int (n,), tokens of each sentence (or pair).
    lengths: np.ndarray
    #: int (n,), those of its first sentence.
    first_lengths: np.ndarray
    #: Whether a second sentence is embedded as if it stood alone: its positions start at 0 again
    #: and its token type is 0.
    restart: bool = False


@dataclass
class Packed:
    """T tokens in n sentences, in spans that end in fillers."""

    #: int64 (T,).
    ids: Tensor
    positions: Tensor
    token_types: Tensor
    #: int64 (n,), the place of each sentence's [CLS] token.
    first: Tensor
    #: int32 (m + 1,), where sentences begin and end; the fillers of a span count as a sentence.
    bounds: Tensor
    #: int32 (m + 1,), the same over `first`, where fillers have no entry.
    first_bounds: Tensor
    #: int64 (U,), distinct ids in rising order.  The last one is repeated up to the alignment.
    words: Tensor
    #: int64 (T,), row * U + the place of the token's id in `words`.
    word_rows: Tensor
    #: Over tokens, fillers included, and over sentences.
    spans: Spans
    sentence_spans: Spans
    #: Sentences of every part, and its row of J.
    counts: tuple[int, ...]
    rows: tuple[int, ...]
    #: int (n,) on the host: where each sentence begins, and its tokens.
    starts: np.ndarray
    lengths: np.ndarray
    #: Where the fillers of each span begin and end.
    fillers: tuple[tuple[int, int], ...]
    #: A cache of what attention derives from the rest.
    layouts: dict[Any, Any] = field(default_factory=dict)

    @property
    def sentences(self) -> int:
        """n."""
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """T, fillers included."""
        return self.ids.shape[0]

    @property
    def longest_bound(self) -> int:
        """An upper bound for the length of a sentence, fillers included.

        It is a multiple of 128, so that one CUDA graph serves many batches.
        """
        fillers = max(end - start for start, end in self.fillers)
        return -(-max(int(self.lengths.max()), fillers) // 128) * 128

    def tensors(self) -> dict[str, Tensor]:
        """Everything that lies on the device, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def with_tensors(self, tensors: dict[str, Tensor]) -> Packed:
        """A copy with other tensors of the same names."""
        changes: dict[str, Any] = {name: tensors[name] for name in self.tensors()}
        spans, sentence_spans = Spans(self.spans), Spans(self.sentence_spans)  # without matrices
        return replace(self, **changes, spans=spans, sentence_spans=sentence_spans, layouts={})

    def to(self, device: torch.device) -> Packed:
        """A copy on the device."""
        if device.type == "cpu":
            return self
        return self.with_tensors({k: send(tensor, device) for k, tensor in self.tensors().items()})


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device.  The host does not wait for the copy."""
    if tensor.device.type == device.type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def filled(count: int, align: int) -> int:
    """The next multiple of `align`.

    On a GPU every size needs a CUDA graph of its own, so there the multiple grows with the count,
    to an eighth of it at most.
    """
    if align >= GPU_ALIGNMENT:
        align = max(align, 1 << (count // 16).bit_length())
    return -(-count // align) * align


def pack(
    parts: Sequence[Part],
    rows: Sequence[int] = (),
    words: Tensor | None = None,
    align: int = ALIGNMENT,
) -> Packed:
    """Lay the parts end to end.

    Args:
        rows: the row of J of each part, in rising order.  Without them all parts belong to row 0.
            Neighbours with the same row share a span.
        words: (U,), the distinct ids of a whole step, if the parts are only some of its parts.
        align: the tokens of every span are filled up to a multiple of it.
    """
    rows = list(rows) or [0] * len(parts)
    ids: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    is_second: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    bounds = [np.zeros(1, dtype=np.int64)]
    first_bounds = [np.zeros(1, dtype=np.int64)]
    spans: list[Span] = []
    sentence_spans: list[Span] = []
    fillers: list[tuple[int, int]] = []
    token = sentence = 0
    for number, (part, row) in enumerate(zip(parts, rows, strict=True)):
        # Where each token stands in its sentence, and whether in the second one of a pair.
        lengths = part.lengths.astype(np.int64)
        ends = np.cumsum(lengths)
        begins = ends - lengths
        place = np.arange(len(part.ids)) - np.repeat(begins, lengths)
        second = place >= np.repeat(part.first_lengths, lengths)
        if part.restart:
            place = place - np.where(second, np.repeat(part.first_lengths, lengths), 0)
            second = np.zeros_like(second)
        ids.append(part.ids.astype(np.int64))
        positions.append(place)
        is_second.append(second)

        # Where sentences lie.
        starts.append(begins + token)
        bounds.append(ends + token)
        first_bounds.append(sentence + 1 + np.arange(len(lengths)))
        if not spans or spans[-1].row != row:
            spans.append(Span(row, token, token))
            sentence_spans.append(Span(row, sentence, sentence))
        token += len(part.ids)
        sentence += len(lengths)
        sentence_spans[-1] = replace(sentence_spans[-1], end=sentence)

        # The span's fillers: at least one, because attention's padding takes its gradient from it.
        if number + 1 == len(parts) or rows[number + 1] != row:
            size = token - spans[-1].start
            count = filled(size + 1, align) - size
            empty = np.zeros(count, dtype=np.int64)
            ids.append(empty)
            positions.append(empty)
            is_second.append(empty.astype(bool))
            fillers.append((token, token + count))
            bounds.append(np.array([token + count]))
            first_bounds.append(np.array([sentence]))
            token += count
        spans[-1] = replace(spans[-1], end=token)

    all_ids, all_starts = np.concatenate(ids), np.concatenate(starts)
    distinct = (distinct_words(parts, align) if words is None else words.cpu()).numpy()
    row_of_token = np.repeat([s.row for s in spans], [s.end - s.start for s in spans])
    word_rows = row_of_token * len(distinct) + np.searchsorted(distinct, all_ids)
    return Packed(
        ids=torch.from_numpy(all_ids),
        positions=torch.from_numpy(np.concatenate(positions)),
        token_types=torch.from_numpy(np.concatenate(is_second).astype(np.int64)),
        first=torch.from_numpy(all_starts),
        bounds=torch.from_numpy(np.concatenate(bounds).astype(np.int32)),
        first_bounds=torch.from_numpy(np.concatenate(first_bounds).astype(np.int32)),
        words=torch.from_numpy(distinct),
        word_rows=torch.from_numpy(word_rows),
        spans=Spans(spans),
        sentence_spans=Spans(sentence_spans),
        counts=tuple(len(part.lengths) for part in parts),
        rows=tuple(rows),
        starts=all_starts,
        lengths=np.concatenate([part.lengths for part in parts]).astype(np.int64),
        fillers=tuple(fillers),
    )


def distinct_words(parts: Sequence[Part], align: int = ALIGNMENT) -> Tensor:
    """The distinct ids of the parts and of fillers in rising order, (U,).

    The last one is repeated up to a multiple of `align`, so that there are fewer different sizes.
    """
    ids = [part.ids.astype(np.int64) for part in parts]
    words = np.unique(np.concatenate([*ids, np.zeros(1, dtype=np.int64)]))
    missing = filled(len(words), align) - len(words)
    return torch.from_numpy(np.concatenate([words, np.repeat(words[-1:], missing)]))
