"""From sentences to token ids, once: a memory-mapped Arrow cache that all trials of a node share.

The name of a cache file contains a digest of everything that its content depends on (source,
declaration, tokenizer, pair mode, length).  So it is never outdated and never rewritten.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from trainer.config import TrainConfig
from trainer.config.choices import DEFAULT_PAIR_MODE
from trainer.config.tasks import Task
from trainer.data import left_out
from trainer.data.file_lock import make_once
from trainer.data.readers import (
    DataError,
    Examples,
    read_examples,
)
from trainer.data.sources import (
    CACHE_FORMAT,
    SPLITS,
    cache_folder,
    digest,
    examples_of,
    limits_of,
    source_key,
)
from trainer.data.split import Split, split_from_table
from trainer.data.tokens import encode
from trainer.data.vocabulary import check_vocabulary, known_tokenizer, tokenizer_of

__all__ = ["Corpus", "DataError", "Split", "prepare", "stats"]


@dataclass(frozen=True)
class Corpus:
    """The splits of all tasks."""

    #: By task and by the split's name.
    splits: dict[str, dict[str, Split]]
    #: The size of the tokenizer's vocabulary.
    vocabulary: int

    def sizes(self) -> dict[str, int]:
        """The number of training examples of every task."""
        return {name: len(splits["train"]) for name, splits in self.splits.items()}

    def about(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Task -> split -> `Split.about()`."""
        return {
            name: {split: part.about() for split, part in splits.items()}
            for name, splits in self.splits.items()
        }


def prepare(config: TrainConfig) -> Corpus:
    """Open the corpus of a config, and write the files that its cache lacks.

    Raises:
        DataError: data are missing or cannot be used, or more than a third of a split's rows was
            dropped and `data.allow_dropped` does not name the task.
        EncoderError: the encoder's tokenizer cannot be found.
        ConfigError: the model to start from has another vocabulary.
    """
    tokenizer = tokenizer_of(config)
    if config.start_from:
        check_vocabulary(config, tokenizer)
    splits: dict[str, dict[str, Split]] = {}
    for task in config.task_list:
        splits[task.name] = {}
        for split in SPLITS:
            opened = _open_split(config, task, split, tokenizer)
            if opened is not None:
                splits[task.name][split] = opened
    corpus = Corpus(splits, tokenizer.get_vocab_size())
    check_dropped(config, corpus.about())
    return corpus


