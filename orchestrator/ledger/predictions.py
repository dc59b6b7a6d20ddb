"""What a trial predicted for the dev examples after the epoch that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import first_line
from orchestrator.ledger.evaluations import ALL, has_all
from trainer.storage.evaluations import evaluation_predictions, predictions_of
from trainer.storage.folder import StoreError
from trainer.storage.prediction_file import PredictionFileError, read_prediction_file
from trainer.storage.trial_directory import predictions_name

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.ledger.ledger import Ledger, TrialRecord


class PredictionsError(Exception):
    """Predictions that cannot be used; the text names the trial and the reason."""


def read_predictions(ledger: Ledger, trial: TrialRecord) -> pa.Table:
    """A row per dev example: its task, id, label and prediction, numbers as float64.

    The examples are those that give the trial its score: the whole dev sets if it was evaluated on
    them, else the dev sets of its epochs.  Raises `PredictionsError`.
    """
    directory = ledger.directory(trial.trial_id)
    whole = trial.evaluations[ALL] if has_all(trial) else None
    name = evaluation_predictions(ALL) if whole else predictions_name(trial.epoch)
    try:
        content = predictions_of(directory, ALL, whole) if whole else directory.read(name)
        if content is None:
            raise PredictionsError(f"{trial.trial_id}: {name} is missing")
        return read_prediction_file(content)
    except (OSError, StoreError, PredictionFileError) as error:
        reason = first_line(error)
        raise PredictionsError(f"{trial.trial_id}: {name} cannot be read: {reason}") from error
