"""The strongest contestant of step.py and epochs.py: what a skilled user writes with transformers.

It has the model, dropout and optimizer of `Usual`.  Beyond that,

- batches hold examples of similar length, so that almost no slot is padding,
- backward yields each task's gradients once, and they go straight into the rows of one matrix J,
- torchjd's PCGrad sees the Gramian of J alone, and its weights combine the rows in one product,
- `compiled`: every layer goes through torch.compile, with dynamic shapes.  The layers share one
  compiled graph, which takes a minute or less to make where the whole model takes several.

Imported, not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from contestants import Batch, Usual, pcgrad_weights
from torch import Tensor

from trainer.data.corpus import Corpus
from trainer.loop.run import Run
from trainer.samplers import Draw, Step


class Tuned(Usual):
    """`Usual` with gradients in one matrix, combined through its Gramian.

    Args:
        surgery: `gramian` (PCGrad), or `none` (backward of the summed losses).
        compiled: compile the layers.  Such a model is not shared with other contestants.
        beside: another contestant whose model and optimizer this one uses.
    """

    def __init__(
        self, run: Run, surgery: str = "gramian", precision: str = "fp32",
        compiled: bool = False, beside: Usual | None = None,
    ):  # fmt: skip
        super().__init__(run, surgery, precision, beside=None if compiled else beside)
        for layer in self.bert.encoder.layer if compiled else ():
            layer.compile(dynamic=True)
        sizes = [parameter.numel() for parameter in self.shared]
        #: J, (K, P), and what its rows and the update (P,) are for each parameter.
        self.jacobian = torch.zeros(
            len(self.tasks) if surgery == "gramian" else 0, sum(sizes), device=self.device
        )
        self.update = torch.zeros(self.jacobian[:1].numel(), device=self.device)
        self._views = [self._shaped(row) for row in self.jacobian]

    def _shaped(self, row: Tensor) -> list[Tensor]:
        """Views of a row (P,) in the shapes of the parameters."""
        parts = row.split([parameter.numel() for parameter in self.shared])
        return [part.view_as(p) for part, p in zip(parts, self.shared, strict=True)]

    def _gramian(self, batches: list[Batch]) -> None:
        for views, (task, batch, labels) in zip(self._views, batches, strict=False):
            head = list(self.heads[task].parameters())
            loss = self._loss(task, self._pooled(batch), labels)
            gradients = torch.autograd.grad(loss, [*self.shared, *head])
            torch._foreach_copy_(views, list(gradients[: len(self.shared)]))
            for parameter, gradient in zip(head, gradients[len(self.shared) :], strict=True):
                parameter.grad = gradient
        rows = self.jacobian[: len(batches)]
        weights = pcgrad_weights(rows @ rows.T)  # (K,)
        torch.mv(rows.T, weights, out=self.update)
        for parameter, part in zip(self.shared, self._shaped(self.update), strict=True):
            parameter.grad = part


def by_length(corpus: Corpus, steps: Sequence[Step]) -> list[Step]:
    """The same examples in as many steps, each with examples of similar length.

    Steps come in the order of their lengths, and a step has as many examples of each task as
    before.
    """
    ordered: dict[str, np.ndarray] = {}
    for task in {draw.task for step in steps for draw in step}:
        rows = np.concatenate([d.rows for step in steps for d in step if d.task == task])
        lengths = corpus.splits[task]["train"].lengths[rows]
        ordered[task] = rows[np.argsort(lengths, kind="stable")]
    taken = dict.fromkeys(ordered, 0)
    result: list[Step] = []
    for step in steps:
        draws = []
        for draw in step:
            begin = taken[draw.task]
            taken[draw.task] = end = begin + len(draw.rows)
            draws.append(Draw(draw.task, ordered[draw.task][begin:end]))
        result.append(tuple(draws))
    return result


def compiles() -> str:
    """Why torch.compile cannot work here; empty if it can."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except RuntimeError:  # torch's own error for a machine without one
        return "torch.compile needs a C++ compiler, and none is here"
    return ""


def strongest(seconds: dict[str, list[float]], precision: str) -> dict[str, Any]:
    """Who of the others is the fastest with PCGrad, and how many times as fast ours is.

    Seconds are summed over all rounds, because contestants with ordered examples have the same ones
    as ours over all rounds, but not within a round.

    Returns:
        `strongest_<precision>` and `speedup_strongest_<precision>`, nothing without a pair to
        compare.
    """
    ours = seconds.get(f"ours_{precision}")
    others = {
        name: sum(values)
        for name, values in seconds.items()
        if name.endswith((f"pcgrad_{precision}", f"rows_{precision}"))
    }
    if not ours or not others:
        return {}
    best = min(others, key=others.__getitem__)
    return {
        f"strongest_{precision}": best,
        f"speedup_strongest_{precision}": others[best] / sum(ours),
    }
