"""The examples of one task and split as token ids, memory-mapped.

Shapes: n examples of a split, c chosen ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from trainer.config.choices import PAIR_MODES
from trainer.config.tasks import Task
from trainer.model.packing import ALIGNMENT, Packed, Part, pack


@dataclass(frozen=True)
class Split:
    """The examples of one task and split, as views into a memory-mapped file."""

    task: Task
    pair: str
    table: pa.Table
    #: int32, the token ids of all examples of the file, end to end.
    tokens: np.ndarray
    #: Example i of the file is `tokens[offsets[i]:offsets[i + 1]]`.
    offsets: np.ndarray
    #: The tokens of its first sentence.
    first_lengths: np.ndarray
    #: float64, NaN in a test split.
    all_labels: np.ndarray
    #: int64 (n,), which examples of the file are used.
    rows: np.ndarray
    #: `Examples.report()`, with the examples that were cut among `noted`.
    report: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        """float64 (n,), NaN in a test split."""
        return self.all_labels[self.rows]

    @property
    def lengths(self) -> np.ndarray:
        """int64 (n,), the tokens of each example, special tokens included."""
        return (self.offsets[self.rows + 1] - self.offsets[self.rows]).astype(np.int64)

    def about(self) -> dict[str, Any]:
        """How many rows are used, could be used, and were left out (trainer.data.left_out)."""
        return {"rows": len(self), "usable": self.table.num_rows, **self.report}

    def column(self, name: str) -> list[Any]:
        """`id`, `text1` or `text2` of the n examples."""
        return self.table[name].take(pa.array(self.rows)).to_pylist()

    def labels_of(self, chosen: np.ndarray) -> np.ndarray:
        """float32 (c,), the labels of the examples with these numbers (0 to n - 1)."""
        return self.all_labels[self.rows[chosen]].astype(np.float32)

    def packed(self, chosen: np.ndarray, align: int = ALIGNMENT) -> Packed:
        """The examples with these numbers (0 to n - 1), packed in that order."""
        return pack([self.part(chosen)], align=align)

    def part(self, chosen: np.ndarray) -> Part:
        """The tokens of the examples with these numbers, in that order.

        In pair mode `siamese` each example is two sentences, one after the other.
        """
        rows = self.rows[chosen]  # (c,)
        starts = self.offsets[rows].astype(np.int64)
        lengths = self.offsets[rows + 1] - starts  # (c,)
        ends = np.cumsum(lengths)
        where = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)  # (tokens,)
        first = self.first_lengths[rows]
        mode = PAIR_MODES[self.pair]
        if self.task.is_pair and mode.vectors == 2:
            lengths = first = np.stack([first, lengths - first], axis=1).reshape(-1)  # (2 c,)
        return Part(self.tokens[where], lengths, first, restart=mode.restarts_positions)


def split_from_table(task: Task, pair: str, table: pa.Table, limit: int | None) -> Split:
    (tokens,) = table["tokens"].chunks
    rows = np.arange(table.num_rows)
    if limit is not None and limit < len(rows):
        # The same draw for every seed, because seeds compare trainings and not data.
        rows = np.sort(np.random.default_rng(0).permutation(len(rows))[:limit])
    return Split(
        task=task,
        pair=pair,
        table=table,
        tokens=tokens.values.to_numpy(zero_copy_only=True),
        offsets=tokens.offsets.to_numpy(zero_copy_only=True),
        first_lengths=table["first_length"].chunk(0).to_numpy(zero_copy_only=True),
        all_labels=table["label"].chunk(0).to_numpy(zero_copy_only=True),
        rows=rows,
        report=json.loads(table.schema.metadata[b"report"]),
    )
