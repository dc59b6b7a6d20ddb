"""Which tokens, or sentences, of a pass belong to which row of J (trainer.model.task_gradients).

Shapes: T tokens (or sentences), S spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True)
class Span:
    """Consecutive tokens, or sentences, whose gradients belong to one row of J."""

    row: int
    start: int
    end: int


class Spans(tuple[Span, ...]):
    """The spans of one pass, end to end, in rising order of their rows."""

    @cached_property
    def _sums(self) -> dict[torch.dtype, Tensor]:
        return {}

    def sums(self, x: Tensor) -> Tensor:
        """(S, T) in the dtype of x (T, ...): 1 where a token is in the span.

        Its product with x adds x up over every span at once.  It is made once for each dtype.
        """
        if x.dtype not in self._sums:
            sums = x.new_zeros(len(self), self[-1].end)
            for number, span in enumerate(self):
                sums[number, span.start : span.end] = 1
            self._sums[x.dtype] = sums
        return self._sums[x.dtype]

    def runs(self, kind: Callable[[int], bool]) -> Iterator[slice]:
        """Slices of the spans: in each, rows follow one another, and `kind` of them is the same."""
        numbered = groupby(enumerate(self), lambda item: (item[1].row - item[0], kind(item[1].row)))
        for _, run in numbered:
            numbers = [number for number, _ in run]
            yield slice(numbers[0], numbers[-1] + 1)
