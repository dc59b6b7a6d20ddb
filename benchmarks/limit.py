"""The limit of the hardware: the operations of a packed step and the rate of matrix products.

Imported by step.py and gpu.py, not run.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from trainer.data.corpus import Corpus
from trainer.model.encoder_shape import EncoderShape
from trainer.samplers import Step

#: Rows of the first matrices, and the most seconds that one product may take.
_SMALL, _MOST_S = 256, 1.0


def step_operations(
    shape: EncoderShape, corpus: Corpus, step: Step, *, first_only: bool = False
) -> float:
    """Count the floating-point operations of a step's matrix products over real tokens.

    Backward costs twice as much as forward: once for activations, once for weights.  With hidden
    size h and intermediate size m, a layer costs 2 (4 h^2 + 2 h m) per token, and attention costs
    4 n^2 h per sentence of n tokens.

    With `first_only`, the last layer is computed for [CLS] tokens alone.  Its keys and values still
    need all tokens (4 h^2 per token); the rest is needed once per sentence.
    """
    lengths = np.concatenate(
        [corpus.splits[draw.task]["train"].lengths[draw.rows] for draw in step]
    ).astype(float)
    hidden, tokens = shape.hidden, lengths.sum()
    per_token = 2 * (4 * hidden**2 + 2 * hidden * shape.intermediate)
    layer = per_token * tokens + 4 * hidden * (lengths**2).sum()
    last = layer
    if first_only:
        all_tokens = 4 * hidden**2 * tokens + 4 * hidden * tokens
        last = all_tokens + (per_token - 4 * hidden**2) * len(lengths)
    return float(3 * ((shape.layers - 1) * layer + last))


def padded_share(corpus: Corpus, step: Step) -> float:
    """Return the share of real tokens among all slots of the padded batches."""
    real = slots = 0
    for draw in step:
        lengths = corpus.splits[draw.task]["train"].lengths[draw.rows]
        real += int(lengths.sum())
        slots += int(lengths.max()) * len(lengths)
    return real / slots


class MatrixRate:
    """Measures square matrix products, between the steps: their operations per second."""

    def __init__(
        self, dtype: torch.dtype, device: torch.device, size: int,
        clock: Callable[[], float] = time.perf_counter,
    ):  # fmt: skip
        self._device, self._clock = device, clock
        self._size = _SMALL
        self._matrices(dtype)
        # Without bf16 units a processor may take minutes for what another does in 10 ms.
        while self._size < size and 8 * self._once() < _MOST_S:
            self._size = min(2 * self._size, size)
            self._matrices(dtype)
        self._rates: list[float] = []

    def _matrices(self, dtype: torch.dtype) -> None:
        self._a, self._b, self._c = (
            torch.randn(self._size, self._size, device=self._device).to(dtype) for _ in range(3)
        )

    def _once(self, repeats: int = 1) -> float:
        """Return the seconds of one product.  A first, untimed product warms up."""
        torch.mm(self._a, self._b, out=self._c)
        wait(self._device)
        started = self._clock()
        for _ in range(repeats):
            torch.mm(self._a, self._b, out=self._c)
        wait(self._device)
        return (self._clock() - started) / repeats

    def measure(self, repeats: int = 4) -> None:
        """Add one measurement, the mean of `repeats` products."""
        self._rates.append(2.0 * self._size**3 / self._once(repeats))

    @property
    def rate(self) -> float:
        """Median of all measurements, in operations per second."""
        return statistics.median(self._rates)


def wait(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