def check_dropped(config: TrainConfig, about: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Raise `DataError` if more of a split was dropped than `data.allow_dropped` allows."""
    if problem := left_out.too_much(left_out.of_rows(about), config.data.allow_dropped):
        raise DataError(problem)


def first_look(config: TrainConfig) -> Iterator[tuple[Task, str, Examples, dict[str, Any]]]:
    """Each task and split with its examples and `Split.about()`; nothing is tokenised.

    What was cut is known only where the cache has the split.

    Raises:
        DataError: a file is missing or cannot be read.
        EncoderError: the encoder cannot be found.
    """
    tokenizer = known_tokenizer(config)
    for task in config.task_list:
        for split in SPLITS:
            examples = examples_of(config, task, split)
            if examples is None:
                continue
            report = examples.report()
            path = _cache_file(config, task, split, tokenizer) if tokenizer else None
            if path and path.is_file():
                report = _cached_report(path)
            count = len(examples.texts)
            used = min(count, limits_of(config, split).get(task.name, count))
            yield task, split, examples, {"rows": used, "usable": count, **report}


def whole_dev(config: TrainConfig) -> dict[str, Split]:
    """The dev split of every task that has one, without `data.dev_limit`.  Raises as `prepare`."""
    return whole_splits(config, "dev", config.tasks)


def whole_splits(config: TrainConfig, split: str, tasks: Collection[str]) -> dict[str, Split]:
    """`train`, `dev` or `test` of those of the tasks that have it, without any limit.

    Raises as `prepare`.
    """
    whole = replace(config, data=replace(config.data, limit={}, dev_limit={}))
    tokenizer = tokenizer_of(config)
    opened = {
        task.name: _open_split(whole, task, split, tokenizer)
        for task in config.task_list
        if task.name in tasks
    }
    return {name: part for name, part in opened.items() if part is not None}


def split_of_file(path: Path, task: Task, config: TrainConfig) -> Split:
    """A labelled split of a file that the config does not name.

    Raises:
        DataError: the file cannot be used.
    """
    examples = read_examples(path, task, labelled=True)
    if not examples.texts:
        left_out = dict(examples.dropped) or "none"
        raise DataError(f"{path}: no usable row for task {task.name}; left out: {left_out}")
    pair = config.pair_of(task.name) if task.is_pair else DEFAULT_PAIR_MODE
    table = encode(examples, tokenizer_of(config), config.max_length_of(task), pair)
    return split_from_table(task, pair, table, None)


def split_of(
    texts: Sequence[Sequence[str]], task: Task, config: TrainConfig, tokenizer: Tokenizer
) -> Split:
    """A split of sentences (or pairs) that are in no file and have no labels."""
    rows = [[text.strip() for text in row] for row in texts]
    examples = Examples([str(number) for number in range(len(rows))], rows, None)
    pair = config.pair_of(task.name) if task.is_pair else DEFAULT_PAIR_MODE
    return split_from_table(
        task, pair, encode(examples, tokenizer, config.max_length_of(task), pair), None
    )


def stats(config: TrainConfig) -> dict[str, dict[str, dict[str, Any]]]:
    """What `orch data` reports, by task and split.

    That is the number of rows, dropped and odd rows by reason, labels, and tokens (mean, p95, max).
    """
    corpus = prepare(config)
    return {
        name: {split: _split_stats(part) for split, part in splits.items()}
        for name, splits in corpus.splits.items()
    }


def _label_name(task: Task, label: int) -> str:
    """The class's name; of real labels, the whole number below them."""
    return task.class_names[label] if task.class_names else str(label)


def _split_stats(split: Split) -> dict[str, Any]:
    lengths, labels = split.lengths, split.labels
    counted = labels[~np.isnan(labels)]
    if not split.task.integer_labels:
        counted = np.floor(counted)
    counts = Counter(int(label) for label in counted)
    return {
        **split.about(),
        "labels": {_label_name(split.task, label): counts[label] for label in sorted(counts)},
        "tokens": {
            "mean": round(float(lengths.mean()), 1),
            "p95": int(np.percentile(lengths, 95)),
            "max": int(lengths.max()),
        },
    }


def _open_split(config: TrainConfig, task: Task, split: str, tokenizer: Tokenizer) -> Split | None:
    """A split from its cache file, which is written first if need be; None if there is none."""
    path = _cache_file(config, task, split, tokenizer)
    if path is None:
        return None
    pair = config.pair_of(task.name) if task.is_pair else DEFAULT_PAIR_MODE

    def content() -> bytes | None:
        examples = examples_of(config, task, split)
        if examples is None:
            return None
        if not examples.texts:
            raise DataError(
                f"task {task.name}: no usable row in its {split} split; "
                f"left out: {dict(examples.dropped) or 'none'}"
            )
        return _arrow_file(encode(examples, tokenizer, config.max_length_of(task), pair))

    if not make_once(path, content):
        return None
    return split_from_table(task, pair, _table(path), limits_of(config, split).get(task.name))


def _cache_file(config: TrainConfig, task: Task, split: str, tokenizer: Tokenizer) -> Path | None:
    """Where a split's tokens are kept; None if the task has no such split."""
    source = source_key(config, task, split)
    if source is None:
        return None
    words = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    pair = config.pair_of(task.name) if task.is_pair else DEFAULT_PAIR_MODE
    key = [CACHE_FORMAT, source, task.identity(), words, pair, config.max_length_of(task), split]
    return cache_folder(config) / f"{task.name}-{split}-{digest(key)}.arrow"


def _table(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _cached_report(path: Path) -> dict[str, Any]:
    """What `Split.report` of a cache file is."""
    report: dict[str, Any] = json.loads(_table(path).schema.metadata[b"report"])
    return report


def _arrow_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))
    return sink.getvalue().to_pybytes()
