"""A trial while it trains: corpus, model, optimizers, clock, and what can be done with them."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import torch

from trainer.combiners import registry as combiners
from trainer.config import TrainConfig, described
from trainer.data.corpus import Corpus, prepare
from trainer.data.split import Split
from trainer.loop import determinism
from trainer.loop.build import build_model
from trainer.loop.checkpoint import TrialState
from trainer.loop.clock import Clock
from trainer.loop.device import (
    DTYPES,
    choose_device,
    reset_peak_memory,
    resolve_precision,
    round_products,
)
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.error_analysis import analysis_file
from trainer.loop.evaluation import Predictions, evaluate
from trainer.loop.extra_evaluation import Trained
from trainer.loop.flat_parameters import FlatParameters
from trainer.loop.leaderboard import leaderboard_file
from trainer.loop.optimizers import Optimizers
from trainer.loop.plan import planned_phases
from trainer.loop.step import Stepper, groups_of
from trainer.model.freezing import frozen_segments
from trainer.model.weights_file import load_into
from trainer.samplers import Phase, Step, accumulate, split_steps
from trainer.samplers import registry as samplers
from trainer.storage.earlier_model import earlier_model
from trainer.storage.provenance import describe_run


class Run:
    """The objects of a trial while it trains; `trainer.train` is the algorithm.

    Args:
        corpus: None reads it from the cache or the files.
        kept_precision: what `precision: auto` became when the trial or its sweep started.

    Raises `PrecisionError` first if this device would emulate the precision.
    """

    def __init__(self, config: TrainConfig, corpus: Corpus | None = None, kept_precision: str = ""):
        self.config = config
        self.device = choose_device(config.device)
        self.precision = resolve_precision(config.precision, self.device, kept_precision)
        round_products(self.precision)
        determinism.settle(config.deterministic, self.device)
        reset_peak_memory(self.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.clock = Clock(self.device)
        with self.clock.part("setup"):
            # Data and model.
            self.corpus = corpus or prepare(config)
            self.tasks = {task.name: task for task in config.task_list}
            torch.manual_seed(config.seed)
            self.model = build_model(config, self.corpus).to(self.device)
            self.model.encoder.dtype = DTYPES[self.precision]

            # Task gradients: a row for every group of tasks whose gradients are kept apart.
            self.combiner = combiners.build(config)
            keeps_apart = self.combiner.needs_gramian or config.record_conflicts
            groups = set(groups_of(config, self.combiner).values())
            rows = len(groups) if keeps_apart else 1
            self.parameters = FlatParameters(self.model, rows, self.model.encoder.dtype)

            # Steps and updates.
            self.stepper = Stepper(
                config, self.corpus, self.model, self.parameters, self.combiner, self.clock.step
            )
            self.smart = self.stepper.smart
            captured = self.stepper.graph_cache is not None
            self._stream = torch.cuda.Stream(self.device) if captured else None
            self.optimizers = Optimizers(self.stepper, self._planned_updates)
        #: Random numbers for combining gradients, with a new seed for every epoch.
        self._order = torch.Generator()
        #: Dev predictions of the newest epoch that this process trained; empty if the model has
        #: become another epoch's.
        self.dev_predictions: dict[str, Predictions] = {}

    @property
    def state(self) -> TrialState:
        """The content of checkpoints."""
        return TrialState(
            self.model, self.parameters, self.optimizers, self.smart, self.stepper.loss_scale
        )

    def description(self) -> dict[str, Any]:
        """The content of config.json: config, statistics of the data, versions, device."""
        about = describe_run(self.device)
        if package := samplers.package(self.config.sampler):
            about["versions"] = {**about["versions"], package[0]: package[1]}
        if self.config.start_from:
            about["started_from"] = earlier_model(self.config.start_from).description()
        return {**described(self.config), "rows": self.corpus.about(), **about}

    def plan(self, number: int) -> list[Phase]:
        """The phases of an epoch, which depend only on config, data sizes and seed."""
        planned = planned_phases(self.config, self.corpus.sizes(), number)
        phases = [accumulate(phase, self.config.accumulate) for phase in planned]
        return [split_steps(phase) for phase in phases] if self.combiner.splits_steps else phases

    def _planned_updates(self, epochs: int) -> Counter[str]:
        """The number of updates in the first epochs, by optimizer state."""
        updates: Counter[str] = Counter()
        for number in range(1, epochs + 1):
            for phase in self.plan(number):
                updates[phase.optimizer] += len(phase.steps)
        return updates

    def warm_up(self, number: int) -> None:
        """Do everything that only the first step of a process or of a trial does.

        That is the gradients of one step of each phase of an epoch, without an update, and the
        creation of its optimizer states.  A process imports modules, starts threads and prepares
        kernels then.  The clock counts it as `setup`, so that the minutes of the first epoch are
        those of the others.  Nothing that a trial computes depends on it: `begin_epoch` seeds all
        random numbers, and the parameters and the optimizer states are untouched.

        Raises `ConfigError` if the trial is `deterministic` and one of its kernels cannot be.
        """
        with self.clock.part("setup"), determinism.naming_kernels():
            phases = self.plan(number)
            self.begin_epoch(number)
            for phase in phases:
                self.freeze(phase.frozen)
                step = phase.steps[0]
                layout = self.stepper.layout(phase, step)
                with self.on_stream():
                    inputs = self.stepper.inputs(layout, step, self._order)
                    self.stepper.compute(layout, inputs, None, self._order)
            with self.on_stream():
                self.optimizers.warm_up(dict.fromkeys(phase.optimizer for phase in phases))
        self.clock.step.take()

    def begin_epoch(self, number: int) -> None:
        """Seed all random numbers from (seed, epoch): a resume needs no saved generators."""
        torch.manual_seed(self.config.seed * 1_000_003 + number)
        self._order.manual_seed(self.config.seed * 1_000_003 + number)
        self.model.encoder.masks.redraw()
        self.combiner.begin_epoch()
        self.model.train()

    def freeze(self, name: str) -> None:
        """Freeze exactly the set of that name (trainer.model.freezing)."""
        names = [segment.name for segment in self.parameters.segments]
        with self.on_stream():
            self.parameters.freeze(frozen_segments(name, names))

    def step(self, phase: Phase, step: Step, metrics: EpochMetrics) -> None:
        """One update: a loss for every task in the step, their gradients combined."""
        self.clock.step.begin()
        layout = self.stepper.layout(phase, step)
        with self.on_stream():
            inputs = self.stepper.inputs(layout, step, self._order)
            self.clock.step.end("data")
            self.optimizers.set_rates(phase.optimizer)
            optimizer = self.optimizers.get(phase.optimizer)
            frozen = self.parameters.frozen
            self.clock.step.end("optimizer")
            result = self.stepper.take(layout, inputs, optimizer, frozen, self._order)
            self.smart.after_update()
            self.clock.step.end("optimizer")
            for place, loss, output, labels in zip(
                layout.places, result.losses, result.outputs, inputs.labels, strict=True
            ):
                metrics.add(step[place], loss, output, labels)
            if result.gramian is not None:
                metrics.add_gramian(phase.name, list(layout.groups), result.gramian)
        self.optimizers.updates[phase.optimizer] += 1

    def on_stream(self) -> contextlib.AbstractContextManager[Any]:
        """The stream of the steps.  CUDA cannot capture a graph on the default stream.

        After a failed capture it is the default stream, which no capture has touched.
        """
        recorder = self.stepper.graph_cache
        if self._stream is not None and recorder is not None and recorder.problem:
            self._stream.synchronize()
            self._stream = None
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def evaluate(self, split: str) -> dict[str, Predictions]:
        """Predictions of every task that has this split."""
        self.parameters.refresh()
        return {
            name: evaluate(
                self.model,
                part,
                batch_size=self.config.eval_batch_size,
                device=self.device,
                align=self.stepper.align,
            )
            for name, part in self.splits(split).items()
        }

    def become(self, weights: bytes) -> None:
        """Take the weights of another epoch, to score them.  Training cannot go on after this."""
        load_into(self.model, weights, "the weights of another epoch")
        self.dev_predictions = {}

    def trained(self, epoch: int, weights: str) -> Trained:
        """The model after an epoch; `weights` is the sha256 of its checkpoint's weights."""
        self.parameters.refresh()
        return Trained(self.model, self.config, self.device, self.precision, epoch, weights)

    def splits(self, split: str) -> dict[str, Split]:
        """That split of every task that has it."""
        return {name: parts[split] for name, parts in self.corpus.splits.items() if split in parts}

    def final_files(self) -> dict[str, bytes]:
        """The files of the epoch that counts: an analysis of the dev errors, and with
        `predict_test` the test predictions in the leaderboard's format."""
        dev = self.dev_predictions or self.evaluate("dev")
        files = {"analysis.json": analysis_file(dev, self.corpus)}
        test = self.evaluate("test") if self.config.predict_test else {}
        for name, predicted in test.items():
            part = self.corpus.splits[name]["test"]
            files[f"test/{name}.csv"] = leaderboard_file(
                predicted.task, part.column("id"), predicted.predictions
            )
        return files
