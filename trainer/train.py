"""The training loop: sampler yields, losses, gradients into J, combine, step, evaluate, commit."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from trainer import known_samplers
from trainer.combiners import combiner
from trainer.config import TrainConfig, check
from trainer.data.corpus import Corpus, Split, fingerprint, prepare
from trainer.loop.build import build_model, check_methods
from trainer.loop.checkpoint import restore, snapshot
from trainer.loop.clock import Clock
from trainer.loop.device import (
    choose_device,
    peak_memory_mb,
    reset_peak_memory,
    resolve_precision,
)
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.error_analysis import analysis_file, leaderboard_file
from trainer.loop.evaluation import Predictions, evaluate, overall, predictions_file
from trainer.loop.flat_parameters import FlatParameters, Segment
from trainer.loop.smart import Smart
from trainer.loop.step import Stepper
from trainer.model.freezing import frozen_segments
from trainer.model.packing import Packed
from trainer.plan import phases_of
from trainer.samplers import Epoch, Phase, Step, split_steps
from trainer.storage.provenance import describe_run
from trainer.storage.trial_directory import StoreError, TrialDirectory, not_finite, predictions_name
from trainer.summary import summarise

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
#: Steps between two looks at the losses; each look waits for the device.
_STEPS_BETWEEN_CHECKS = 50
#: CPU seconds of others that make no epoch contended: what a sweep spends on noting the one before,
#: and the kernel's ticks of 10 ms.  It matters for epochs of a second or two.
_NOTED_S = 0.3


class Diverged(RuntimeError):
    """A loss that is not a finite number."""


@dataclass(frozen=True)
class EpochResult:
    """A committed epoch; `record` is what stands in epochs/NNN.json (docs/methods.md)."""

    epoch: int
    record: dict[str, Any]


def train(
    config: TrainConfig, directory: str, *, identity: dict[str, Any] | None = None
) -> Iterator[EpochResult]:
    """Train one trial in its directory and yield every epoch after its commit.

    Goes on from the last committed epoch if the directory has one; a finished trial yields
    nothing.  When the generator is exhausted, end.json stands.

    Args:
        identity: further keys for config.json (trial id, sweep, ...).  Its `precision` is what
            `auto` became in the trial's sweep.

    Raises:
        PrecisionError: this device would emulate the trial's precision.
        StoreError: the directory holds another trial.
        SamplerError: the data leave nothing for a phase of the sampler.
        DataError, EncoderError, CombinerError, FreezeError: something named in the config
            cannot be used here.
        Diverged: a loss is not finite; end.json says so.
    """
    store = TrialDirectory(directory)
    told = {"canonical": config.canonical(), "fingerprint": fingerprint(config)}
    check_same_trial(store, told)
    if store.end() is not None:
        return
    check_methods(config)
    run = Run(config, kept_precision=kept_precision(store, identity))
    told["precision"] = run.precision
    check_same_trial(store, told)
    run.plan(1)  # raises what a sampler cannot do with these data
    if store.config() is None:
        store.write_config({**run.description(), **(identity or {}), **told})
    records, notes = store.resume_point()
    if records:
        restore(store, records[-1]["epoch"], run)
        run.count_updates(len(records))
    for number in range(len(records) + 1, config.epochs + 1):
        try:
            record, files = run.epoch(number)
        except Diverged as error:
            store.write_end("failed", "diverged", {"epochs": number - 1, "detail": str(error)})
            raise
        record = store.commit({**record, "notes": notes} if notes else record, files)
        records.append(record)
        notes = []
        yield EpochResult(number, record)
    for name, content in run.final_files().items():
        store.write(name, content)
    store.write_end("complete", "", summarise(records))


def check_same_trial(store: TrialDirectory, told: dict[str, Any]) -> None:
    """Raise `StoreError` if the directory's config.json says otherwise."""
    present = store.config()
    if present is None:
        return
    # Read through today's config: a key that came later has its default there, on both sides.
    found, _ = check(present.get("config"))
    recorded = {**present, "canonical": found.canonical() if found else None}
    for key, value in told.items():
        if recorded.get(key) != value:
            raise StoreError(
                f"{store.path}: holds another trial (its {key} differs from this one's); "
                "choose another folder"
            )


