"""Where fewer examples are left than B asks for, before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.config import TrainConfig
from trainer.data.corpus import DataError
from trainer.data.sources import train_sizes
from trainer.loop.plan import drawn_of_B, planned_phases
from trainer.samplers.base import SamplerError


@dataclass(frozen=True)
class Budget:
    """The B of a configuration, and the examples that its first epoch draws of it.

    `problem` is why that is unknown, such as a missing file.
    """

    asked: int
    drawn: int | None
    problem: str = ""

    @property
    def text(self) -> str:
        """One line if B is cut or unknown; empty otherwise."""
        if self.drawn is None:
            return f"whether B is cut is unknown: {self.problem}"
        if self.drawn < self.asked:
            return f"B is cut: {self.asked:,} examples are asked for, {self.drawn:,} are left"
        return ""


def budgets(configs: Sequence[TrainConfig]) -> list[Budget | None]:
    """The budget of each config; None where B does not act.  Reads each data set once."""
    sizes: dict[str, dict[str, int] | str] = {}
    found: list[Budget | None] = []
    for config in configs:
        asked = config.canonical({"B"}).get("B")
        if asked is None:
            found.append(None)
            continue
        asked = sum(asked.values()) if isinstance(asked, dict) else int(asked)
        plain = config.to_dict()
        key = json.dumps([plain[part] for part in ("data", "tasks", "task_declarations")])
        if key not in sizes:
            sizes[key] = _sizes(config)
        known = sizes[key]
        if isinstance(known, str):
            found.append(Budget(asked, None, known))
            continue
        try:
            found.append(Budget(asked, drawn_of_B(planned_phases(config, known, 1))))
        except SamplerError as error:
            found.append(Budget(asked, None, str(error)))
    return found


def _sizes(config: TrainConfig) -> dict[str, int] | str:
    """The sizes of the training sets, or why they are unknown."""
    try:
        return train_sizes(config)
    except DataError as error:
        return str(error).splitlines()[0]
