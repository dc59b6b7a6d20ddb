"""Minutes an epoch from a few of its steps, which configurations take in turn, alone on the device.

A trial's own minutes are those of its hour: a machine's speed drifts, and others use it.  Here all
configurations take a few steps each, again and again (A B C, A B C, ...), so that every round sees
all of them at the same speed.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trainer.config import TrainConfig
from trainer.loop.clock import ContentionMonitor
from trainer.loop.cuda_graphs import WARM_UP_RUNS
from trainer.loop.device import choose_device
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.samplers import Phase

#: A contestant is built beside others if this many times the largest one's memory is free.
_ROOM = 1.5
#: Seconds over which one sees whether a device is quiet.
_GLANCE_S = 0.5


@dataclass(frozen=True)
class PhaseSize:
    """A phase's updates and examples an epoch: the mean over all epochs of the trial."""

    name: str
    updates: float
    examples: float


@dataclass(frozen=True)
class Stretch:
    """Steps of one phase on the clock.

    `seconds` are those of all `steps`, `parts` what of them went where (`clock.STEP_PARTS`).  On a
    GPU the parts are those of the same steps taken once more, unrecorded and waiting for the
    device behind every part: together they are longer than `seconds`.
    """

    phase: str
    steps: int
    seconds: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Round:
    """Number 0, 1, ...: one turn of every contestant, by name.

    `contended` and `foreign_load` are `Clock.contention` over the whole round.
    """

    number: int
    contended: bool | None
    foreign_load: float | None
    turns: dict[str, list[Stretch]]


class Contestant:
    """A configuration that takes steps of its epochs, a few a turn.

    Each turn takes other steps, spread evenly over the phase and over the trial's epochs, because
    they differ in length and, where sampling is annealed, from epoch to epoch.  What an epoch does
    once (its plan, drawing the pool of dropout masks) is in no turn.

    Args:
        rounds: how many turns there are.
        steps: of every phase in a turn; all of a phase that has fewer.

    Raises what `Run` and `Run.plan` raise.
    """

    def __init__(self, config: TrainConfig, rounds: int, steps: int):
        self.config = config
        self.device = choose_device(config.device)
        self._run: Run | None = None
        before = used_memory(self.device)
        run = self._built()
        self.precision = run.precision
        self.sizes, self._rounds = _sample(run, rounds, steps)
        self.turn(0)
        #: Bytes that it holds while it is built.
        self.memory = max(0, used_memory(self.device) - before)

    @property
    def is_built(self) -> bool:
        return self._run is not None

    def turn(self, number: int) -> list[Stretch]:
        """The steps of turn `number` (0, 1, ...) of every phase: once to warm up, then timed."""
        run = self._built()
        return [self._timed(run, phase) for phase in self._rounds[number]]

    def drop(self) -> None:
        """Give the memory back; the next turn builds it anew."""
        self._run = None
        gc.collect()  # a model's parts refer to each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _built(self) -> Run:
        if self._run is None:
            self._run = Run(self.config)
            self._run.model.train()
            self._run.combiner.begin_epoch()
        if self.config.threads:  # of the whole process: the one before may have had others
            torch.set_num_threads(self.config.threads)
        return self._run

    def _timed(self, run: Run, phase: Phase) -> Stretch:
        run.optimizers.updates.clear()  # a schedule has an end, turns need not
        run.freeze(phase.frozen)
        # Kernels are compiled for shapes not seen before, and graphs recorded.
        for _ in range(1 if run.stepper.graph_cache is None else WARM_UP_RUNS + 1):
            self._take(run, phase)
        run.clock.take()
        run.clock.step.take()
        with run.clock.part("turn"):
            self._take(run, phase)
        parts = run.clock.step.take() or self._parts_alone(run, phase)
        return Stretch(phase.name, len(phase.steps), run.clock.take()["turn"], parts)

    def _take(self, run: Run, phase: Phase) -> None:
        metrics = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
        for step in phase.steps:
            run.step(phase, step, metrics)

    def _parts_alone(self, run: Run, phase: Phase) -> dict[str, float]:
        """Seconds by part where a trial's steps have none to be seen."""
        graph_cache, run.stepper.graph_cache = run.stepper.graph_cache, None
        run.clock.step.on = True
        try:
            self._take(run, phase)
            return run.clock.step.take() or {}
        finally:
            run.clock.step.on = False
            run.stepper.graph_cache = graph_cache


