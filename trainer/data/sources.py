"""Where a config's examples come from: files or the generator, and their fingerprints."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from trainer.config import TrainConfig
from trainer.config.tasks import TASKS, Task
from trainer.data import synthetic
from trainer.data.readers import DataError, Examples, generated_examples, missing_file, read_split
from trainer.model.encoder_shape import PRESETS
from trainer.storage.earlier_model import earlier_model
from trainer.storage.file_hash import file_hash

#: The version of the cache files.  Raise it when their content changes.
CACHE_FORMAT = 3
SPLITS = ("train", "dev", "test")


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
        for split in SPLITS:
            paths = _paths(config, task, split)
            problems += [missing_file(path, task) for path in paths if not path.is_file()]
            if split != "test" and paths and not problems:  # test files influence no result
                hashes = [file_hash(path) for path in paths]
                parts[task.name][split] = hashes[0] if len(hashes) == 1 else hashes
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))  # splits may share a file
    return digest(parts)


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


def limits_of(config: TrainConfig, split: str) -> dict[str, int]:
    """Task -> most examples of this split that are used."""
    return {"train": config.data.limit, "dev": config.data.dev_limit}.get(split, {})


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


def source_key(config: TrainConfig, task: Task, split: str) -> Any:
    """What the content of a split depends on; None if the task has no such split."""
    if not task.files(split):
        return None
    if config.generates(task.name):
        return [synthetic.VERSION, config.data.seed, config.data.size]
    paths = _paths(config, task, split)
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError("\n".join(missing_file(path, task) for path in missing))
    return [part for path in paths for part in (path.suffix, file_hash(path))] or None


def _paths(config: TrainConfig, task: Task, split: str) -> list[Path]:
    """The files of a split, whether they exist or not; empty if the task has no such split.

    The course's own test files are not part of every distribution, so they may be missing.
    """
    root = Path(config.data.root).expanduser()
    paths = [root / name for name in task.files(split)]
    ours = task.name in TASKS and task.files(split) == TASKS[task.name].files(split)
    return [path for path in paths if split != "test" or not ours or path.is_file()]


def cache_folder(config: TrainConfig) -> Path:
    chosen = config.data.cache or os.environ.get("ORCH_CACHE") or "~/.cache/orch-mtl"
    return Path(chosen).expanduser()


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]
