"""Sentences laid end to end: what the encoder computes on instead of padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: The tokens of every span are filled up to a multiple of this; on a GPU, of `COARSE`.
ALIGNMENT = 16
COARSE = 128


def alignment(device: torch.device, dtype: torch.dtype) -> int:
    """To what multiple of tokens it pays to fill up a span.

    On a CPU, products in bf16 are compiled for their shape: one that was not seen before costs
    eight times a known one.  On a GPU the shape is what a recorded graph is found by.
    """
    if device.type == "cuda":
        return COARSE
    return 32 if dtype == torch.bfloat16 else ALIGNMENT


@dataclass(frozen=True)
class Part:
    """Sentences of one task in a step.

    `ids` int (T,), all token ids end to end, special tokens included; `lengths` and
    `first_lengths` int (n,), tokens of each sentence (or pair) and of its first sentence;
    `restart`: the second sentence is embedded as if it stood alone: its positions start at 0 again
    and its token type is 0.
    """

    ids: np.ndarray
    lengths: np.ndarray
    first_lengths: np.ndarray
    restart: bool = False


@dataclass(frozen=True)
class Span:
    """A stretch of tokens, or of sentences, whose gradients belong into one row of J."""

    row: int
    start: int
    end: int


@dataclass
class Packed:
    """T tokens in n sentences; behind the tokens of every span stand fillers.

    Nothing reads what is computed for a filler, so its gradient is zero.

    `ids`, `positions`, `token_types`: int64 (T,).  `first`: int64 (n,), the place of each
    sentence's [CLS] token.  `bounds`: int32 (m + 1,), where sentences begin and end, the fillers
    of a span counted as a sentence of their own; `first_bounds` the same over `first`, where
    fillers have nothing.  `words`: int64 (U,), distinct ids in rising order, the last one repeated
    up to a multiple of the alignment; `word_rows`: int64 (T,), row * U + the place of a token's
    id among them.  `spans` (tokens, fillers included) and `sentence_spans` say which row of J is
    whose; `counts` and `rows`: sentences and row of every part.  `starts`, `lengths`: int (n,),
    the sentences, on the host.  `layouts` is a cache of what attention derives from them.
    """

    ids: Tensor
    positions: Tensor
    token_types: Tensor
    first: Tensor
    bounds: Tensor
    first_bounds: Tensor
    words: Tensor
    word_rows: Tensor
    spans: tuple[Span, ...]
    sentence_spans: tuple[Span, ...]
    counts: tuple[int, ...]
    rows: tuple[int, ...]
    starts: np.ndarray
    lengths: np.ndarray
    fillers: tuple[tuple[int, int], ...]
    layouts: dict[Any, Any] = field(default_factory=dict)

    @property
    def sentences(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        """T, fillers included."""
        return self.ids.shape[0]

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @property
    def longest_bound(self) -> int:
        """At least the longest sentence, fillers included; coarse, so that a recorded graph
        serves many batches."""
        fillers = max(end - start for start, end in self.fillers)
        return -(-max(self.longest, fillers) // 128) * 128

    def tensors(self) -> dict[str, Tensor]:
        """All that lies on the device, by name."""
        names = [field.name for field in fields(self)]
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def with_tensors(self, tensors: dict[str, Tensor]) -> Packed:
        """The same with other tensors of the same names."""
        changes: dict[str, Any] = {name: tensors[name] for name in self.tensors()}
        return replace(self, **changes, layouts={})

    def to(self, device: torch.device) -> Packed:
        """The same on a device."""
        if device.type == "cpu":
            return self
        return self.with_tensors({k: send(tensor, device) for k, tensor in self.tensors().items()})


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; the copy does not wait for what the device is at."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def filled(count: int, align: int) -> int:
    """The next multiple of `align`; from `COARSE` on it grows with the count, by an eighth at
    most, because there every size needs a recording of its own."""
    if align >= COARSE:
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
        rows: the row of J of each part, rising; without them all belong to row 0.  Neighbours of
            one row share a span.
        words: the distinct ids of a whole step, where this is a part of one; they must hold all
            ids of the parts.
        align: the tokens of every span are filled up to a multiple of it.
    """
    rows = list(rows) or [0] * len(parts)
    ids: list[np.ndarray] = []
    positions: list[np.ndarray] = []
    second: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    spans: list[Span] = []
    sentence_spans: list[Span] = []
    fillers: list[tuple[int, int]] = []
    bounds = [np.zeros(1, dtype=np.int64)]
    first_bounds = [np.zeros(1, dtype=np.int64)]
    token = sentence = 0
    for number, (part, row) in enumerate(zip(parts, rows, strict=True)):
        lengths = part.lengths.astype(np.int64)
        ends = np.cumsum(lengths)
        begins = ends - lengths
        place = np.arange(len(part.ids)) - np.repeat(begins, lengths)
        is_second = place >= np.repeat(part.first_lengths, lengths)
        if part.restart:
            place = place - np.where(is_second, np.repeat(part.first_lengths, lengths), 0)
            is_second = np.zeros_like(is_second)
        ids.append(part.ids.astype(np.int64))
        positions.append(place)
        second.append(is_second)
        starts.append(begins + token)
        bounds.append(ends + token)
        first_bounds.append(sentence + 1 + np.arange(len(lengths)))
        if not spans or spans[-1].row != row:
            spans.append(Span(row, token, token))
            sentence_spans.append(Span(row, sentence, sentence))
        token += len(part.ids)
        sentence += len(lengths)
        sentence_spans[-1] = replace(sentence_spans[-1], end=sentence)
        if number + 1 == len(parts) or rows[number + 1] != row:
            # One filler at least: attention's padding takes its gradient from it.
            tokens = token - spans[-1].start
            count = filled(tokens + 1, align) - tokens
            empty = np.zeros(count, dtype=np.int64)
            ids.append(empty)
            positions.append(empty)
            second.append(empty.astype(bool))
            fillers.append((token, token + count))
            bounds.append(np.array([token + count]))
            first_bounds.append(np.array([sentence]))
            token += count
        spans[-1] = replace(spans[-1], end=token)
    all_ids = np.concatenate(ids)
    distinct = _padded(np.unique(all_ids), align) if words is None else words.cpu().numpy()
    row_of_token = np.repeat([s.row for s in spans], [s.end - s.start for s in spans])
    all_starts = np.concatenate(starts)
    return Packed(
        ids=torch.from_numpy(all_ids),
        positions=torch.from_numpy(np.concatenate(positions)),
        token_types=torch.from_numpy(np.concatenate(second).astype(np.int64)),
        first=torch.from_numpy(all_starts),
        bounds=torch.from_numpy(np.concatenate(bounds).astype(np.int32)),
        first_bounds=torch.from_numpy(np.concatenate(first_bounds).astype(np.int32)),
        words=torch.from_numpy(distinct),
        word_rows=torch.from_numpy(
            row_of_token * len(distinct) + np.searchsorted(distinct, all_ids)
        ),
        spans=tuple(spans),
        sentence_spans=tuple(sentence_spans),
        counts=tuple(len(part.lengths) for part in parts),
        rows=tuple(rows),
        starts=all_starts,
        lengths=np.concatenate([part.lengths for part in parts]).astype(np.int64),
        fillers=tuple(fillers),
    )


def _padded(words: np.ndarray, multiple: int) -> np.ndarray:
    """The last word repeated up to a multiple: fewer different sizes."""
    missing = filled(len(words), multiple) - len(words)
    return np.concatenate([words, np.repeat(words[-1:], missing)])
