"""The loader that `mlflow.pyfunc.load_model` calls for a model that a sweep registered.

A registered model holds weights, a tokenizer and a config, and names this module.  So loading it
needs an installed orch-mtl, and runs no code from the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainer.inference import InferenceError, Model


def _load_pyfunc(path: str) -> ServedModel:
    return ServedModel(Model.load(Path(path)))


class ServedModel:
    """A trained model that takes and gives data frames."""

    def __init__(self, model: Model):
        self.model = model

    def predict(self, frame: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict each row's task.

        Args:
            frame: columns `task`, `sentence1` and, for tasks with pairs, `sentence2`.

        Returns columns `prediction` and `score` (trainer.inference) under the same index.
        Raises `InferenceError`.
        """
        import pandas

        missing = [column for column in ("task", "sentence1") if column not in frame]
        if missing:
            raise InferenceError(f"no column {' and no column '.join(missing)}")
        results = pandas.DataFrame({"prediction": 0.0, "score": 0.0}, index=frame.index)
        tasks = frame["task"].to_numpy()
        first = frame["sentence1"].to_numpy()
        second = frame["sentence2"].to_numpy() if "sentence2" in frame else None
        for task in dict.fromkeys(tasks):
            rows = (tasks == task).nonzero()[0]
            pairs = [] if second is None else second[rows].tolist()
            predicted = self.model.predict(task, first[rows].tolist(), pairs)
            for column, values in zip(("prediction", "score"), predicted, strict=True):
                results.iloc[rows, results.columns.get_loc(column)] = values
        return results