def kept_precision(store: TrialDirectory, identity: dict[str, Any] | None = None) -> str:
    """What `precision: auto` became when the trial or its sweep began; empty if it begins now."""
    for source in (identity, store.config()):
        if (precision := (source or {}).get("precision")) in _DTYPES:
            return str(precision)
    return ""


class Run:
    """Everything that lives while a trial trains: corpus, model, optimizer, clock.

    Args:
        corpus: if it is there already.
        kept_precision: what `precision: auto` became when the trial or its sweep began.

    Raises `PrecisionError` before anything else where this device would emulate the precision.
    """

    def __init__(self, config: TrainConfig, corpus: Corpus | None = None, kept_precision: str = ""):
        self.config = config
        self.device = choose_device(config.device)
        self.precision = resolve_precision(config.precision, self.device, kept_precision)
        reset_peak_memory(self.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.clock = Clock(self.device)
        with self.clock.part("setup"):
            self.corpus = corpus or prepare(config)
            self.tasks = {task.name: task for task in config.task_list}
            torch.manual_seed(config.seed)
            self.model = build_model(config, self.corpus).to(self.device)
            self.combiner = combiner(config.combiner, config.reduction, config.combiner_options)
            group_of = config.surgery_groups if self.combiner.needs_gramian else {}
            groups = {group_of.get(name, name) for name in self.tasks}
            self.model.encoder.dtype = _DTYPES[self.precision]
            keeps_apart = self.combiner.needs_gramian or config.record_conflicts
            rows = len(groups) if keeps_apart else 1
            self.parameters = FlatParameters(self.model, rows, self.model.encoder.dtype)
            self.smart = Smart(config, self.model, self.parameters.state)
            self.stepper = Stepper(
                config, self.corpus, self.tasks, self.model, self.parameters, self.combiner,
                self.smart, self.clock.step,
            )  # fmt: skip
            self._stream = (
                torch.cuda.Stream(self.device) if self.stepper.recorder is not None else None
            )
            self.optimizers: dict[str, torch.optim.AdamW] = {}
        self._order = torch.Generator()
        #: Predictions of the newest epoch, where this process trained it.
        self._dev: dict[str, Predictions] = {}
        #: Updates so far by optimizer state.
        self.updates: Counter[str] = Counter()
        self._total_updates: Counter[str] = Counter()

    def description(self) -> dict[str, Any]:
        """config.json: config, data as they were read, versions, device."""
        rows = {
            name: {part: {"rows": len(split), **split.report} for part, split in splits.items()}
            for name, splits in self.corpus.splits.items()
        }
        about = describe_run(self.device)
        if package := known_samplers.package(self.config.sampler):
            about["versions"] = {**about["versions"], package[0]: package[1]}
        return {"config": self.config.to_dict(), "rows": rows, **about}

    def optimizer(self, name: str) -> torch.optim.AdamW:
        """The optimizer state of that name; all act on the same parameters."""
        if name not in self.optimizers:
            recorded = self.stepper.recorder is not None
            self.optimizers[name] = torch.optim.AdamW(
                [
                    {
                        "params": [segment.values for segment in segments],
                        # A recorded step reads its rate from memory.
                        "lr": torch.tensor(rate, device=self.device) if recorded else rate,
                    }
                    for segments, rate in self._rates()
                ],
                weight_decay=self.config.weight_decay,
                fused=True,
                capturable=recorded,
            )
            # The first steps of a recorded trial run plainly, and torch warns of that.
            self.optimizers[name]._warned_capturable_if_run_uncaptured = True
        return self.optimizers[name]

    def _rates(self) -> list[tuple[list[Segment], float]]:
        """The segments that share a learning rate, and that rate."""
        config, parameters = self.config, self.parameters
        if not config.head_learning_rate:
            return [(parameters.segments, config.learning_rate)]
        return [
            (parameters.shared, config.learning_rate),
            (parameters.heads, config.head_learning_rate),
        ]

    def plan(self, number: int) -> list[Phase]:
        """The phases of an epoch: a function of config, sizes and seed alone."""
        config = self.config
        sizes = self.corpus.sizes()
        epoch = Epoch(
            sizes=sizes,
            batch_sizes={task: config.batch_size_of(task) for task in sizes},
            number=number,
            epochs=config.epochs,
            seed=config.seed,
            B=config.B,
            steps_per_epoch=config.steps_per_epoch,
            draws_per_step=config.draws_per_step,
            loss_penalty=config.lambda_,
            frozen=config.freeze,
            train_task=config.train_task,
            task_order=config.task_order,
            pretrain_epochs=config.pretrain_epochs,
            optimizer_per_task=config.optimizer_state == "per_task",
        )
        phases = phases_of(config.sampler, epoch)
        return [split_steps(phase) for phase in phases] if self.combiner.splits_steps else phases

    def epoch(self, number: int) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Train and evaluate one epoch; returns its record and the files to commit with it."""
        # All randomness of an epoch starts from (seed, epoch): resume needs no saved generators.
        torch.manual_seed(self.config.seed * 1_000_003 + number)
        self._order.manual_seed(self.config.seed * 1_000_003 + number)
        self.model.encoder.masks.redraw()
        self.combiner.begin_epoch()
        tally = EpochMetrics(list(self.tasks.values()), self.corpus.sizes())
        phases = []
        self.model.train()
        for phase in self.plan(number):
            before = self.clock.seconds.get("training", 0.0)
            self.freeze(phase.frozen)
            with self.clock.training():
                for index, step in enumerate(phase.steps):
                    self.step(phase, step, tally)
                    if index % _STEPS_BETWEEN_CHECKS == 0 or index + 1 == len(phase.steps):
                        with self.on_stream():
                            self._check(tally, number)
            seconds = self.clock.seconds["training"] - before
            phases.append(
                {
                    "name": phase.name,
                    "updates": len(phase.steps),
                    "examples": phase.examples,
                    "minutes": seconds / 60,
                }
            )
        with self.clock.part("evaluation"):
            predictions = self._dev = self.evaluate("dev")
        for name, made in predictions.items():
            if not math.isfinite(made.loss):
                raise Diverged(f"the dev loss of {name} is {made.loss} behind epoch {number}")
        with self.clock.part("checkpoint"):
            files = snapshot(number, self)
            files[predictions_name(number)] = predictions_file(predictions, self._splits("dev"))
        record = self._record(number, tally, phases, predictions)
        if wrong := not_finite(record):  # gradients overflow before their losses do
            raise Diverged(f"{wrong} is not finite behind epoch {number}")
        return record, files

    def step(self, phase: Phase, step: Step, tally: EpochMetrics) -> None:
        """One update: a loss for every task drawn, their gradients combined."""
        self.clock.step.begin()
        plan = self.stepper.plan(phase, step)
        with self.on_stream():
            inputs = self.stepper.inputs(plan, step, self._order)
            self.clock.step.end("data")
            self._schedule(phase.optimizer)
            optimizer = self.optimizer(phase.optimizer)
            frozen = self.parameters.frozen
            self.clock.step.end("optimizer")
            made = self.stepper.take(plan, inputs, optimizer, frozen, self._order)
            self.smart.after_update()
            self.clock.step.end("optimizer")
            for place, loss, output, labels in zip(
                plan.places, made.losses, made.outputs, made.labels, strict=True
            ):
                tally.add(step[place], loss, output, labels)
            if made.gramian is not None:
                tally.add_gramian(phase.name, list(plan.groups), made.gramian)
        self.updates[phase.optimizer] += 1

    def freeze(self, name: str) -> None:
        """Freeze the set of that name (trainer.model.freezing), and nothing else."""
        with self.on_stream():
            self.parameters.freeze(frozen_segments(name, self._segment_names()))

    def on_stream(self) -> contextlib.AbstractContextManager[Any]:
        """Steps that may be recorded run on a stream of their own: the default one cannot be."""
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def forward(self, task: str, packed: Packed) -> Tensor:
        """The model under the trial's precision."""
        output: Tensor = self.model(task, packed)
        return output

    def _schedule(self, name: str) -> None:
        """Set the rates of this update (`constant` or `linear`, after a warm-up).

        Each optimizer state has a schedule of its own (P1's separate optimizers).
        """
        config, done = self.config, self.updates[name]
        factor = 1.0
        if done < config.warmup_steps:
            factor = (done + 1) / config.warmup_steps
        elif config.schedule == "linear":
            if not self._total_updates:
                self._total_updates = self._planned(config.epochs)
            total = self._total_updates[name]
            factor = (total - done) / max(1, total - config.warmup_steps)
        groups = self.optimizer(name).param_groups
        for group, (_, rate) in zip(groups, self._rates(), strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor

    def count_updates(self, epochs: int) -> None:
        """Take note that so many epochs are behind a resumed trial."""
        self.updates = self._planned(epochs)

    def _planned(self, epochs: int) -> Counter[str]:
        """Updates of the first epochs by optimizer state."""
        found: Counter[str] = Counter()
        for number in range(1, epochs + 1):
            for phase in self.plan(number):
                found[phase.optimizer] += len(phase.steps)
        return found

    def _check(self, tally: EpochMetrics, number: int) -> None:
        for task, loss in tally.last_losses().items():
            if not math.isfinite(loss):
                raise Diverged(f"the training loss of {task} is {loss} in epoch {number}")

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
                forward=self.forward,
            )
            for name, part in self._splits(split).items()
        }

    def _splits(self, split: str) -> dict[str, Split]:
        return {name: parts[split] for name, parts in self.corpus.splits.items() if split in parts}

    def final_files(self) -> dict[str, bytes]:
        """What is written once, behind the last epoch: the dev set's errors taken apart and the
        test predictions in the leaderboard's format (`predict_test`)."""
        files = {"analysis.json": analysis_file(self._dev or self.evaluate("dev"), self.corpus)}
        predicted = self.evaluate("test") if self.config.predict_test else {}
        for name, made in predicted.items():
            files[f"test/{name}.csv"] = leaderboard_file(made, self.corpus.splits[name]["test"])
        return files

    def _segment_names(self) -> list[str]:
        return [segment.name for segment in self.parameters.segments]

    def _record(
        self,
        number: int,
        tally: EpochMetrics,
        phases: list[dict[str, Any]],
        predictions: dict[str, Predictions],
    ) -> dict[str, Any]:
        """docs/methods.md: everything an epoch reports."""
        metrics = {name: made.metric for name, made in predictions.items()}
        contended, foreign_load = self.clock.contention(spared=_NOTED_S)
        seconds, parts = self.clock.take(), self.clock.step.take()
        tasks = tally.tasks()
        for name, made in predictions.items():
            tasks[name] |= {
                "metric": made.task.metric,
                "dev_metric": made.metric,
                "dev_loss": made.loss,
            }
        whole, of_phases = tally.conflicts()
        phases = [phase | of_phases.get(phase["name"], {}) for phase in phases]
        examples = sum(phase["examples"] for phase in phases)
        losses = [values["train_loss"] for values in tasks.values() if values["updates"]]
        return {
            "epoch": number,
            **overall(metrics, list(self.tasks.values())),
            "train_loss": sum(losses) / len(losses),
            "tasks": tasks,
            **whole,
            "phases": phases,
            "updates": sum(phase["updates"] for phase in phases),
            "examples": examples,
            "examples_per_second": examples / max(seconds["training"], 1e-9),
            "minutes_per_epoch": seconds["training"] / 60,
            "parts": parts and {part: found / 60 for part, found in parts.items()},
            "evaluation_minutes": seconds["evaluation"] / 60,
            "checkpoint_minutes": seconds["checkpoint"] / 60,
            "setup_minutes": seconds.get("setup", 0.0) / 60,
            "contended": contended,
            "foreign_load": foreign_load,
            "peak_memory_mb": peak_memory_mb(self.device),
            "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
