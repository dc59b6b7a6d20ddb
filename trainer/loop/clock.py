"""Training time apart from everything else, and whether it was spent alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

#: Share of the machine's CPU time that others may use before a timing counts as contended.
FOREIGN_LOAD_ALLOWED = 0.1
#: What a training step spends its time on; what is left of it is none of these.
STEP_PARTS = ("data", "forward_backward", "surgery", "optimizer")


class Clock:
    """Seconds by part (`training`, `evaluation`, `checkpoint`, `setup`), device-synchronised.

    `step` divides the training time further, by the parts of a step.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = {}
        self.step = StepClock(device)
        self._neighbours = Neighbours(device)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a stretch; waits for the device before it reads the time."""
        self._wait()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            elapsed = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed

    @contextmanager
    def training(self) -> Iterator[None]:
        """Like `part("training")`, and watches who else uses the device."""
        self._neighbours.begin()
        try:
            with self.part("training"):
                yield
        finally:
            self._neighbours.end()

    def take(self) -> dict[str, float]:
        """Seconds by part since the last call."""
        taken, self.seconds = self.seconds, {}
        return taken

    def contention(self, spared: float = 0.0) -> tuple[bool | None, float | None]:
        """Whether the training time was contended (None: cannot be known here), and the share
        of the machine's CPU time that other processes used (CPU only).

        Args:
            spared: CPU seconds that others may use in any case.
        """
        return self._neighbours.verdict(spared)

    def _wait(self) -> None:
        _wait_for(self.device)


class StepClock:
    """Time of a step's parts (`STEP_PARTS`), stretch after stretch.

    Off on a GPU: to read the time there means to wait for the device, which a trial's steps must
    not, and a step that is recorded as a graph has no parts.  Whoever times single steps on
    purpose sets `on`.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.on = device.type != "cuda"
        # Whole nanoseconds: sums over any number of steps are exact.
        self._nanoseconds = dict.fromkeys(STEP_PARTS, 0)
        self._last = 0

    def begin(self) -> None:
        """What follows belongs to a part of the step."""
        if self.on:
            self._last = self._now()

    def end(self, part: str) -> None:
        """The stretch since the last call of `begin` or `end` was of this part."""
        if self.on:
            now = self._now()
            self._nanoseconds[part] += now - self._last
            self._last = now

    def take(self) -> dict[str, float] | None:
        """Seconds by part since the last call; None where it is off."""
        taken = {part: count / 1e9 for part, count in self._nanoseconds.items()}
        self._nanoseconds = dict.fromkeys(STEP_PARTS, 0)
        return taken if self.on else None

    def _now(self) -> int:
        _wait_for(self.device)
        return time.perf_counter_ns()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Neighbours:
    """Who else used the device between `begin` and `end`."""

    def __init__(self, device: torch.device):
        self.device = device
        self._reset()

    def _reset(self) -> None:
        self._foreign = self._capacity = 0.0
        self._others: bool | None = None
        self._start: tuple[float, float, float] | None = None

    def begin(self) -> None:
        if self.device.type == "cuda":
            self._see(gpu_has_others())
        else:
            self._start = _cpu_reading()

    def end(self) -> None:
        if self.device.type == "cuda":
            self._see(gpu_has_others())
            return
        now = _cpu_reading()
        if self._start is not None and now is not None:
            busy, own, wall = (a - b for a, b in zip(now, self._start, strict=True))
            self._foreign += max(0.0, busy - own)
            self._capacity += wall * (os.cpu_count() or 1)

    def _see(self, others: bool | None) -> None:
        if others is not None:
            self._others = bool(self._others) or others

    def verdict(self, spared: float = 0.0) -> tuple[bool | None, float | None]:
        """`Clock.contention`, over every stretch since the last call."""
        others = self._others
        foreign, capacity = self._foreign, self._capacity
        self._reset()
        if capacity > 0:
            allowed = max(spared, FOREIGN_LOAD_ALLOWED * capacity)
            return foreign > allowed, foreign / capacity
        return others, None


def _cpu_reading() -> tuple[float, float, float] | None:
    """CPU seconds of the whole machine, of this process, and the wall clock; Linux only."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy, time.process_time(), time.perf_counter()


def gpu_has_others() -> bool | None:
    """Whether more than one process computes on the visible GPU; None without nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    command = [program, "--query-compute-apps=pid", "--format=csv,noheader", "-i", visible]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return len(answer.stdout.split()) > 1
