"""Steps captured as CUDA graphs: a GPU step's thousand kernel launches become one.

A GPU computes a step of a few hundred tokens faster than the host can launch its kernels.  A graph
serves one combination of tensor sizes only.  So the packed tokens are filled up to a multiple
(`packing.alignment`), and a graph is captured for every combination of sizes that comes up again.
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
#: Captures a function of tensors without running it.  What it returns replays the function on the
#: current content of those tensors.
Capture = Callable[[Function, Tensors], Callable[[], Tensors]]

#: Plain runs of a combination of sizes before its capture.  What a first run sets up (optimizer
#: states, workspaces of libraries) must not become part of a graph.
WARM_UP_RUNS = 2
#: The cache keeps so many graphs and drops the one that was not used for longest.
MAX_GRAPHS = 128


@dataclass
class _Graph:
    inputs: Tensors
    replay: Callable[[], Tensors]


class GraphCache:
    """Runs functions of tensors, and replays their graphs when they come up again."""

    def __init__(self, capture: Capture, max_graphs: int = MAX_GRAPHS):
        self._capture: Capture | None = capture
        self._max_graphs = max_graphs
        self._runs: Counter[Hashable] = Counter()
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        #: Runs that replayed a graph.
        self.replayed = 0
        #: Why nothing is captured any more, in one line; empty as long as it is.
        self.problem = ""

    @classmethod
    def cuda(cls) -> GraphCache:
        return cls(_CudaCapture())

    @property
    def graphs(self) -> int:
        return len(self._graphs)

    def run(self, key: Hashable, inputs: Tensors, function: Function) -> Tensors:
        """function(inputs), in new memory.

        Args:
            key: equal for calls that differ only in the content of `inputs`.  The shapes of their
                inputs are equal.
        """
        if key not in self._graphs:
            self._runs[key] += 1
            if self._runs[key] <= WARM_UP_RUNS or self._capture is None:
                return function(inputs)
            copies = {name: tensor.clone() for name, tensor in inputs.items()}
            try:
                self._graphs[key] = _Graph(copies, self._capture(function, copies))
            except RuntimeError as error:  # out of memory, or a kernel that cannot be captured
                self._give_up(error)
                return function(inputs)
            if len(self._graphs) > self._max_graphs:
                oldest, _ = self._graphs.popitem(last=False)
                del self._runs[oldest]
        self._graphs.move_to_end(key)
        graph = self._graphs[key]
        for name, tensor in inputs.items():
            graph.inputs[name].copy_(tensor, non_blocking=True)
        self.replayed += 1
        return {name: tensor.clone() for name, tensor in graph.replay().items()}

    def _give_up(self, error: RuntimeError) -> None:
        """Run everything plainly from here on, and let go of the graphs and their memory."""
        self.problem = str(error).partition("\n")[0]
        warnings.warn(f"steps are not captured as CUDA graphs: {self.problem}", stacklevel=3)
        self._capture = None
        self._graphs.clear()


class _CudaCapture:
    """Captures CUDA graphs into one memory pool.

    They can share it: a graph's memory is free again once its outputs are copied.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        graph, random = torch.cuda.CUDAGraph(), torch.cuda.get_rng_state()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=torch.cuda.current_stream()):
                outputs = function(inputs)
        except RuntimeError:
            _renew_generator(random)
            raise

        def replay() -> Tensors:
            graph.replay()
            return outputs

        return replay


def _renew_generator(state: Tensor) -> None:
    """Give the device's generator this state, in memory that no capture knows.

    An invalidated capture leaves the generator believing that it is still recorded.
    """
    device = torch.cuda.current_device()
    fresh = torch.Generator(device=f"cuda:{device}")
    fresh.set_state(state)
    torch.cuda.default_generators[device].graphsafe_set_state(fresh.graphsafe_get_state())
