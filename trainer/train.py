"""The training algorithm: plan an epoch, take its steps, evaluate, commit, yield."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainer.config import ConfigError, TrainConfig, stored_config
from trainer.config.choices import PRECISIONS
from trainer.data import left_out
from trainer.data.corpus import whole_dev
from trainer.data.sources import fingerprint
from trainer.loop.build import check_methods
from trainer.loop.checkpoint import restore, snapshot
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.epoch_record import epoch_record
from trainer.loop.evaluation import Predictions, predictions_file
from trainer.loop.extra_evaluation import evaluate_trained
from trainer.loop.optimism import optimism_of_trial
from trainer.loop.run import Run
from trainer.metrics import not_finite
from trainer.storage import kept_best
from trainer.storage.evaluations import ALL, read_evaluation, write_evaluation
from trainer.storage.provenance import device_name
from trainer.storage.summary import counted_epoch, summarise
from trainer.storage.trial_directory import (
    WEIGHTS,
    StoreError,
    TrialDirectory,
    checkpoint_name,
    predictions_name,
)

_LOG = logging.getLogger("trainer")
#: Steps between two checks of the losses.  Each check waits for the device.
_STEPS_BETWEEN_CHECKS = 50


class Diverged(RuntimeError):
    """A loss that is not a finite number."""


@dataclass(frozen=True)
class EpochResult:
    """A committed epoch; `record` is what epochs/NNN.json holds (docs/reference/methods.md)."""

    epoch: int
    record: dict[str, Any]


def train(
    config: TrainConfig, directory: str, *, identity: dict[str, Any] | None = None
) -> Iterator[EpochResult]:
    """Train one trial in its directory and yield every epoch after its commit.

    Resumes after the last committed epoch if the directory has one.  A finished trial yields
    nothing.  When the generator is exhausted, end.json has been written.

    Args:
        identity: further keys for config.json (trial id, sweep, ...).  Its `precision` is what
            `auto` became in the trial's sweep.

    Raises:
        PrecisionError: this device would emulate the trial's precision.
        StoreError: the directory holds another trial.
        SamplerError: the data leave nothing for a phase of the sampler.
        ConfigError, DataError, EncoderError, CombinerError, FreezeError: something named in the
            config cannot be used here.
        Diverged: a loss is not finite; end.json says so.
    """
    store = TrialDirectory(directory)
    trial = {"canonical": config.canonical(), "fingerprint": fingerprint(config)}
    check_same_trial(store, {**trial, "score": config.score})
    if store.is_over():
        return
    run = _start(config, store, trial, identity or {})
    records, notes = store.resume_point()
    records, lost = kept_best.after_resume(store, records, config)
    notes += lost
    if records:
        notes += elsewhere(store, device_name(run.device), len(records))
        restore(store, len(records), run.state)
        run.optimizers.count_updates(len(records))
    if len(records) < config.epochs:
        run.warm_up(len(records) + 1)
    for number in range(len(records) + 1, config.epochs + 1):
        try:
            record, files = train_epoch(run, number)
        except Diverged as error:
            store.write_end("failed", "diverged", {"epochs": number - 1, "detail": str(error)})
            raise
        record = {**record, "notes": notes} if notes else record
        records.append(store.commit(record, files, kept_best.to_keep(records, config.keep)))
        notes = []
        yield EpochResult(number, records[-1])
    _finish(run, store, records)
    optimism = optimism_of_trial(store, records, config.task_list)
    store.write_end("complete", "", summarise(records, config.score) | {"optimism": optimism})
    kept_best.tidy(store, records, config.keep)


def _finish(run: Run, store: TrialDirectory, records: list[dict[str, Any]]) -> None:
    """Write what a trial tells about the epoch that counts."""
    epoch = counted_epoch(records, run.config.score)
    if epoch != len(records):
        run.become(store.weights(records[epoch - 1])[0])
    for name, content in run.final_files().items():
        store.write(name, content)
    if run.config.evaluate_at_end == ALL and not _has_all(store, records, epoch):
        trained = run.trained(epoch, records[epoch - 1]["files"][checkpoint_name(epoch, WEIGHTS)])
        record, predictions = evaluate_trained(trained, whole_dev(run.config), {"dev": ALL})
        write_evaluation(store, ALL, record, predictions)


def _has_all(store: TrialDirectory, records: list[dict[str, Any]], epoch: int) -> bool:
    evaluation = read_evaluation(store, ALL, records)
    return evaluation is not None and evaluation["epoch"] == epoch


def train_epoch(run: Run, number: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Train and evaluate one epoch; returns its record and the files to commit with it."""
    run.begin_epoch(number)
    metrics = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
    for phase in run.plan(number):
        run.freeze(phase.frozen)
        before = run.clock.seconds.get("training", 0.0)
        with run.clock.training():
            for index, step in enumerate(phase.steps):
                run.step(phase, step, metrics)
                if index % _STEPS_BETWEEN_CHECKS == 0 or index + 1 == len(phase.steps):
                    with run.on_stream():
                        _check_training(metrics, number)
        metrics.end_phase(phase, run.clock.seconds["training"] - before)

    with run.clock.part("evaluation"):
        run.dev_predictions = predictions = run.evaluate("dev")
    _check_evaluation(predictions, number)

    with run.clock.part("checkpoint"):
        files = snapshot(number, run.state)
        files[predictions_name(number)] = predictions_file(predictions, run.splits("dev"))
    record = epoch_record(number, metrics, predictions, run.clock)
    record |= run.stepper.notes()
    if wrong := not_finite(record):  # gradients overflow before their losses do
        raise Diverged(f"{wrong} is not finite after epoch {number}")
    return record, files


