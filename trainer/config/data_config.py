"""The part of a config that says where a trial's sentences come from."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer.config.fields import in_range, one_of


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
    #: Most tokens of a sentence or pair, special tokens included.  Longer ones are cut.
    max_length: int = field(default=128, metadata=in_range(8, 512))
    #: Most training examples of a task, drawn once and the same for every seed.
    limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: Most dev examples of a task.
    dev_limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: Seed and size of the synthetic corpus.  Its smallest task has `size` training examples.
    seed: int = field(default=0, metadata=in_range(0, 2**31))
    size: int = field(default=700, metadata=in_range(16, 100_000))
