"""From sentences to token ids, once: a memory-mapped Arrow cache that all trials of a node share.

The name of a cache file contains a digest of everything that its content depends on (source,
declaration, tokenizer, pair mode, length).  So it is never outdated and never rewritten.

Shapes: n examples of a split, c chosen ones.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from trainer.config import TrainConfig
from trainer.config.choices import DEFAULT_PAIR_MODE, PAIR_MODES
from trainer.config.tasks import TASKS, Task
from trainer.data import left_out, synthetic
from trainer.data.file_lock import make_once
from trainer.data.readers import (
    DataError,
    Examples,
    generated_examples,
    missing_file,
    read_examples,
    read_split,
)
from trainer.data.tokens import encode
from trainer.model.encoder_shape import PRESETS
from trainer.model.packing import ALIGNMENT, Packed, Part, pack
from trainer.model.pretrained import PACKAGED, find_checkpoint
from trainer.storage.earlier_model import earlier_model, refusal
from trainer.storage.file_hash import file_hash

__all__ = ["Corpus", "DataError", "Split", "fingerprint", "prepare", "stats"]

#: The version of the cache files.  Raise it when their content changes.
_FORMAT = 3
_SPLITS = ("train", "dev", "test")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
#: Random presets have no vocabulary, so they get the most frequent words of the corpus.
_PRESET_VOCABULARY = 30_522


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


def fingerprint(config: TrainConfig) -> str:
    """What a trial's results depend on besides its config: `data_fingerprint`, and with
    `start_from` `+` and the sha256 of those weights.

    Raises:
        ConfigError: there is nothing to start from.
        DataError: files are missing; the message names all of them.
    """
    data = data_fingerprint(config)
    return f"{data}+{earlier_model(config.start_from).sha256[:24]}" if config.start_from else data


def same_data(recorded: str | None, config: TrainConfig) -> bool:
    """Whether a recorded fingerprint is of the data that a config reads now, as far as is known."""
    return recorded is None or recorded.partition("+")[0] == data_fingerprint(config)


def data_fingerprint(config: TrainConfig) -> str:
    """A hex digest of the data that a config reads, and of its encoder if that is a folder.

    Raises:
        DataError: files are missing; the message names all of them.
    """
    parts: dict[str, Any] = {"source": config.data.source}
    weights = Path(config.encoder).expanduser() / "model.safetensors"
    if config.encoder not in PRESETS and weights.is_file():
        parts["encoder"] = file_hash(weights)
    problems = []
    if config.data.source == "synthetic":
        parts |= {"version": synthetic.VERSION, "seed": config.data.seed, "size": config.data.size}
    for task in config.task_list:
        parts[task.name] = {"task": task.identity()}
        if config.generates(task.name):
            continue
        for split in _SPLITS:
            paths = _paths(config, task, split)
            problems += [missing_file(path, task) for path in paths if not path.is_file()]
            if split != "test" and paths and not problems:  # test files influence no result
                hashes = [file_hash(path) for path in paths]
                parts[task.name][split] = hashes[0] if len(hashes) == 1 else hashes
    if problems:
        raise DataError("\n".join(problems))
    return _digest(parts)


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
        _check_vocabulary(config, tokenizer)
    splits: dict[str, dict[str, Split]] = {}
    for task in config.task_list:
        splits[task.name] = {}
        for split in _SPLITS:
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
    tokenizer = _known_tokenizer(config)
    for task in config.task_list:
        for split in _SPLITS:
            examples = examples_of(config, task, split)
            if examples is None:
                continue
            report = examples.report()
            path = _cache_file(config, task, split, tokenizer) if tokenizer else None
            if path and path.is_file():
                report = _cached_report(path)
            count = len(examples.texts)
            used = min(count, _limits(config, split).get(task.name, count))
            yield task, split, examples, {"rows": used, "usable": count, **report}


def _known_tokenizer(config: TrainConfig) -> Tokenizer | None:
    """`tokenizer_of` if it is here: nothing is downloaded, and no words are counted."""
    if config.encoder in PRESETS:
        path = _words_file(config)
        return Tokenizer.from_file(str(path)) if path.is_file() else None
    local = config.encoder in PACKAGED or Path(config.encoder).expanduser().is_dir()
    return tokenizer_of(config) if local else None


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
    return _split_of(task, pair, table, None)


def split_of(
    texts: Sequence[Sequence[str]], task: Task, config: TrainConfig, tokenizer: Tokenizer
) -> Split:
    """A split of sentences (or pairs) that are in no file and have no labels."""
    rows = [[text.strip() for text in row] for row in texts]
    examples = Examples([str(number) for number in range(len(rows))], rows, None)
    pair = config.pair_of(task.name) if task.is_pair else DEFAULT_PAIR_MODE
    return _split_of(
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


def dev_sizes(config: TrainConfig) -> dict[str, int]:
    """The number of dev examples of each task, without `dev_limit`.  Nothing is tokenised.

    Raises `DataError` if a file is missing or cannot be read.
    """
    sizes = {}
    for task in config.task_list:
        if config.generates(task.name) and task.dev:
            sizes[task.name] = synthetic.DEV_SIZES[task.name]
            continue
        examples = examples_of(config, task, "dev")
        if examples is not None:
            sizes[task.name] = len(examples.ids)
    return sizes


def train_sizes(config: TrainConfig) -> dict[str, int]:
    """The number of training examples of each task, as `data.limit` leaves them.

    Nothing is tokenised.  Raises `DataError` if a file is missing or cannot be read.
    """
    sizes = {}
    for task in config.task_list:
        examples = examples_of(config, task, "train")
        assert examples is not None  # every task has training data
        sizes[task.name] = min(
            len(examples.ids), config.data.limit.get(task.name, len(examples.ids))
        )
    return sizes


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


def _paths(config: TrainConfig, task: Task, split: str) -> list[Path]:
    """The files of a split, whether they exist or not; empty if the task has no such split.

    The course's own test files are not part of every distribution, so they may be missing.
    """
    root = Path(config.data.root).expanduser()
    paths = [root / name for name in task.files(split)]
    ours = task.name in TASKS and task.files(split) == TASKS[task.name].files(split)
    return [path for path in paths if split != "test" or not ours or path.is_file()]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def examples_of(config: TrainConfig, task: Task, split: str) -> Examples | None:
    """The examples of a split, generated or read; None if the task has no such split."""
    if config.generates(task.name):
        generated = synthetic_corpus(config.data.seed, config.data.size)
        return generated_examples(generated[task.name][split], task, split)
    paths = _paths(config, task, split)
    if not paths:
        return None
    examples = read_split(paths, task, split)
    # One file for all splits need not have rows of `test`.
    absent = split == "test" and task.split_column and not examples.texts and not examples.dropped
    return None if absent else examples


@functools.lru_cache(maxsize=1)
def synthetic_corpus(seed: int, size: int) -> dict[str, dict[str, list[dict[str, object]]]]:
    """The generated rows, cached because every split of every task needs them."""
    return synthetic.generate(seed, size)


def _source_key(config: TrainConfig, task: Task, split: str) -> Any:
    """What the content of a split depends on; None if the task has no such split."""
    if not task.files(split):
        return None
    if config.generates(task.name):
        return [synthetic.VERSION, config.data.seed, config.data.size]
    paths = _paths(config, task, split)
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError("\n".join(missing_file(path, task) for path in missing))
    return [part for path in paths for part in (path.suffix, file_hash(path))] or None


def _cache_folder(config: TrainConfig) -> Path:
    chosen = config.data.cache or os.environ.get("ORCH_CACHE") or "~/.cache/orch-mtl"
    return Path(chosen).expanduser()


def tokenizer_of(config: TrainConfig) -> Tokenizer:
    """The encoder's tokenizer, or one of the corpus's words for a random preset.

    Raises:
        DataError: a training file is missing or cannot be used.
        EncoderError: the encoder cannot be found or read.
    """
    checkpoint = find_checkpoint(config.encoder)
    if checkpoint is not None:
        return checkpoint.tokenizer()
    path = _words_file(config)
    make_once(path, lambda: _word_tokenizer(config).to_str().encode())
    return Tokenizer.from_file(str(path))


def _words_file(config: TrainConfig) -> Path:
    """Where a random preset's vocabulary is kept."""
    sources = [
        [task.identity(), _source_key(config, task, "train")]
        for task in sorted(config.task_list, key=lambda task: task.name)
    ]
    return _cache_folder(config) / f"words-{_digest([_FORMAT, sources])}.json"


