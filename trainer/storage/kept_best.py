"""The weights of the best epoch: a trial keeps them beside its newest checkpoints (`keep`).

They are the weights file of that epoch's checkpoint, so its commit record has their sha256 and
nothing is written twice.  Optimizer states are not kept: no trial resumes there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.metrics import Record
from trainer.storage.folder import StoreError
from trainer.storage.summary import BEST, LAST, best_epoch
from trainer.storage.trial_directory import KEPT_CHECKPOINTS, TrialDirectory

if TYPE_CHECKING:
    from trainer.config import TrainConfig


def to_keep(records: Sequence[Record], keep: str) -> set[int]:
    """The earlier epochs whose weights stay at the commit of the next one.

    It is the best of the committed ones, whatever the next one is.  So the best epoch is there
    even after a fall-back to the epoch before.
    """
    return {best_epoch(records)} if keep != LAST and records else set()


def after_resume(
    store: TrialDirectory, records: list[dict[str, object]], config: TrainConfig
) -> tuple[list[dict[str, object]], list[str]]:
    """The epochs to resume after, and a note if the weights of the best one are lost.

    Without them the trial could not tell what the epoch that counts says about the test sets.  So
    it starts again if that is its best epoch, and trains the same epochs.
    """
    if config.keep == LAST or not records:
        return records, []
    best = records[best_epoch(records) - 1]
    try:
        store.weights(best)
    except StoreError as error:
        lost = f"the weights of epoch {best['epoch']}, the best so far, are lost ({error})"
        if config.score == BEST:
            store.forget(after=0)
            return [], [f"{lost}; starting again, because the best epoch counts"]
        return records, [f"{lost}; its scores stay"]
    return records, []


def tidy(store: TrialDirectory, records: Sequence[Record], keep: str) -> None:
    """After the end of a trial: with `keep: best` only the weights of the best epoch stay."""
    if keep == LAST:
        return
    newest = len(records) + 1 if keep == BEST else len(records) - KEPT_CHECKPOINTS + 1
    store.drop_checkpoints(newest, {best_epoch(records)})
