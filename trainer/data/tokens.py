"""Sentences and pairs as token ids, laid out as their pair mode says."""

from __future__ import annotations

import json

import pyarrow as pa
from tokenizers import Tokenizer

from trainer.config.choices import PAIR_MODES
from trainer.data.readers import DataError, Examples


def encode(examples: Examples, tokenizer: Tokenizer, max_length: int, pair: str) -> pa.Table:
    """[CLS] s1 [SEP], or a pair as its mode lays it out."""
    opening, closing = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if opening is None or closing is None:
        raise DataError("the encoder's tokenizer has no [CLS] or no [SEP] token")
    parts = [
        [e.ids for e in tokenizer.encode_batch_fast(list(column), add_special_tokens=False)]
        for column in zip(*examples.texts, strict=True)
    ]
    layout = PAIR_MODES[pair].layout.split() if len(parts) == 2 else ["C", "1", "S"]
    special = {"C": [opening], "S": [closing]}
    room = max_length - sum(mark in special for mark in layout)
    tokens: list[list[int]] = []
    first_lengths: list[int] = []
    cut = 0
    for sentences in zip(*parts, strict=True):
        kept = shorten([len(s) for s in sentences], room)
        cut += sum(kept) < sum(len(s) for s in sentences)
        shortened = [s[:length] for s, length in zip(sentences, kept, strict=True)]
        row: list[int] = []
        first = 0
        for mark in layout:
            if mark == "|":
                first = len(row)
            else:
                row += special.get(mark) or shortened[int(mark) - 1]
        tokens.append(row)
        first_lengths.append(first or len(row))
    noted = dict(examples.noted) | ({f"cut to {max_length} tokens": cut} if cut else {})
    labels = examples.labels or [float("nan")] * len(tokens)
    columns = {
        "tokens": pa.array(tokens, pa.list_(pa.int32())),
        "first_length": pa.array(first_lengths, pa.int32()),
        "label": pa.array(labels, pa.float64()),
        "id": pa.array(examples.ids, pa.string()),
    }
    for number, column in enumerate(zip(*examples.texts, strict=True), start=1):
        columns[f"text{number}"] = pa.array(column, pa.string())
    report = json.dumps({"dropped": dict(examples.dropped), "noted": noted})
    return pa.table(columns).replace_schema_metadata({"report": report})


def shorten(lengths: list[int], room: int) -> list[int]:
    """Cut the longest sentence first until all fit into `room` tokens."""
    kept = list(lengths)
    if len(kept) == 1:
        return [min(kept[0], room)]
    excess = sum(kept) - room
    if excess > 0:
        longer = 0 if kept[0] >= kept[1] else 1
        kept[longer] -= min(excess, abs(kept[0] - kept[1]))
        excess = sum(kept) - room
        if excess > 0:
            kept = [kept[0] - excess // 2, kept[1] - (excess - excess // 2)]
    return kept