def build(configs: Mapping[str, TrainConfig], rounds: int, steps: int) -> dict[str, Contestant]:
    """A contestant of every configuration, as many of them alive as fit into memory together.

    Where not all fit, those that are in the way are dropped and built anew for their turns: that
    costs time between the timed steps, and none of theirs.
    """
    made: dict[str, Contestant] = {}
    for name, config in configs.items():
        _make_room(made.values())
        made[name] = Contestant(config, rounds, steps)
    return made


def in_turn(
    contestants: Mapping[str, Contestant], rounds: int, repeats: int, patience_s: float = 0.0
) -> Iterator[Round]:
    """Rounds 0 .. `rounds` - 1, a turn of every contestant each, in their order.

    A contended round is yielded, marked, and taken again as soon as the device is quiet, or
    `patience_s` later; `repeats` times at most over all rounds.
    """
    number = 0
    watch = ContentionMonitor(next(iter(contestants.values())).device)
    while number < rounds:
        watch.begin()
        turns = {}
        for name, contestant in contestants.items():
            if not contestant.is_built:
                _make_room(contestants.values())
            turns[name] = contestant.turn(number)
        watch.end()
        contended, load = watch.contention()
        yield Round(number, contended, load, turns)
        if contended and repeats > 0:
            repeats -= 1
            _wait_for_quiet(watch, patience_s)
        else:
            number += 1


def _wait_for_quiet(watch: ContentionMonitor, patience_s: float) -> None:
    """Sleep until nothing else uses the device, at most so long."""
    end = time.monotonic() + patience_s
    contended: bool | None = True
    while contended and time.monotonic() < end:
        watch.begin()
        time.sleep(_GLANCE_S)
        watch.end()
        contended, _ = watch.contention()


def _make_room(contestants: Iterable[Contestant]) -> None:
    """Drop all built contestants if one more might not fit beside them."""
    built = [each for each in contestants if each.is_built]
    if built and free_memory(built[0].device) < _ROOM * max(each.memory for each in built):
        for each in built:
            each.drop()


def _sample(run: Run, rounds: int, steps: int) -> tuple[list[PhaseSize], list[list[Phase]]]:
    """The phases of a trial, and for every round some steps of each."""
    epochs = run.config.epochs
    found: dict[str, dict[int, tuple[int, int]]] = {}
    for number in range(1, epochs + 1):
        for phase in run.plan(number):
            found.setdefault(phase.name, {})[number] = (len(phase.steps), phase.examples)
    sizes = []
    wanted: dict[int, list[tuple[int, str]]] = {}
    for name, counts in found.items():
        updates, examples = (sum(column) / epochs for column in zip(*counts.values(), strict=True))
        sizes.append(PhaseSize(name, updates, examples))
        numbers = sorted(counts)  # not every epoch need have every phase
        for turn in range(rounds):
            wanted.setdefault(numbers[turn * len(numbers) // rounds], []).append((turn, name))
    chosen: list[dict[str, Phase]] = [{} for _ in range(rounds)]
    for number, places in wanted.items():
        phases = {phase.name: phase for phase in run.plan(number)}
        for turn, name in places:
            chosen[turn][name] = _some(phases[name], steps, (turn + 0.5) / rounds)
    return sizes, [[phases[name] for name in found] for phases in chosen]


def _some(phase: Phase, count: int, offset: float) -> Phase:
    """`count` evenly spaced steps, beginning at that share (0 to 1) of the first interval."""
    length = len(phase.steps)
    count = min(count, length)
    places = [int((index + offset) * length / count) for index in range(count)]
    return replace(phase, steps=[phase.steps[place] for place in places])


def used_memory(device: torch.device) -> int:
    """Bytes that this process holds: on the GPU, or its resident set (0 where nobody knows)."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def free_memory(device: torch.device) -> float:
    """Bytes that can still be had: the device's, or the machine's within this container's limit;
    infinity where that cannot be known."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    found = [math.inf]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        found.append(int(available.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError, StopIteration):  # "max": there is no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        current = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        cached = next(line for line in lines if line.startswith("inactive_file "))
        found.append(limit - current + int(cached.split()[1]))
    return min(found)
