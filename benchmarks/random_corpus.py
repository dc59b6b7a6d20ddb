"""A corpus without sentences: random token ids in the lengths of the real sentences.

Imported by contestants.py, not run.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from trainer.config import TrainConfig
from trainer.data.corpus import Corpus
from trainer.data.split import Split

#: Tokens per example, special tokens included: 21 quantiles in steps of 5 %.  They were measured on
#: the papers' training sets, cut into BERT's word pieces.
QUANTILES = {
    "sst": [4, 9, 11, 13, 15, 16, 18, 19, 21, 22, 24, 25, 27, 29, 30, 33, 35, 37, 41, 46, 80],
    "qqp": [11, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 31, 33, 35, 38, 42, 47, 55, 128],
    "sts": [9, 15, 16, 17, 18, 19, 19, 20, 21, 22, 23, 24, 26, 27, 30, 33, 38, 43, 50, 60, 125],
}
#: Training examples of the three tasks in the papers.
SIZES = {"sst": 8544, "qqp": 283_003, "sts": 6040}
#: The least that every method can train on: ARRP's second phase needs more of one task.
FEWEST = {"sst": 256, "qqp": 512, "sts": 256}


def random_corpus(config: TrainConfig, vocabulary: int, share: float = 1.0) -> Corpus:
    """Create training splits with random tokens and labels.

    A split has `share` times the real number of examples, but at least `FEWEST`.
    """
    generator = np.random.default_rng(0)
    splits = {}
    for task in config.task_list:
        count = max(FEWEST[task.name], round(SIZES[task.name] * share))
        steps = np.linspace(0, 1, len(QUANTILES[task.name]))
        lengths = np.interp(generator.random(count), steps, QUANTILES[task.name]).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        first = lengths if not task.is_pair else np.maximum(2, lengths // 2)
        low, high = task.label_range
        labels = generator.integers(0, task.classes, count).astype(float)
        if task.loss == "mse":
            labels = low + (high - low) * generator.random(count)
        splits[task.name] = {
            "train": Split(
                task=task,
                pair="cross",
                table=pa.table({}),
                tokens=generator.integers(1000, vocabulary, offsets[-1]).astype(np.int32),
                offsets=offsets,
                first_lengths=first.astype(np.int32),
                all_labels=labels,
                rows=np.arange(count),
                report={},
            )
        }
    return Corpus(splits, vocabulary)
