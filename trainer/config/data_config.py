"""The part of a config that says where a trial's sentences come from."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer.config.fields import born, by_task, in_range, one_of

#: Most tokens of an example where `max_length` is 0: of a task, and of one declared `long`.
SHORT, LONG = 128, 512


@dataclass(frozen=True)
class DataConfig:
    """Where the sentences come from and how many of them are used."""

    #: `cs224n` reads the course's files below `root`.  `files` takes every path from the tasks'
    #: declarations, relative ones below `root`.  `synthetic` generates the tasks that this project
    #: declares from `seed`, and reads other tasks as `files` does.
    source: str = field(default="cs224n", metadata=one_of("synthetic", "cs224n", "files"))
    root: str = "data"
    #: Folder of the tokenised corpus; if empty, `~/.cache/orch-mtl`.
    cache: str = field(default="", metadata={"runtime": True})
    #: Most tokens of a sentence or pair, special tokens included.  Longer ones are cut.  A mapping
    #: sets it for single tasks.  0: 128, and 512 for tasks that are declared `long`.
    max_length: int | dict[str, int] = field(
        default=0, metadata=in_range(8, LONG, or_zero=True) | born(SHORT) | by_task()
    )
    #: Most training examples of a task, drawn once and the same for every seed.
    limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: Most dev examples of a task.
    dev_limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: Tasks that may lose more than a third of a file's rows (dropped by the reader).
    allow_dropped: tuple[str, ...] = field(default=(), metadata={"runtime": True})
    #: Seed and size of the synthetic corpus.  Its smallest task has `size` training examples.
    seed: int = field(default=0, metadata=in_range(0, 2**31))
    size: int = field(default=700, metadata=in_range(16, 100_000))
