"""The hardware's limit: operations of a packed step, and the rate of matrix products."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from trainer.data.corpus import Corpus
from trainer.model.encoder import EncoderShape
from trainer.samplers import Step

#: Rows of the first matrices, and seconds that a product of the last ones may take.
_SMALL, _MOST_S = 256, 1.0


def step_operations(
    shape: EncoderShape, corpus: Corpus, step: Step, *, first_only: bool = False
) -> float:
    """Floating-point operations of one step's matrix products over real tokens: forward once,
    backward twice (activations and weights).

    A token costs 2 (4 h^2 + 2 h m) a layer, a sentence of n tokens 4 n^2 h for attention.  With
    `first_only`, what is left when the last layer is computed for [CLS] tokens alone: keys and
    values of all tokens (4 h^2), the rest a sentence.
    """
    lengths = np.concatenate(
        [corpus.splits[draw.task]["train"].lengths[draw.rows] for draw in step]
    ).astype(float)
    hidden, tokens = shape.hidden, lengths.sum()
    token = 2 * (4 * hidden**2 + 2 * hidden * shape.intermediate)
    layer = token * tokens + 4 * hidden * (lengths**2).sum()
    last = layer
    if first_only:
        pairs = 4 * hidden**2 * tokens + 4 * hidden * tokens
        last = pairs + (token - 4 * hidden**2) * len(lengths)
    return float(3 * ((shape.layers - 1) * layer + last))


def padded_share(corpus: Corpus, step: Step) -> float:
    """Real tokens over the slots of padded batches."""
    real = slots = 0
    for draw in step:
        lengths = corpus.splits[draw.task]["train"].lengths[draw.rows]
        real += int(lengths.sum())
        slots += int(lengths.max()) * len(lengths)
    return real / slots


class MatrixRate:
    """Operations a second of square matrix products, measured between the steps."""

    def __init__(self, dtype: torch.dtype, device: torch.device, size: int):
        self._device = device
        self._size = _SMALL
        self._matrices(dtype)
        # A processor without bf16 products may take minutes for what another does in 10 ms.
        while self._size < size and 8 * self._once() < _MOST_S:
            self._size = min(2 * self._size, size)
            self._matrices(dtype)
        self._rates: list[float] = []

    def _matrices(self, dtype: torch.dtype) -> None:
        self._a, self._b, self._c = (
            torch.randn(self._size, self._size, device=self._device).to(dtype) for _ in range(3)
        )

    def _once(self, repeats: int = 1) -> float:
        """Seconds of a product, behind one that is not timed."""
        torch.mm(self._a, self._b, out=self._c)
        wait(self._device)
        started = time.perf_counter()
        for _ in range(repeats):
            torch.mm(self._a, self._b, out=self._c)
        wait(self._device)
        return (time.perf_counter() - started) / repeats

    def measure(self, repeats: int = 4) -> None:
        self._rates.append(2.0 * self._size**3 / self._once(repeats))

    @property
    def rate(self) -> float:
        """Median, operations a second."""
        return statistics.median(self._rates)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
