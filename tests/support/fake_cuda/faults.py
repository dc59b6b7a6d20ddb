"""Faults of steps on a GPU, each as a small change of the source, and what the device finds.

    python -m tests.support.fake_cuda.faults

puts each of them back by itself, in a process of its own, and prints what was found.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import fake_cuda
from tests.support.fake_cuda.verdict import problem

#: Compute capabilities of a T4 and of an H100.
TURING, HOPPER = (7, 5), (9, 0)


@dataclass(frozen=True)
class Fault:
    """`new` in the place of `old`, which stands once in the file, makes `found` a problem."""

    name: str
    file: str
    old: str
    new: str
    #: Words of the problem.
    found: str
    config: dict[str, Any] = field(default_factory=dict)
    capability: tuple[int, int] = HOPPER
    #: Further keys of the request (`fake_cuda.run`, `verdict.problem`).
    request: dict[str, Any] = field(default_factory=dict)

    def asked(self) -> dict[str, Any]:
        """The steps that show it."""
        config = {"precision": "auto", "sampler": "round_robin", **self.config}
        return {"config": config, "capability": self.capability, **self.request}

    def shown(self, library: Path, folder: Path) -> str:
        """The problem that the device finds with the fault put back; empty if it finds none."""
        change = {"file": self.file, "old": self.old, "new": self.new}
        (answer,) = fake_cuda.run(library, [self.asked()], folder, change)
        return problem(self.asked(), answer)


_STEP, _PACKING = "trainer/loop/step.py", "trainer/model/packing.py"
_GRIDS, _KERNELS = "trainer/model/attention/grids.py", "trainer/model/attention/kernels.py"

FAULTS = (
    # Copies that the host waits for.
    Fault(
        "a batch is copied from memory that is not pinned", _PACKING,
        "return tensor.pin_memory().to(device, non_blocking=True)", "return tensor.to(device)",
        "_to_copy from cpu",
    ),
    Fault(
        "attention's layout is copied and waited for", _GRIDS,
        "return send(torch.from_numpy(array), like.device)",
        "return torch.from_numpy(array).to(like.device)",
        "in model/attention/grids.py:tensor", request={"grids": True},
    ),
    Fault(
        "projection orders are copied and waited for", _STEP,
        "send(self.combiner.orders(len(layout.groups), generator), self.device)",
        "self.combiner.orders(len(layout.groups), generator).to(self.device)",
        "in loop/step.py:inputs",
    ),
    Fault(
        "a mask is drawn on the host", "trainer/model/dropout.py",
        "mask = torch.empty(shape, dtype=like.dtype, device=like.device)",
        "mask = torch.randn(shape, dtype=like.dtype).to(like.device)",
        "in model/dropout.py:take",
    ),
    Fault(
        "a learning rate is made anew in each step", "trainer/loop/optimizers.py",
        'group["lr"].fill_(rate * factor)', 'group["lr"].copy_(torch.tensor(rate * factor))',
        "in loop/optimizers.py:set_rates",
    ),
    # Numbers that the host asks for.
    Fault(
        "a loss is read in each step", _STEP,
        "total.backward()", "total.item()\n        total.backward()",
        "_local_scalar_dense",
    ),
    Fault(
        "metrics are read in each step", "trainer/loop/run.py",
        "metrics.add(step[place], loss, output, labels)",
        "metrics.add(step[place], torch.tensor(float(loss)), output, labels)",
        "_local_scalar_dense",
    ),
    Fault(
        "clipping asks for the length of the gradient", "trainer/loop/flat_parameters.py",
        "length = torch.where(torch.isfinite(length), length, 0.0)",
        "length = length if torch.isfinite(length) else 0 * length",
        "_local_scalar_dense", {"clip_norm": 1.0},
    ),
    # Devices and types that do not mix.
    Fault(
        "labels stay on the host", _STEP,
        "labels=[send(torch.from_numpy(each), self.device) for each in labels]",
        "labels=[torch.from_numpy(each) for each in labels]",
        "device",
    ),
    Fault(
        "class weights stay on the host", "trainer/loop/objective.py",
        "weights.to(device)", "weights", "device", {"class_weights": "balanced"},
    ),
    Fault(
        "the bias of padding stays on the host", _GRIDS,
        "bias = send(torch.from_numpy(padding).to(like.dtype), like.device)",
        "bias = torch.from_numpy(padding).to(like.dtype)",
        "device", request={"grids": True},
    ),
    Fault(
        "the loss scale stays on the host", _STEP,
        "LossScale(self.device) if", 'LossScale(torch.device("cpu")) if',
        "in loop/step.py:_update", {"precision": "fp16"},
    ),
    Fault(
        "losses are weighed with fp64 numbers of the host", _STEP,
        "total = torch.stack(weighted).sum()",
        "total = (torch.stack(weighted) * torch.ones(len(weighted)).double()).sum()",
        "device",
    ),
    Fault(
        "gradients are combined with fp64 weights", "trainer/loop/flat_parameters.py",
        "weights = send(weights.to(self._dense_update.dtype), self._dense_update.device)",
        "weights = weights.double()",
        "dtype",
    ),
    Fault(
        "a head gets half precision", "trainer/model/heads.py",
        "self.heads[task](self.dropout(features))",
        "self.heads[task](self.dropout(features).half())",
        "dtype",
    ),
    # What `deterministic: true` cannot have.
    Fault(
        "losses are added by a kernel whose order is not fixed", _STEP,
        "total = torch.stack(weighted).sum()", "total = torch.stack(weighted).cumsum(0)[-1]",
        "no deterministic form: cumsum",
    ),
    Fault(
        "deterministic does nothing", "trainer/loop/run.py",
        "determinism.settle(config.deterministic, self.device)",
        "determinism.settle(False, self.device)",
        "deterministic is False, not True", {"deterministic": True},
        request={"expects": {"deterministic": True}},
    ),
    # The fast path that is not taken.
    Fault(
        "auto forgets fp16", "trainer/loop/device.py",
        'AUTO = ("bf16", "fp16", "fp32")', 'AUTO = ("bf16", "fp32")',
        "precision is fp32, not fp16", capability=TURING,
        request={"expects": {"precision": "fp16"}},
    ),
    Fault(
        "older GPUs have no attention kernel", _KERNELS,
        "torch.float16: (5, 3)", "torch.float16: (8, 0)",
        "attention is grids, not memory-efficient", capability=TURING,
        request={"expects": {"attention": "memory-efficient"}},
    ),
    Fault(
        "steps are not recorded", _STEP,
        "self.graph_cache = GraphCache.cuda()", "pass",
        "recorded is False", request={"expects": {"recorded": True}},
    ),
    Fault(
        "the encoder runs twice", _STEP,
        "outputs = self.model.outputs(names, part.packed)",
        "self.model.outputs(names, part.packed)\n        "
        "outputs = self.model.outputs(names, part.packed)",
        "operators", request={"counts": True},
    ),
)  # fmt: skip


def main() -> int:
    """Put every fault back; returns 1 if one of them is not found."""
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        library = fake_cuda.build(Path(name))
        for number, fault in enumerate(FAULTS):
            folder = Path(name) / str(number)
            folder.mkdir()
            shown = fault.shown(library, folder)
            found = fault.found in shown
            missed += not found
            print("found " if found else "MISSED", f"{fault.name}: {_line(shown)}", flush=True)
    return int(missed > 0)


def _line(text: str) -> str:
    return (text.strip().splitlines() or ["nothing"])[-1][:160]


if __name__ == "__main__":
    sys.exit(main())
