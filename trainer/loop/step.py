"""One update: what the host decides, and what the device computes from it without asking back."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.combiners.base import Combiner
from trainer.config import TrainConfig
from trainer.config.tasks import Task
from trainer.data.corpus import Corpus
from trainer.loop.clock import StepClock
from trainer.loop.cuda_graphs import GraphCache
from trainer.loop.flat_parameters import FlatParameters
from trainer.loop.smart import Smart
from trainer.model.attention import uses_varlen
from trainer.model.heads import MultitaskModel
from trainer.model.losses import task_loss
from trainer.model.packing import Packed, alignment, pack, send
from trainer.samplers import Phase, Step


@dataclass(frozen=True)
class Plan:
    """What is fixed before a step computes anything; steps of equal plans differ in data alone.

    Per draw, in the order of the rows of J: its task, its row, its weight in the sum of losses
    that is differentiated, and its place in the step.  `loss_scale` belongs to the losses.
    `groups` are the tasks whose gradients are kept apart, or none.
    """

    tasks: tuple[str, ...]
    rows: tuple[int, ...]
    weights: tuple[float, ...]
    places: tuple[int, ...]
    groups: tuple[str, ...]
    surgery: bool
    loss_scale: float
    optimizer: str


@dataclass
class Inputs:
    """A step's data on the device; `orders` are the combiner's random choices, if it has any."""

    packed: Packed
    labels: list[Tensor]
    orders: Tensor | None
    alone: list[Packed]

    def tensors(self) -> dict[str, Tensor]:
        found = self.packed.tensors()
        found |= {f"labels{number}": labels for number, labels in enumerate(self.labels)}
        return found if self.orders is None else {**found, "orders": self.orders}

    def with_tensors(self, tensors: dict[str, Tensor]) -> Inputs:
        """The same step reading from other memory."""
        packed = self.packed.with_tensors(tensors)
        labels = [tensors[f"labels{number}"] for number in range(len(self.labels))]
        return Inputs(packed, labels, tensors.get("orders"), self.alone)


@dataclass
class Outputs:
    """Losses () and outputs of every draw in the order of the plan, and G where it was made."""

    losses: list[Tensor]
    outputs: list[Tensor]
    labels: list[Tensor]
    gramian: Tensor | None


class Stepper:
    """Takes the steps of a trial: packs, computes, combines, updates."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        tasks: dict[str, Task],
        model: MultitaskModel,
        parameters: FlatParameters,
        combiner: Combiner,
        smart: Smart,
        clock: StepClock,
    ):
        self.config, self.corpus, self.tasks = config, corpus, tasks
        self.model, self.parameters, self.smart = model, parameters, smart
        self.combiner, self.clock, self.device = combiner, clock, clock.device
        self.align = alignment(self.device, model.encoder.dtype)
        self.keeps_apart = combiner.needs_gramian or config.record_conflicts
        #: Records steps as graphs where that is possible: nothing in them may wait for the host.
        self.recorder: GraphCache | None = None
        shape = model.encoder.shape
        waits = combiner.needs_gramian and combiner.project is None
        if uses_varlen(self.device, model.encoder.dtype, shape.hidden // shape.heads):
            self.recorder = None if waits or smart.acts else GraphCache.cuda()

    def plan(self, phase: Phase, step: Step) -> Plan:
        group_of = self.config.surgery_groups if self.combiner.needs_gramian else {}
        names = [group_of.get(draw.task, draw.task) for draw in step]
        groups = list(dict.fromkeys(names))
        apart = self.keeps_apart and len(groups) > 1 and self.parameters.any_shared_trains
        surgery = apart and self.combiner.needs_gramian
        rows = [groups.index(name) if apart else 0 for name in names]
        places = sorted(range(len(step)), key=rows.__getitem__)
        fixed = [1.0] * len(step)
        if not self.combiner.needs_gramian:
            # Weights that depend on the number of tasks alone scale the losses instead.
            none = torch.zeros(len(step), len(step))
            fixed = self.combiner.weights(none, torch.Generator(), ()).tolist()
        return Plan(
            tasks=tuple(step[place].task for place in places),
            rows=tuple(rows[place] for place in places),
            weights=tuple(fixed[place] for place in places),
            places=tuple(places),
            groups=tuple(groups) if apart else (),
            surgery=surgery,
            loss_scale=phase.loss_scale,
            optimizer=phase.optimizer,
        )

    def inputs(self, plan: Plan, step: Step, generator: torch.Generator) -> Inputs:
        """Pack the rows of a step and send them to the device."""
        draws = [step[place] for place in plan.places]
        splits = [self.corpus.splits[draw.task]["train"] for draw in draws]
        parts = [split.part(draw.rows) for split, draw in zip(splits, draws, strict=True)]
        packed = pack(parts, plan.rows, align=self.align)
        orders = None
        if plan.surgery and self.combiner.orders is not None:
            orders = send(self.combiner.orders(len(plan.groups), generator), self.device)
        labels = [
            send(torch.from_numpy(split.labels_of(draw.rows)), self.device)
            for split, draw in zip(splits, draws, strict=True)
        ]
        alone = []
        if self.smart.acts:
            alone = [
                pack([part], [row], packed.words, self.align).to(self.device)
                for part, row in zip(parts, plan.rows, strict=True)
            ]
        return Inputs(packed.to(self.device), labels, orders, alone)

    def take(
        self, plan: Plan, inputs: Inputs, optimizer: torch.optim.Optimizer, frozen: Hashable,
        generator: torch.Generator,
    ) -> Outputs:  # fmt: skip
        """The update.  `frozen` names the frozen segments: a recorded step holds for them alone."""
        if self.recorder is None:
            return self.compute(plan, inputs, optimizer, generator)
        packed = inputs.packed
        key = (plan, frozen, packed.spans, packed.counts, packed.longest_bound)
        sizes = tuple(tensor.shape for tensor in inputs.tensors().values())

        def run(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            made = self.compute(plan, inputs.with_tensors(tensors), optimizer, generator)
            found = {f"loss{n}": loss for n, loss in enumerate(made.losses)}
            found |= {f"output{n}": output for n, output in enumerate(made.outputs)}
            return found if made.gramian is None else {**found, "gramian": made.gramian}

        found = self.recorder.run((key, sizes), inputs.tensors(), run)
        count = range(len(plan.tasks))
        return Outputs(
            losses=[found[f"loss{number}"] for number in count],
            outputs=[found[f"output{number}"] for number in count],
            labels=inputs.labels,
            gramian=found.get("gramian"),
        )

    def compute(
        self, plan: Plan, inputs: Inputs, optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
    ) -> Outputs:  # fmt: skip
        """Forward and backward of all draws at once, combine, update."""
        parameters, packed = self.parameters, inputs.packed
        rows = max(1, len(plan.groups))
        parameters.begin_step(rows, plan.tasks, packed.words, adding=self.smart.acts)
        outputs = self.model.outputs(plan.tasks, packed)
        losses = []
        for number, (name, output) in enumerate(zip(plan.tasks, outputs, strict=True)):
            loss = task_loss(self.tasks[name], output, inputs.labels[number])
            if self.smart.acts:
                loss = loss + self.smart.penalty(self.tasks[name], inputs.alone[number])
            losses.append(loss * plan.loss_scale)
        weighted = [loss * weight for loss, weight in zip(losses, plan.weights, strict=True)]
        torch.stack(weighted).sum().backward()
        self.clock.end("forward_backward")
        gramian = weights = None
        if plan.groups:
            gramian = parameters.gramian(rows)
            weights = self._weights(plan, gramian, inputs.orders, generator)
        parameters.combine(weights, packed.words)
        self.clock.end("surgery" if plan.groups else "forward_backward")
        optimizer.step()
        parameters.end_step(packed.words)
        self.clock.end("optimizer")
        return Outputs(
            [loss.detach() for loss in losses],
            [output.detach() for output in outputs],
            inputs.labels,
            gramian,
        )

    def _weights(
        self, plan: Plan, gramian: Tensor, orders: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        if not plan.surgery:
            return gramian.new_ones(len(plan.groups))
        if self.combiner.project is not None and orders is not None:
            return self.combiner.project(gramian, orders)
        return self.combiner.weights(gramian, generator, plan.groups)