def _check_training(metrics: EpochMetrics, number: int) -> None:
    for task, loss in metrics.last_losses().items():
        if not math.isfinite(loss):
            raise Diverged(f"the training loss of {task} is {loss} in epoch {number}")


def _check_evaluation(predictions: dict[str, Predictions], number: int) -> None:
    for task, predicted in predictions.items():
        if not math.isfinite(predicted.loss):
            raise Diverged(f"the dev loss of {task} is {predicted.loss} after epoch {number}")


def _start(
    config: TrainConfig, store: TrialDirectory, trial: dict[str, Any], identity: dict[str, Any]
) -> Run:
    """Build the trial and write its config.json, unless an earlier start has written it."""
    check_methods(config)
    run = Run(config, kept_precision=kept_precision(store, identity))
    trial = {**trial, "precision": run.precision}
    check_same_trial(store, trial)
    check_same_rows(store, run.corpus.about())
    for line in left_out.lines(left_out.of_rows(run.corpus.about())):
        _LOG.info(line)
    run.plan(1)  # raises what a sampler cannot do with these data
    if store.config() is None:
        store.write_config({**run.description(), **identity, **trial})
    return run


def kept_precision(store: TrialDirectory, identity: dict[str, Any] | None = None) -> str:
    """What `precision: auto` became when the trial or its sweep began; empty if it begins now."""
    for source in (identity, store.config()):
        if (precision := (source or {}).get("precision")) in PRECISIONS:
            return str(precision)
    return ""


def elsewhere(store: TrialDirectory, device: str, epochs: int) -> list[str]:
    """A note if a trial resumes after so many epochs on another device than it began on.

    Devices of two kinds round differently, in the same precision too.
    """
    began = (store.config() or {}).get("device")
    if began in (None, device):
        return []
    note = f"epochs from {epochs + 1} on are of {device}, and the trial began on {began}"
    _LOG.warning("%s: %s", store.path, note)
    return [note]


def check_same_trial(store: TrialDirectory, trial: dict[str, Any]) -> None:
    """Raise `StoreError` if the directory's config.json differs in one of these keys."""
    present = store.config()
    if present is None:
        return
    # Read through today's config: a key that came later has its default there, on both sides.
    try:
        config = TrainConfig.from_dict(stored_config(present))
    except ConfigError:
        config = None
    recorded = {
        **present,
        "canonical": config.canonical() if config else None,
        "score": config.score if config else None,
    }
    for key, value in trial.items():
        if _placeless(recorded.get(key)) != _placeless(value):
            raise StoreError(
                f"{store.path}: holds another trial (its {key} differs from this one's); "
                "choose another folder"
            )


def check_same_rows(store: TrialDirectory, about: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Raise `StoreError` if the trial began with other rows of the same files.

    That happens if another version of this program reads them in another way.

    Args:
        about: `Corpus.about()` as it is now.
    """
    recorded = (store.config() or {}).get("rows") or {}
    differences = []
    for task, splits in about.items():
        for split in ("train", "dev"):  # test files influence no result
            now, before = splits.get(split, {}), recorded.get(task, {}).get(split, {})
            for key in ("usable", "rows"):
                if key in before and before[key] != now.get(key):
                    differences.append(f"{task} {split} {before[key]:,}, now {now.get(key, 0):,}")
                    break
    if differences:
        raise StoreError(
            f"{store.path}: began with other rows of the same files ({'; '.join(differences)}), "
            "because another version of this program wrote it; resume it with that version, or "
            "choose another folder"
        )


def _placeless(value: Any) -> Any:
    """A canonical config without `start_from`: the fingerprint stands for the weights there."""
    is_config = isinstance(value, dict) and "start_from" in value
    return {k: v for k, v in value.items() if k != "start_from"} if is_config else value
