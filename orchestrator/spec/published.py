"""The block `published`: a paper's figures, each row with the configuration that it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from orchestrator.spec.dimension import Model

Count = Annotated[int, Field(ge=1)]


class PublishedSetup(Model):
    """What a paper ran.  Where ours differs, `--published` says so.

    Every key may be missing, because papers leave some out.
    """

    encoder: str | None = None
    #: The number of training examples by task.
    train: dict[str, Count] | None = None
    epochs: Count | None = None
    batch_size: Count | dict[str, Count] | None = None
    learning_rate: float | None = None
    dropout: float | None = None
    B: Count | None = None
    #: What the minutes were measured on.
    hardware: str | None = None

    def over(self, other: PublishedSetup | None) -> PublishedSetup:
        """This set-up; what it leaves out is that of `other`."""
        below = {} if other is None else other.model_dump(exclude_none=True)
        own = self.model_dump(exclude_none=True)
        return PublishedSetup.model_validate({**below, **own})


class PublishedRow(Model):
    """The figures of one row.  Keys that are not declared here are tasks: `sst: 0.528`.

    A row belongs to one configuration of the sweep (`config`), or joins one of each task
    (`joined`): then a task's figure is that of its own trial, and minutes are added up.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    method: str
    #: Keys of a trial, laid over `base`.
    config: dict[str, Any] | None = None
    #: The same by task.
    joined: dict[str, dict[str, Any]] | None = None
    dev_score: float | None = None
    dev_mean: float | None = None
    minutes_per_epoch: float | None = None
    #: What a reader of the row must know.
    note: str = ""
    setup: PublishedSetup | None = None

    @property
    def tasks(self) -> dict[str, float]:
        """The figures of single tasks."""
        return self.model_extra or {}

    def configs(self) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        """Every configuration that the row names, with its path below the row."""
        if self.config is not None:
            yield ("config",), self.config
        for task, params in (self.joined or {}).items():
            yield ("joined", task), params


class PublishedSpec(Model):
    """Published numbers to compare with."""

    source: str
    #: What a reader of all rows must know.
    note: str = ""
    #: What the paper ran.  A row's own `setup` comes before it.
    setup: PublishedSetup | None = None
    rows: list[PublishedRow]

    def setup_of(self, row: PublishedRow) -> PublishedSetup:
        return (row.setup or PublishedSetup()).over(self.setup)


def by_position(plain: dict[str, Any]) -> dict[str, Any]:
    """A sweep of the first format, in which row n belonged to entry n of `enqueue`.

    Rows after the last entry keep no configuration: they stand alone.
    """
    published, entries = plain.get("published"), plain.get("enqueue")
    rows = published.get("rows") if isinstance(published, Mapping) else None
    if not isinstance(published, Mapping) or not isinstance(rows, list):
        return plain
    if not isinstance(entries, list):
        return plain
    named = [
        {**row, "config": entries[number]}
        if isinstance(row, dict) and number < len(entries) and not {"config", "joined"} & row.keys()
        else row
        for number, row in enumerate(rows)
    ]
    return {**plain, "published": {**published, "rows": named}}
