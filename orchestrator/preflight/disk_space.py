"""Whether a sweep's checkpoints fit on its disk."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import torch

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.preflight.checks import examples
from orchestrator.spec import SweepSpec
from orchestrator.spec.dry_run import configurations
from trainer.config import TrainConfig
from trainer.data.vocabulary import tokenizer_of
from trainer.model.encoder import Encoder
from trainer.model.encoder_shape import EncoderShape, preset_shape
from trainer.model.pretrained import find_checkpoint
from trainer.samplers import registry as samplers
from trainer.storage.folder import in_words
from trainer.storage.summary import BEST, LAST
from trainer.storage.trial_directory import KEPT_CHECKPOINTS, MARGIN_BYTES

_BYTES = 4  # per parameter; checkpoints are fp32 in any precision
_MOMENTS = 2  # AdamW's, per parameter


def check_space(
    spec: SweepSpec, ledger: Ledger, trials: Sequence[TrialRecord], address: str | None = None
) -> str:
    """A warning if the disk of `--out` is too small for the whole sweep; else empty.

    Raises `SweepError` if it is too small even for the trials that run at the same time: each holds
    `KEPT_CHECKPOINTS`, one more while it commits, and the weights of its best epoch (`keep`).  Does
    nothing for a remote store.
    """
    free = ledger.folder.free()
    if free is None:
        return ""
    unfinished = [trial for trial in trials if trial.status == "unfinished"]
    ended = len(trials) - len(unfinished)
    left = max(0, configurations(spec) * len(spec.search.seeds) - ended)
    # Checkpoints that are already on the disk, first of the trials that resume first.
    held = sorted((min(len(t.records), KEPT_CHECKPOINTS) for t in unfinished), reverse=True)
    configs = list(examples(spec))
    size = max(map(checkpoint_bytes, configs), default=0)
    keep = configs[0].keep if configs else LAST
    best = max(map(weights_bytes, configs), default=0) if keep != LAST else 0
    together = min(_together(spec, address), left)
    more = (KEPT_CHECKPOINTS + 1) * together - sum(held[:together])
    needed = size * more + best * together + MARGIN_BYTES * (together > 0)
    if free < needed:
        others = ", or --set resources.max_concurrent=1" if together > 1 else ""
        raise SweepError(
            f"--out {ledger.out.path}: out of disk space: the checkpoints of {together} trials "
            f"({in_words(size)} each, {KEPT_CHECKPOINTS + 1} per trial{_and_best(best)}) need "
            f"{in_words(needed)}, "
            f"{in_words(free)} are free; free some, choose another --out{others}"
        )
    stay = 0 if keep == BEST else KEPT_CHECKPOINTS
    whole = size * max(0, stay * left - sum(held)) + best * left
    if free < whole:
        newest = f"{stay} checkpoints of {in_words(size)} each" if stay else "no checkpoint"
        return (
            f"disk: {left} trials leave {newest}{_and_best(best)}, {in_words(whole)} in all; "
            f"{in_words(free)} are free in {ledger.out.path}"
        )
    return ""


def _and_best(size: int) -> str:
    return f", and the best epoch's weights of {in_words(size)}" if size else ""


def checkpoint_bytes(config: TrainConfig) -> int:
    """About the size of one checkpoint: weights, AdamW's moments, SMART's slow copy, all fp32.

    It counts the encoder only, because heads are less than 1 % of it.
    """
    reads_it = "optimizer_state" in samplers.entry_of(config.sampler).keys
    apart = reads_it and config.optimizer_state == "per_task"
    states = len(config.tasks) if apart else 1
    copies = 1 + _MOMENTS * states + bool(config.bregman_weight)
    return weights_bytes(config) * copies


def weights_bytes(config: TrainConfig) -> int:
    """About the size of the weights in a checkpoint, all fp32; it counts the encoder only."""
    return parameters(encoder_shape(config)) * _BYTES


def encoder_shape(config: TrainConfig) -> EncoderShape:
    checkpoint = find_checkpoint(config.encoder)
    if checkpoint is not None:
        return checkpoint.shape
    return preset_shape(config.encoder, tokenizer_of(config).get_vocab_size())


@functools.cache
def parameters(shape: EncoderShape) -> int:
    """The number of an encoder's parameters, without allocating them."""
    with torch.device("meta"):
        return sum(values.numel() for values in Encoder(shape).parameters())


def _together(spec: SweepSpec, address: str | None) -> int:
    """How many trials run at the same time; on a cluster, the limit."""
    wanted = spec.resources
    if address is not None:
        return wanted.max_concurrent
    here = wanted.places(os.cpu_count() or 1, torch.cuda.device_count())
    return max(1, min(wanted.max_concurrent, here))
