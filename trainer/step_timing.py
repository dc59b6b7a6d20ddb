"""Minutes per epoch, estimated from a few steps that configurations take in turn.

The minutes of a trial depend on when it ran: the speed of a machine drifts, and others use it.
Here all configurations take a few steps each, again and again (A B C, C A B, ...).  So every round
sees all of them at nearly the same speed.  Each round draws its order anew.  In a fixed order, the
last configuration would always pay for a machine that slows down.
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import random
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

#: Another contestant is built if so many times the memory of the largest one is free.
_ROOM = 1.5
#: Seconds that are watched to see whether a device is quiet.
_GLANCE_S = 0.5


@dataclass(frozen=True)
class PhaseSize:
    """A phase's updates and examples per epoch: the mean over all epochs of the trial."""

    name: str
    updates: float
    examples: float


@dataclass(frozen=True)
class Stretch:
    """Timed steps of one phase."""

    phase: str
    steps: int
    #: Of all steps together.
    seconds: float
    #: Seconds by part (`clock.STEP_PARTS`).  On a GPU the same steps are taken once more for them,
    #: without a CUDA graph and waiting for the device after every part.  So they add up to more
    #: than `seconds`.
    parts: dict[str, float]


@dataclass(frozen=True)
class Round:
    """One turn of every contestant."""

    #: From 0.
    number: int
    #: `Clock.contention` over the whole round.
    contended: bool | None
    foreign_load: float | None
    #: By the name of the contestant.
    turns: dict[str, list[Stretch]]
    #: The names in the order of their turns.
    order: list[str]


class Contestant:
    """A configuration that takes a few steps of its epochs in each turn.

    Each turn takes other steps, spread evenly over the phase and over the trial's epochs, because
    steps differ in length and, with annealed sampling, from epoch to epoch.  No turn contains what
    an epoch does once: its plan, and drawing the pool of dropout masks.

    Args:
        rounds: how many turns there are.
        steps: how many steps of every phase a turn takes, or all of a phase that has fewer.

    Raises:
        DataError, EncoderError, CombinerError, SamplerError: as building and planning a trial do.
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
        #: Bytes that it needs while it is built.
        self.memory = max(0, used_memory(self.device) - before)

    def spread(self, rounds: int, steps: int) -> None:
        """From now on there are so many turns, spread anew over the trial's epochs."""
        self.sizes, self._rounds = _sample(self._built(), rounds, steps)

    @property
    def is_built(self) -> bool:
        return self._run is not None

    def turn(self, number: int) -> list[Stretch]:
        """Take the steps of turn `number` (from 0) of every phase: to warm up, then timed."""
        run = self._built()
        return [self._timed(run, phase) for phase in self._rounds[number]]

    def drop(self) -> None:
        """Free its memory.  The next turn builds it again."""
        self._run = None
        gc.collect()  # the parts of a model refer to each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _built(self) -> Run:
        if self._run is None:
            self._run = Run(self.config)
            self._run.model.train()
            self._run.combiner.begin_epoch()
        if self.config.threads:  # belongs to the process, and the contestant before may differ
            torch.set_num_threads(self.config.threads)
        return self._run

    def _timed(self, run: Run, phase: Phase) -> Stretch:
        run.optimizers.updates.clear()  # a schedule ends, but turns can take more steps
        run.freeze(phase.frozen)
        # Warm up: kernels are compiled for new shapes, and CUDA graphs captured.
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
        """Seconds by part on a GPU, where the steps of a trial are not timed by part."""
        graph_cache, run.stepper.graph_cache = run.stepper.graph_cache, None
        run.clock.step.on = True
        try:
            self._take(run, phase)
            return run.clock.step.take() or {}
        finally:
            run.clock.step.on = False
            run.stepper.graph_cache = graph_cache


def build(configs: Mapping[str, TrainConfig], rounds: int, steps: int) -> dict[str, Contestant]:
    """A contestant for every configuration.

    If not all fit into memory together, some are dropped and built again for their turns.  That
    takes time between the timed steps, which does not count.
    """
    contestants: dict[str, Contestant] = {}
    for name, config in configs.items():
        _make_room(contestants.values())
        contestants[name] = Contestant(config, rounds, steps)
    return contestants


