"""Sentences and pairs as token ids, in the layout of their pair mode."""

from __future__ import annotations

import json

import pyarrow as pa
from tokenizers import Tokenizer

from trainer.config.choices import PAIR_MODES
from trainer.data.readers import DataError, Examples


def encode(examples: Examples, tokenizer: Tokenizer, max_length: int, pair: str) -> pa.Table:
    """A table of examples: `tokens`, `first_length`, `label`, `id`, `text1` and `text2`.

    A sentence becomes [CLS] s1 [SEP], a pair what the layout of its mode says.  The table's
    metadata hold the report on dropped and odd rows.

    Raises:
        DataError: the tokenizer has no [CLS] or no [SEP].
    """
    opening, closing = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if opening is None or closing is None:
        raise DataError("the encoder's tokenizer has no [CLS] or no [SEP] token")

    # Ids of every sentence, column by column, and the room that the special tokens leave.
    parts = [
        [e.ids for e in tokenizer.encode_batch_fast(list(column), add_special_tokens=False)]
        for column in zip(*examples.texts, strict=True)
    ]
    layout = PAIR_MODES[pair].layout.split() if len(parts) == 2 else ["C", "1", "S"]
    special = {"C": [opening], "S": [closing]}
    room = max_length - sum(mark in special for mark in layout)

    # Lay out every example.
    tokens: list[list[int]] = []
    first_lengths: list[int] = []
    cut = 0
    for sentences in zip(*parts, strict=True):
        lengths = shorten([len(s) for s in sentences], room)
        cut += sum(lengths) < sum(len(s) for s in sentences)
        shortened = [s[:length] for s, length in zip(sentences, lengths, strict=True)]
        row: list[int] = []
        first = 0
        for mark in layout:
            if mark == "|":
                first = len(row)
            else:
                row += special.get(mark) or shortened[int(mark) - 1]
        tokens.append(row)
        first_lengths.append(first or len(row))

    # The table.
    report = examples.report()
    if cut:
        report["noted"][f"cut to {max_length} tokens"] = cut
    labels = examples.labels or [float("nan")] * len(tokens)
    columns = {
        "tokens": pa.array(tokens, pa.list_(pa.int32())),
        "first_length": pa.array(first_lengths, pa.int32()),
        "label": pa.array(labels, pa.float64()),
        "id": pa.array(examples.ids, pa.string()),
    }
    for number, column in enumerate(zip(*examples.texts, strict=True), start=1):
        columns[f"text{number}"] = pa.array(column, pa.string())
    return pa.table(columns).replace_schema_metadata({"report": json.dumps(report)})


def shorten(lengths: list[int], room: int) -> list[int]:
    """Cut one or two sentences until they fit into `room` tokens, the longer one first."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    first, second = lengths
    excess = first + second - room
    if excess <= 0:
        return [first, second]
    difference = min(excess, abs(first - second))
    if first >= second:
        first -= difference
    else:
        second -= difference
    excess -= difference
    return [first - excess // 2, second - (excess - excess // 2)]
