"""Steps recorded once and replayed: a GPU step's thousand launches become one.

A step of a few hundred tokens keeps a GPU busy for less time than the host needs to launch its
kernels.  Token counts vary, so spans are filled up to a multiple (`packed.alignment`) and a graph
is recorded for every combination of filled sizes that comes up repeatedly.
"""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Function = Callable[[Tensors], Tensors]
#: Records a function of tensors without running it; what it returns runs the recording on what
#: then lies in their memory.
Capture = Callable[[Function, Tensors], Callable[[], Tensors]]

#: A combination of sizes runs so often as it is before it is recorded: what a first run sets up
#: (optimizer states, libraries' workspaces) must not become part of a graph.
RUNS_BEFORE = 2
#: Graphs that are kept; the one longest unused goes first.
KEPT = 128


@dataclass
class _Recorded:
    inputs: Tensors
    replay: Callable[[], Tensors]


class GraphCache:
    """Runs functions of tensors, from recordings where the same function came up before."""

    def __init__(self, capture: Capture, kept: int = KEPT):
        self._capture: Capture | None = capture
        self._kept = kept
        self._seen: Counter[Hashable] = Counter()
        self._recorded: OrderedDict[Hashable, _Recorded] = OrderedDict()
        self.replayed = 0

    @classmethod
    def cuda(cls) -> GraphCache:
        return cls(_CudaCapture())

    @property
    def graphs(self) -> int:
        return len(self._recorded)

    def run(self, key: Hashable, inputs: Tensors, function: Function) -> Tensors:
        """function(inputs), in fresh memory.

        Args:
            key: equal for calls that differ in the content of `inputs` alone, whose shapes are
                equal then.
        """
        if key not in self._recorded:
            self._seen[key] += 1
            if self._seen[key] <= RUNS_BEFORE:
                return function(inputs)
            if self._capture is None:
                return function(inputs)
            own = {name: tensor.clone() for name, tensor in inputs.items()}
            try:
                recorded = _Recorded(own, self._capture(function, own))
            except RuntimeError as error:  # nothing has run: no memory, or a kernel that refuses
                warnings.warn(f"steps are not recorded: {error}", stacklevel=2)
                self._capture = None
                return function(inputs)
            self._recorded[key] = recorded
            if len(self._recorded) > self._kept:
                gone, _ = self._recorded.popitem(last=False)
                del self._seen[gone]
        self._recorded.move_to_end(key)
        recorded = self._recorded[key]
        for name, tensor in inputs.items():
            recorded.inputs[name].copy_(tensor, non_blocking=True)
        self.replayed += 1
        return {name: tensor.clone() for name, tensor in recorded.replay().items()}


class _CudaCapture:
    """CUDA graphs in one memory pool: a graph's memory is free once its outputs are copied."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=torch.cuda.current_stream()):
            outputs = function(inputs)

        def replay() -> Tensors:
            graph.replay()
            return outputs

        return replay