def in_turn(
    contestants: Mapping[str, Contestant],
    rounds: int,
    repeats: int,
    patience_s: float = 0.0,
    seed: int = 0,
) -> Iterator[Round]:
    """Take the rounds from 0 to `rounds` - 1, each with a turn of every contestant.

    A contended round is yielded with its mark, and is then repeated.

    Args:
        repeats: how many rounds are repeated at most.
        patience_s: a repeat waits until the device is quiet, or for so many seconds.
        seed: of the orders.  It should differ between sessions.
    """
    number, draw = 0, random.Random(seed)
    watch = ContentionMonitor(next(iter(contestants.values())).device)
    while number < rounds:
        order = draw.sample(list(contestants), len(contestants))
        watch.begin()
        turns = {}
        for name in order:
            if not contestants[name].is_built:
                _make_room(contestants.values())
            turns[name] = contestants[name].turn(number)
        watch.end()
        contended, load = watch.contention()
        yield Round(number, contended, load, turns, order)
        if contended and repeats > 0:
            repeats -= 1
            _wait_for_quiet(watch, patience_s)
        else:
            number += 1


def _wait_for_quiet(watch: ContentionMonitor, patience_s: float) -> None:
    """Wait until nothing else uses the device, but not longer than `patience_s` seconds."""
    end = time.monotonic() + patience_s
    contended: bool | None = True
    while contended and time.monotonic() < end:
        watch.begin()
        time.sleep(_GLANCE_S)
        watch.end()
        contended, _ = watch.contention()


def _make_room(contestants: Iterable[Contestant]) -> None:
    """Drop all built contestants if another one might not fit into memory."""
    built = [each for each in contestants if each.is_built]
    # A contestant built from memory that the process had freed before seems to need none.
    if built and free_memory(built[0].device) <= _ROOM * max(each.memory for each in built):
        for each in built:
            each.drop()


def _sample(run: Run, rounds: int, steps: int) -> tuple[list[PhaseSize], list[list[Phase]]]:
    """The phases of a trial, and for every round some steps of each."""
    # Steps and examples of every phase, by its name and by epoch.
    epochs = run.config.epochs
    counts: dict[str, dict[int, tuple[int, int]]] = {}
    for number in range(1, epochs + 1):
        for phase in run.plan(number):
            counts.setdefault(phase.name, {})[number] = (len(phase.steps), phase.examples)

    # From which epoch each turn takes its steps of a phase.  Some epochs may lack the phase.
    sizes = []
    turns_of: dict[int, list[tuple[int, str]]] = {}
    for name, by_epoch in counts.items():
        columns = zip(*by_epoch.values(), strict=True)
        updates, examples = (sum(column) / epochs for column in columns)
        sizes.append(PhaseSize(name, updates, examples))
        numbers = sorted(by_epoch)
        for turn in range(rounds):
            turns_of.setdefault(numbers[turn * len(numbers) // rounds], []).append((turn, name))

    chosen: list[dict[str, Phase]] = [{} for _ in range(rounds)]
    for number, turns in turns_of.items():
        phases = {phase.name: phase for phase in run.plan(number)}
        for turn, name in turns:
            chosen[turn][name] = _some(phases[name], steps, (turn + 0.5) / rounds)
    return sizes, [[phases[name] for name in counts] for phases in chosen]


def _some(phase: Phase, count: int, offset: float) -> Phase:
    """`count` evenly spaced steps of a phase.

    Args:
        offset: where in the first interval they begin, from 0 to 1.
    """
    length = len(phase.steps)
    count = min(count, length)
    places = [int((index + offset) * length / count) for index in range(count)]
    return replace(phase, steps=[phase.steps[place] for place in places])


def used_memory(device: torch.device) -> int:
    """Bytes that this process uses on the GPU, or its resident set; 0 if that is unknown."""
    if device.type == "cuda":
        return torch.cuda.memory_reserved(device)
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def free_memory(device: torch.device) -> float:
    """Bytes that can still be allocated on the GPU, or on this machine; infinity if unknown.

    A container's limit counts as the machine's.
    """
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    free = [math.inf]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable"))
        free.append(int(available.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError, StopIteration):  # "max": there is no limit
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        current = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        cache = next(line for line in lines if line.startswith("inactive_file "))
        free.append(limit - current + int(cache.split()[1]))
    return min(free)
