"""Where a trial's sentences come from."""

from __future__ import annotations

from dataclasses import dataclass, field

from trainer.config.fields import in_range, one_of


@dataclass(frozen=True)
class DataConfig:
    """Where the sentences come from and how many of them are used."""

    #: `cs224n` are the course's file names below `root`; `files` takes every path from the tasks'
    #: declarations (relative ones below `root`); `synthetic` generates the tasks that are ours from
    #: `seed`, and reads the others as `files` does.
    source: str = field(default="cs224n", metadata=one_of("synthetic", "cs224n", "files"))
    root: str = "data"
    #: Folder of the tokenised corpus; empty: `~/.cache/orch-mtl`.
    cache: str = field(default="", metadata={"runtime": True})
    #: Tokens of a sentence or pair, special tokens included; longer ones are cut.
    max_length: int = field(default=128, metadata=in_range(8, 512))
    #: At most so many training examples of a task (a fixed draw, the same for every seed).
    limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: The same for dev examples.
    dev_limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: Seed and size of the synthetic corpus: `size` training examples of its smallest task.
    seed: int = field(default=0, metadata=in_range(0, 2**31))
    size: int = field(default=700, metadata=in_range(16, 100_000))
