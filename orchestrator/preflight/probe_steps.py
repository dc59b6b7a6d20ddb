"""The steps that `--probe` measures: the largest, and on a GPU recorded steps of several sizes.

A step that is recorded (trainer.loop.cuda_graphs) computes in memory that only recorded steps use.
torch empties its cache for plain steps before it records one.  So what a trial holds at most is
seen only when a plain step follows.  Every further recorded step adds a little: its inputs and
outputs, and the list of its kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from trainer.config import TrainConfig
from trainer.data.split import Split
from trainer.loop.cuda_graphs import MAX_GRAPHS, WARM_UP_RUNS
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.samplers import Draw, Phase, Step

#: Sizes that are recorded in each phase beside the largest.  Memory is taken in pieces of 20 MB, so
#: that one size alone would not tell how much it adds.
_SIZES = 4


def held_on_gpu() -> int:
    """Bytes that all processes hold on the GPU."""
    left, total = torch.cuda.mem_get_info()
    return int(total - left)


class _Plain(tuple[Draw, ...]):
    """A step that is not recorded, although it could be."""


class ProbeRun(Run):
    """A trial whose epochs have a few steps of each phase and one batch of evaluation, all with the
    longest sentences of the data.

    If its steps can be recorded, each phase has steps of several sizes, which are recorded, and
    then the largest one plainly.

    Args:
        held: bytes that are held on the device now.
    """

    def __init__(self, config: TrainConfig, held: Callable[[], int] = held_on_gpu):
        super().__init__(config)
        self._held = held
        #: The most that was held after a step, and how many recordings there were then.
        self.most = self._graphs = 0
        #: For each phase, what was held after each recording.
        self._after: list[list[int]] = [[]]

    def plan(self, number: int) -> list[Phase]:
        return [replace(phase, steps=self._chosen(phase)) for phase in super().plan(number)]

    def _chosen(self, phase: Phase) -> list[Step]:
        largest = self._longest(phase)
        if self.stepper.graph_cache is None:
            return [largest] * 2  # the first step creates the optimizer's moments
        by_size = {self._tokens(step): step for step in sorted(phase.steps, key=self._tokens)}
        others = list(by_size.values())[::-1]
        sizes = [largest, *others[:: max(1, len(others) // _SIZES)][:_SIZES]]
        return [step for step in sizes for _ in range(WARM_UP_RUNS + 1)] + [_Plain(largest)]

    def _tokens(self, step: Step) -> int:
        lengths = {name: splits["train"].lengths for name, splits in self.corpus.splits.items()}
        return sum(int(lengths[draw.task][draw.rows].sum()) for draw in step)

    def _longest(self, phase: Phase) -> Step:
        """The step that would have most tokens, with each task's longest sentences."""
        train = {name: splits["train"] for name, splits in self.corpus.splits.items()}
        lengths = {name: np.sort(split.lengths) for name, split in train.items()}

        def tokens(step: Step) -> int:
            return sum(int(lengths[draw.task][-len(draw.rows) :].sum()) for draw in step)

        step = max(phase.steps, key=tokens)
        return tuple(
            replace(draw, rows=train[draw.task].lengths.argsort()[-len(draw.rows) :])
            for draw in step
        )

    def step(self, phase: Phase, step: Step, metrics: EpochMetrics) -> None:
        recorder = self.stepper.graph_cache
        if recorder is None:
            super().step(phase, step, metrics)
            return
        graphs, plain = recorder.graphs, isinstance(step, _Plain)
        self.stepper.graph_cache = None if plain else recorder
        super().step(phase, step, metrics)
        self.stepper.graph_cache = recorder
        held = self._held()
        if held >= self.most:
            self.most, self._graphs = held, recorder.graphs
        if recorder.graphs > graphs:
            self._after[-1].append(held)
        if plain:
            self._after.append([])

    @property
    def further(self) -> int:
        """Bytes that a trial's other recorded steps will take, at most."""
        recorder = self.stepper.graph_cache
        if recorder is None or recorder.problem:
            return 0
        each = [(held[-1] - held[0]) / (len(held) - 1) for held in self._after if held[1:]]
        steps = sum(len(phase.steps) for phase in Run.plan(self, 1)) * self.config.epochs
        graphs = min(MAX_GRAPHS, steps // (WARM_UP_RUNS + 1))
        return round(max([0.0, *each]) * max(0, graphs - self._graphs))

    def splits(self, split: str) -> dict[str, Split]:
        return {name: self._batch(whole) for name, whole in super().splits(split).items()}

    def _batch(self, split: Split) -> Split:
        longest = split.lengths.argsort()[-self.config.eval_batch_size :]
        return replace(split, rows=split.rows[longest])
