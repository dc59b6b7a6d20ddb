"""The time of training, apart from everything else, and whether other processes contended."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

#: A timing counts as contended if others use more than this share of the machine's CPU time.
FOREIGN_LOAD_ALLOWED = 0.1
#: Parts of a training step that are timed.  A little of its time belongs to none of them.
STEP_PARTS = ("data", "forward_backward", "surgery", "optimizer")


class Clock:
    """Seconds by part: `training`, `evaluation`, `checkpoint`, `setup`.

    `step` divides the training time further, into the parts of a step.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = {}
        self.step = StepClock(device)
        self._monitor = ContentionMonitor(device)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what runs within this context.  Waits for the device before it reads the time."""
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
        """Like `part("training")`, and watches which other processes use the device."""
        self._monitor.begin()
        try:
            with self.part("training"):
                yield
        finally:
            self._monitor.end()

    def take(self) -> dict[str, float]:
        """Seconds by part since the last call."""
        seconds, self.seconds = self.seconds, {}
        return seconds

    def contention(self, spared: float = 0.0) -> tuple[bool | None, float | None]:
        """`ContentionMonitor.contention` of the training time since the last call."""
        return self._monitor.contention(spared)

    def _wait(self) -> None:
        _wait_for(self.device)


class StepClock:
    """Seconds by part of a step (`STEP_PARTS`).

    It is off on a GPU.  Reading the time there means waiting for the device, which the steps of a
    trial must not do, and a step that is captured as a CUDA graph has no parts.  Code that times
    single steps on purpose sets `on`.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.on = device.type != "cuda"
        # Whole nanoseconds, so that sums over any number of steps are exact.
        self._nanoseconds = dict.fromkeys(STEP_PARTS, 0)
        self._last = 0

    def begin(self) -> None:
        """A part of the step begins."""
        if self.on:
            self._last = self._now()

    def end(self, part: str) -> None:
        """The time since the last call of `begin` or `end` belongs to this part."""
        if self.on:
            now = self._now()
            self._nanoseconds[part] += now - self._last
            self._last = now

    def take(self) -> dict[str, float] | None:
        """Seconds by part since the last call; None if it is off."""
        seconds = {part: count / 1e9 for part, count in self._nanoseconds.items()}
        self._nanoseconds = dict.fromkeys(STEP_PARTS, 0)
        return seconds if self.on else None

    def _now(self) -> int:
        _wait_for(self.device)
        return time.perf_counter_ns()


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class ContentionMonitor:
    """Whether other processes used the device between `begin` and `end`."""

    def __init__(self, device: torch.device):
        self.device = device
        self._reset()

    def _reset(self) -> None:
        self._foreign = self._capacity = 0.0
        self._others: bool | None = None
        self._start: tuple[float, float, float] | None = None

    def begin(self) -> None:
        if self.device.type == "cuda":
            self._add(gpu_has_others())
        else:
            self._start = _cpu_reading()

    def end(self) -> None:
        if self.device.type == "cuda":
            self._add(gpu_has_others())
            return
        now = _cpu_reading()
        if self._start is not None and now is not None:
            machine, process, wall = (a - b for a, b in zip(now, self._start, strict=True))
            self._foreign += max(0.0, machine - process)
            self._capacity += wall * (os.cpu_count() or 1)

    def _add(self, others: bool | None) -> None:
        if others is not None:
            self._others = bool(self._others) or others

    def contention(self, spared: float = 0.0) -> tuple[bool | None, float | None]:
        """Whether the times since the last call were contended, and the foreign load.

        The first is None if it cannot be known here.  The foreign load is the share of the
        machine's CPU time that other processes used; None on a GPU.

        Args:
            spared: CPU seconds that others may use without contention.
        """
        others = self._others
        foreign, capacity = self._foreign, self._capacity
        self._reset()
        if capacity > 0:
            allowed = max(spared, FOREIGN_LOAD_ALLOWED * capacity)
            return foreign > allowed, foreign / capacity
        return others, None


def _cpu_reading() -> tuple[float, float, float] | None:
    """CPU seconds of the whole machine and of this process, and the wall clock; Linux only."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return busy, time.process_time(), time.perf_counter()


#: The program that computes for its clients under NVIDIA's multi-process service (MPS).
_MPS_SERVER = "nvidia-cuda-mps-server"


def gpu_has_others() -> bool | None:
    """Whether other processes compute on the visible GPU; None if that cannot be known.

    It cannot without nvidia-smi, and where nvidia-smi does not list this process: in a container
    with process ids of its own.  Below MPS and with MIG it lists processes that share a GPU in
    other ways than in turns, so that does not tell either.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    if visible.startswith("MIG"):
        return None
    apps = _asked("--query-compute-apps=pid,process_name", visible)
    modes = _asked("--query-gpu=mig.mode.current", visible)
    if apps is None or modes is None or "Enabled" in modes:
        return None
    processes = dict(line.split(", ", 1) for line in apps if ", " in line)
    if str(os.getpid()) not in processes:
        return None
    if any(Path(name).name == _MPS_SERVER for name in processes.values()):
        return None
    return len(processes) > 1


def _asked(question: str, device: str) -> list[str] | None:
    """What nvidia-smi answers about a GPU, by line; None if there is no answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, question, "--format=csv,noheader", "-i", device]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.splitlines()