def _check_vocabulary(config: TrainConfig, tokenizer: Tokenizer) -> None:
    """Check that the ids of the model to start from mean the same words.  Raises as `prepare`."""
    earlier = earlier_model(config.start_from)
    if earlier.tokenizer is not None:
        theirs = Tokenizer.from_file(str(earlier.tokenizer))
    elif earlier.config.encoder == config.encoder and config.encoder not in PRESETS:
        return
    else:
        theirs = tokenizer_of(earlier.config)
    ours = tokenizer.get_vocab()
    if (vocabulary := theirs.get_vocab()) != ours:
        raise refusal(
            f"{earlier.place}: its vocabulary has {len(vocabulary):,} tokens, and this trial's is "
            f"another one of {len(ours):,}; a random encoder's vocabulary are the words of its data"
        )


def _word_tokenizer(config: TrainConfig) -> Tokenizer:
    """The lower-case words of the training sets, the most frequent first, ties in the alphabet."""
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for task in config.task_list:
        examples = examples_of(config, task, "train")
        for texts in examples.texts if examples else []:
            for text in texts:
                words = splitter.pre_tokenize_str(normalizer.normalize_str(text))
                counts.update(word for word, _ in words)
    common = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = [*_SPECIAL, *common][:_PRESET_VOCABULARY]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    return tokenizer


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
    return _split_of(task, pair, _table(path), _limits(config, split).get(task.name))


def _cache_file(config: TrainConfig, task: Task, split: str, tokenizer: Tokenizer) -> Path | None:
    """Where a split's tokens are kept; None if the task has no such split."""
    source = _source_key(config, task, split)
    if source is None:
        return None
    words = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    pair = config.pair_of(task.name) if task.is_pair else DEFAULT_PAIR_MODE
    key = [_FORMAT, source, task.identity(), words, pair, config.max_length_of(task), split]
    return _cache_folder(config) / f"{task.name}-{split}-{_digest(key)}.arrow"


def _table(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _cached_report(path: Path) -> dict[str, Any]:
    """What `Split.report` of a cache file is."""
    report: dict[str, Any] = json.loads(_table(path).schema.metadata[b"report"])
    return report


def _limits(config: TrainConfig, split: str) -> dict[str, int]:
    """Task -> most examples of this split that are used."""
    return {"train": config.data.limit, "dev": config.data.dev_limit}.get(split, {})


def _arrow_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))
    return sink.getvalue().to_pybytes()


def _split_of(task: Task, pair: str, table: pa.Table, limit: int | None) -> Split:
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
