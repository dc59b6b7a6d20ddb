"""One update: what the host decides, and what the device then computes without asking back.

Shapes: K tasks whose gradients are kept apart.  Draws, losses and outputs are in the order of the
rows of J: draw i has a loss () and outputs (n_i, classes) or (n_i,).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.combiners.base import Combiner
from trainer.config import TrainConfig
from trainer.data.corpus import Corpus
from trainer.loop.clock import StepClock
from trainer.loop.cuda_graphs import GraphCache
from trainer.loop.flat_parameters import FlatParameters
from trainer.loop.loss_scale import LossScale
from trainer.loop.objective import Objective
from trainer.loop.smart import Smart
from trainer.loop.step_data import Inputs, Outputs, Pass, StepLayout, joined
from trainer.model.attention import kernel_for
from trainer.model.heads import MultitaskModel
from trainer.model.packing import Part, alignment, distinct_words, pack, send
from trainer.samplers import Draw, Phase, Step, passes_of


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
        #: None unless the gradients of this precision would round to zero.
        self.loss_scale = LossScale(self.device) if model.encoder.dtype == torch.float16 else None
        self._group_of = groups_of(config, combiner)
        self._keeps_apart = combiner.needs_gramian or config.record_conflicts
        #: Replays steps as CUDA graphs where that is possible: nothing in such a step may wait for
        #: the host.
        self.graph_cache: GraphCache | None = None
        shape = model.encoder.shape
        waits = combiner.needs_gramian and combiner.project is None
        attention = kernel_for(self.device, model.encoder.dtype, shape.hidden // shape.heads)
        if attention.recordable and not waits and not self.smart.acts:
            self.graph_cache = GraphCache.cuda()

    def notes(self) -> dict[str, Any]:
        """What an epoch's record tells about its steps, where there is something to tell."""
        notes: dict[str, Any] = {}
        if self.loss_scale is not None:
            notes["skipped_updates"] = self.loss_scale.take_skipped()
        if self.graph_cache is not None and self.graph_cache.problem:
            notes["recording_problem"] = self.graph_cache.problem
        return notes

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
        orders = None
        if layout.surgery and self.combiner.orders is not None:
            orders = send(self.combiner.orders(len(layout.groups), generator), self.device)
        sizes = {draw.task: len(draw.rows) for draw in step}
        passes = [
            sorted(draws, key=lambda draw: layout.tasks.index(draw.task))
            for draws in passes_of(step)
        ]
        words = None  # a step of one pass finds its words itself
        if len(passes) > 1:
            parts = [self._part(draw) for draws in passes for draw in draws]
            words = distinct_words(parts, self.align)
        return Inputs([self._pass(layout, draws, sizes, words) for draws in passes], orders)

    def _part(self, draw: Draw) -> Part:
        return self.corpus.splits[draw.task]["train"].part(draw.rows)

    def _pass(
        self, layout: StepLayout, draws: Sequence[Draw], sizes: dict[str, int], words: Tensor | None
    ) -> Pass:
        """Pack the draws of one pass, in the order of the rows of J, and send them."""
        numbers = tuple(layout.tasks.index(draw.task) for draw in draws)
        rows, parts = [layout.rows[number] for number in numbers], [self._part(d) for d in draws]
        packed = pack(parts, rows, words, self.align)
        single = []
        if self.smart.acts:
            single = [
                pack([part], [row], packed.words, self.align).to(self.device)
                for part, row in zip(parts, rows, strict=True)
            ]
        labels = [self.corpus.splits[d.task]["train"].labels_of(d.rows) for d in draws]
        return Pass(
            draws=numbers,
            shares=tuple(len(draw.rows) / sizes[draw.task] for draw in draws),
            packed=packed.to(self.device),
            labels=[send(torch.from_numpy(each), self.device) for each in labels],
            single=single,
        )

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
        key = (layout, frozen, tuple(part.key() for part in inputs.passes))
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
        """Forward and backward of all draws of a pass at once, then combine and update.

        Args:
            optimizer: None leaves out the update.
        """
        parameters, words = self.parameters, inputs.words
        rows, passes = max(1, len(layout.groups)), inputs.passes  # K

        # Forward and backward: every task's gradients into its row of J.
        parameters.begin_step(rows, layout.tasks, words, accumulates=self.smart.acts)
        computed = [self._backward(layout, part) for part in passes]
        self.clock.end("forward_backward")

        # Combine the task gradients.
        gramian = weights = None
        if layout.groups:
            gramian = parameters.gramian(rows)  # (K, K)
            if self.loss_scale is not None:
                gramian = self.loss_scale.of_gramian(gramian)
            weights = self._weights(layout, gramian, inputs.orders, generator)  # (K,)
        parameters.combine(weights, words)
        if self.loss_scale is not None:
            self.loss_scale.unscale(parameters.updates())
        if self.config.clip_norm:
            parameters.clip(self.config.clip_norm)
        self.clock.end("surgery" if layout.groups else "forward_backward")

        # Update.
        if optimizer is not None:
            self._update(optimizer)
        parameters.end_step(words)
        self.clock.end("optimizer")
        losses = joined([(p.draws, own) for p, (own, _) in zip(passes, computed, strict=True)])
        return Outputs(
            losses=[loss.sum() for loss in losses],
            outputs=joined([(p.draws, own) for p, (_, own) in zip(passes, computed, strict=True)]),
            gramian=gramian,
        )

    def _backward(self, layout: StepLayout, part: Pass) -> tuple[list[Tensor], list[Tensor]]:
        """Forward and backward of one pass; returns the losses (1,) and outputs of its draws.

        A loss is the mean over the examples, so each pass adds its share of the step's.
        """
        names = [layout.tasks[number] for number in part.draws]
        weights = [layout.weights[number] for number in part.draws]
        outputs = self.model.outputs(names, part.packed)
        losses = []
        for number, (name, task) in enumerate(zip(names, outputs, strict=True)):
            objective = self.objectives[name]
            loss = objective(task, part.labels[number])  # ()
            if self.smart.acts:
                loss = loss + self.smart.penalty(self.tasks[name], part.single[number])
            losses.append(loss * (layout.loss_scale * objective.weight) * part.shares[number])
        weighted = [loss * weight for loss, weight in zip(losses, weights, strict=True)]
        total = torch.stack(weighted).sum()  # ()
        if self.loss_scale is not None:
            total = total * self.loss_scale.factor
        total.backward()
        self.parameters.step_gradients.end_pass(part.packed.rows)
        return [loss.detach()[None] for loss in losses], [task.output.detach() for task in outputs]

    def _update(self, optimizer: torch.optim.Optimizer) -> None:
        if self.loss_scale is None:
            optimizer.step()
            return
        optimizer.found_inf = self.loss_scale.overflow  # type: ignore[attr-defined]
        optimizer.step()
        self.loss_scale.end_step()

    def _weights(
        self, layout: StepLayout, gramian: Tensor, orders: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """The combiner's weights (K,) of the task gradients."""
        if not layout.surgery:
            return gramian.new_ones(len(layout.groups))
        if self.combiner.project is not None and orders is not None:
            return self.combiner.project(gramian, orders)
        return self.combiner.weights(gramian, generator, layout.groups)
