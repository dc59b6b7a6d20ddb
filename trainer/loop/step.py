"""One update: what the host decides, and what the device then computes without asking back.

Shapes: K tasks whose gradients are kept apart.  Draws, losses and outputs are in the order of the
rows of J: draw i has a loss () and outputs (n_i, classes) or (n_i,).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.combiners.base import Combiner
from trainer.config import TrainConfig
from trainer.data.corpus import Corpus
from trainer.loop.clock import StepClock
from trainer.loop.cuda_graphs import GraphCache
from trainer.loop.flat_parameters import FlatParameters
from trainer.loop.objective import Objective
from trainer.loop.smart import Smart
from trainer.model.attention import uses_varlen
from trainer.model.heads import MultitaskModel
from trainer.model.packing import Packed, alignment, pack, send
from trainer.samplers import Phase, Step


@dataclass(frozen=True)
class StepLayout:
    """What is fixed before a step computes anything.  Steps of equal layouts differ only in data.

    `tasks`, `rows`, `weights` and `places` have one entry per draw, in the order of the rows of J.
    """

    tasks: tuple[str, ...]
    #: The row of J.
    rows: tuple[int, ...]
    #: The weight of the loss in the sum that is differentiated.
    weights: tuple[float, ...]
    #: The draw's place in the step.
    places: tuple[int, ...]
    #: The tasks, or groups of tasks, whose gradients are kept apart: one for each row of J.  Empty
    #: if none are.
    groups: tuple[str, ...]
    #: Whether the combiner weighs the rows.  Otherwise they are added up.
    surgery: bool
    #: Factor on every loss (ARRP's lambda).
    loss_scale: float
    #: The optimizer state that the step updates with.
    optimizer: str


@dataclass
class Inputs:
    """A step's data on the device."""

    packed: Packed
    #: (n_i,) for each draw.
    labels: list[Tensor]
    #: (K, K), the combiner's random choices, if it has any.
    orders: Tensor | None
    #: Each draw packed by itself, for SMART.
    single: list[Packed]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a captured step reads, by name."""
        tensors = self.packed.tensors()
        tensors |= {f"labels{number}": labels for number, labels in enumerate(self.labels)}
        return tensors if self.orders is None else {**tensors, "orders": self.orders}

    def with_tensors(self, tensors: dict[str, Tensor]) -> Inputs:
        """The same step, reading from other memory."""
        packed = self.packed.with_tensors(tensors)
        labels = [tensors[f"labels{number}"] for number in range(len(self.labels))]
        return Inputs(packed, labels, tensors.get("orders"), self.single)


@dataclass
class Outputs:
    """Losses and outputs of every draw, and G (K, K) if gradients were kept apart."""

    losses: list[Tensor]
    outputs: list[Tensor]
    gramian: Tensor | None


def groups_of(config: TrainConfig, combiner: Combiner) -> dict[str, str]:
    """Task -> the group whose gradients are added up before the combiner sees them."""
    grouped = config.surgery_groups if combiner.needs_gramian else {}
    return {task: grouped.get(task, task) for task in config.tasks}


class Stepper:
    """Takes the steps of a trial: packs, computes, combines, updates."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        model: MultitaskModel,
        parameters: FlatParameters,
        combiner: Combiner,
        clock: StepClock,
    ):
        self.config, self.corpus, self.model, self.parameters = config, corpus, model, parameters
        self.tasks = {task.name: task for task in config.task_list}
        self.combiner, self.clock, self.device = combiner, clock, clock.device
        self.objectives = {
            name: Objective(config, task, corpus.splits[name]["train"].labels, self.device)
            for name, task in self.tasks.items()
        }
        self.smart = Smart(config, model, parameters.step_gradients)
        self.align = alignment(self.device, model.encoder.dtype)
        self._group_of = groups_of(config, combiner)
        self._keeps_apart = combiner.needs_gramian or config.record_conflicts
        #: Replays steps as CUDA graphs where that is possible: nothing in such a step may wait for
        #: the host.
        self.graph_cache: GraphCache | None = None
        shape = model.encoder.shape
        waits = combiner.needs_gramian and combiner.project is None
        if uses_varlen(self.device, model.encoder.dtype, shape.hidden // shape.heads):
            self.graph_cache = None if waits or self.smart.acts else GraphCache.cuda()

    def layout(self, phase: Phase, step: Step) -> StepLayout:
        """Decide which gradients are kept apart, and in which order the draws are packed."""
        names = [self._group_of[draw.task] for draw in step]
        groups = list(dict.fromkeys(names))
        apart = self._keeps_apart and len(groups) > 1 and self.parameters.any_shared_trains
        rows = [groups.index(name) if apart else 0 for name in names]
        places = sorted(range(len(step)), key=rows.__getitem__)
        weights = [1.0] * len(step)
        if not self.combiner.needs_gramian:
            # The weights depend on the number of tasks alone, so they can scale the losses.
            zeros = torch.zeros(len(step), len(step))
            weights = self.combiner.weights(zeros, torch.Generator(), ()).tolist()
        return StepLayout(
            tasks=tuple(step[place].task for place in places),
            rows=tuple(rows[place] for place in places),
            weights=tuple(weights[place] for place in places),
            places=tuple(places),
            groups=tuple(groups) if apart else (),
            surgery=apart and self.combiner.needs_gramian,
            loss_scale=phase.loss_scale,
            optimizer=phase.optimizer,
        )

    def inputs(self, layout: StepLayout, step: Step, generator: torch.Generator) -> Inputs:
        """Pack the sentences of a step and send them to the device."""
        draws = [step[place] for place in layout.places]
        splits = [self.corpus.splits[draw.task]["train"] for draw in draws]
        parts = [split.part(draw.rows) for split, draw in zip(splits, draws, strict=True)]
        packed = pack(parts, layout.rows, align=self.align)
        orders = None
        if layout.surgery and self.combiner.orders is not None:
            orders = send(self.combiner.orders(len(layout.groups), generator), self.device)
        labels = [
            send(torch.from_numpy(split.labels_of(draw.rows)), self.device)
            for split, draw in zip(splits, draws, strict=True)
        ]
        single = []
        if self.smart.acts:
            single = [
                pack([part], [row], packed.words, self.align).to(self.device)
                for part, row in zip(parts, layout.rows, strict=True)
            ]
        return Inputs(packed.to(self.device), labels, orders, single)

    def take(
        self, layout: StepLayout, inputs: Inputs, optimizer: torch.optim.Optimizer,
        frozen: Hashable, generator: torch.Generator,
    ) -> Outputs:  # fmt: skip
        """Take the step, by replaying its CUDA graph where there is one.

        Args:
            frozen: the names of the frozen segments, because a graph holds for them alone.
            generator: the combiner's source of randomness, if it draws any while it computes.
        """
        if self.graph_cache is None:
            return self.compute(layout, inputs, optimizer, generator)
        packed = inputs.packed
        key = (layout, frozen, packed.spans, packed.counts, packed.longest_bound)
        sizes = tuple(tensor.shape for tensor in inputs.tensors().values())

        def run(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            result = self.compute(layout, inputs.with_tensors(tensors), optimizer, generator)
            results = {f"loss{n}": loss for n, loss in enumerate(result.losses)}
            results |= {f"output{n}": output for n, output in enumerate(result.outputs)}
            return results if result.gramian is None else {**results, "gramian": result.gramian}

        results = self.graph_cache.run((key, sizes), inputs.tensors(), run)
        draws = range(len(layout.tasks))
        return Outputs(
            losses=[results[f"loss{number}"] for number in draws],
            outputs=[results[f"output{number}"] for number in draws],
            gramian=results.get("gramian"),
        )

    def compute(
        self, layout: StepLayout, inputs: Inputs, optimizer: torch.optim.Optimizer | None,
        generator: torch.Generator,
    ) -> Outputs:  # fmt: skip
        """Forward and backward of all draws at once, then combine and update.

        Args:
            optimizer: None leaves out the update.
        """
        parameters, packed = self.parameters, inputs.packed
        rows = max(1, len(layout.groups))  # K

        # Forward and backward.
        parameters.begin_step(rows, layout.tasks, packed.words, accumulates=self.smart.acts)
        outputs = self.model.outputs(layout.tasks, packed)
        losses = []
        for number, (name, task) in enumerate(zip(layout.tasks, outputs, strict=True)):
            objective = self.objectives[name]
            loss = objective(task, inputs.labels[number])  # ()
            if self.smart.acts:
                loss = loss + self.smart.penalty(self.tasks[name], inputs.single[number])
            losses.append(loss * (layout.loss_scale * objective.weight))
        weighted = [loss * weight for loss, weight in zip(losses, layout.weights, strict=True)]
        torch.stack(weighted).sum().backward()  # every task's gradients into its row of J
        self.clock.end("forward_backward")

        # Combine the task gradients.
        gramian = weights = None
        if layout.groups:
            gramian = parameters.gramian(rows)  # (K, K)
            weights = self._weights(layout, gramian, inputs.orders, generator)  # (K,)
        parameters.combine(weights, packed.words)
        self.clock.end("surgery" if layout.groups else "forward_backward")

        # Update.
        if optimizer is not None:
            optimizer.step()
        parameters.end_step(packed.words)
        self.clock.end("optimizer")
        detached = [task.output.detach() for task in outputs]
        return Outputs([loss.detach() for loss in losses], detached, gramian)

    def _weights(
        self, layout: StepLayout, gramian: Tensor, orders: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """The combiner's weights (K,) of the task gradients."""
        if not layout.surgery:
            return gramian.new_ones(len(layout.groups))
        if self.combiner.project is not None and orders is not None:
            return self.combiner.project(gramian, orders)
        return self.combiner.weights(gramian, generator, layout.groups)
