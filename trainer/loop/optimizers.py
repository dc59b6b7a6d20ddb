"""AdamW states and their learning rates: by layer and head, with a warm-up and a schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from trainer.config.choices import SCHEDULES
from trainer.loop.flat_parameters import Segment
from trainer.loop.step import Stepper


class Optimizers:
    """The optimizer states of a trial by name.  All of them move the same parameters.

    Each state has its own moments and its own schedule (P1's separate optimizers).

    Args:
        stepper: has the config, the parameters and the device.
        planned: gives the updates of the first n epochs, by optimizer state.
    """

    def __init__(self, stepper: Stepper, planned: Callable[[int], Counter[str]]):
        self._stepper = stepper
        self._planned = planned
        self.states: dict[str, torch.optim.AdamW] = {}
        #: Updates so far by optimizer state.
        self.updates: Counter[str] = Counter()
        self._total_updates: Counter[str] = Counter()
        self._schedule: Callable[[float], float] = SCHEDULES[stepper.config.schedule].load()

    def warm_up(self, names: Iterable[str]) -> None:
        """Create these states, and load whatever the first update of a process needs.

        The first AdamW of a process imports hundreds of modules, which takes seconds.
        """
        for name in names:
            self.set_rates(name)  # a falling rate also plans all epochs
        spare = torch.nn.Parameter(torch.zeros(1, device=self._stepper.device))
        spare.grad = torch.zeros_like(spare)
        self._adamw([{"params": [spare]}]).step()

    def get(self, name: str) -> torch.optim.AdamW:
        """The optimizer state of that name, which the first call creates."""
        if name not in self.states:
            self.states[name] = self._new()
        return self.states[name]

    def _new(self) -> torch.optim.AdamW:
        device = self._stepper.device
        return self._adamw(
            [
                {
                    "params": [segment.values for segment in segments],
                    # A CUDA graph reads the rate from memory.
                    "lr": torch.tensor(rate, device=device) if self._captured else rate,
                }
                for segments, rate in self._rates()
            ]
        )

    def _adamw(self, groups: list[dict[str, Any]]) -> torch.optim.AdamW:
        optimizer = torch.optim.AdamW(
            groups,
            eps=self._stepper.config.adam_epsilon,
            weight_decay=self._stepper.config.weight_decay,
            fused=True,
            capturable=self._captured,
        )
        # The first steps run without a graph, and torch would warn about that.
        optimizer._warned_capturable_if_run_uncaptured = True
        return optimizer

    @property
    def _captured(self) -> bool:
        """Whether steps are replayed as CUDA graphs."""
        return self._stepper.graph_cache is not None

    def _rates(self) -> list[tuple[list[Segment], float]]:
        """Segments with the same learning rate, and that rate."""
        groups = groupby(self._stepper.parameters.segments, key=self._rate)
        return [(list(segments), rate) for rate, segments in groups]

    def _rate(self, segment: Segment) -> float:
        """The learning rate of a segment before the schedule.

        Layer k of L has the rate xi^(L - k) times that of the last one, the embeddings xi^L times
        (Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?").
        """
        config = self._stepper.config
        kind, _, number = segment.name.partition(".")
        if kind == "head":
            return config.head_learning_rate or config.learning_rate
        layers = self._stepper.model.encoder.shape.layers
        below = {"embeddings": layers, "layers": layers - 1 - int(number or 0)}.get(kind, 0)
        return config.learning_rate * config.layer_decay**below

    def set_rates(self, name: str) -> None:
        """Set the learning rates of this state's next update."""
        factor = self._factor(name)
        groups = self.get(name).param_groups
        for group, (_, rate) in zip(groups, self._rates(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def _factor(self, name: str) -> float:
        """The schedule's factor for this state's next update, from 0 to 1."""
        config, updates = self._stepper.config, self.updates[name]
        if updates < config.warmup_steps:
            return (updates + 1) / config.warmup_steps
        if not SCHEDULES[config.schedule].depends_on_epochs:
            return self._schedule(1.0)
        if not self._total_updates:
            self._total_updates = self._planned(config.epochs)
        total = self._total_updates[name]
        return self._schedule(max(0, total - updates) / max(1, total - config.warmup_steps))

    def count_updates(self, epochs: int) -> None:
        """Set the updates to those of the first epochs, which a resumed trial has committed."""
        self.updates = self._planned(epochs)
