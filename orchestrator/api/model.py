"""A trained model in Python: `orch.load("arrp").model().predict([...])`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.export.chosen_trial import ChosenTrial
    from trainer import inference


class Model:
    """A trained model that answers about sentences."""

    def __init__(self, chosen: ChosenTrial, model: inference.Model):
        self._chosen = chosen
        self._model = model

    @property
    def trial_id(self) -> str:
        """The trial that trained it."""
        return self._chosen.trial.trial_id

    @property
    def epoch(self) -> int:
        """The epoch whose weights answer."""
        return self._model.description.epoch

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks that it answers."""
        return list(self._model.tasks)

    def __repr__(self) -> str:
        return f"Model({self.trial_id!r}, epoch={self.epoch}, tasks={self.tasks})"

    def predict(self, texts: Iterable[str | Sequence[str]], task: str = "") -> list[dict[str, Any]]:
        """A row for each sentence, or for each pair of a task with pairs.

        A row has the sentences (`text`, or `text1` and `text2`) and `prediction`: the class's name,
        or the value of a regression.  Class tasks also have `class` (its number) and
        `probabilities` (by the classes' names).

        Args:
            task: may be left out if the model has one.

        Raises:
            UserError: there is no such task, or an entry is not a text (of a pair: two texts).
        """
        from orchestrator.export.answers import answer_rows, text_columns
        from orchestrator.export.trained_model import task_of

        asked = task_of(self._chosen, task)
        if isinstance(texts, str):
            raise UserError("predict: takes a list of sentences; put this one into a list")
        rows = [tuple(each) if isinstance(each, tuple | list) else (each,) for each in texts]
        columns = text_columns(asked)
        for number, row in enumerate(rows):
            if len(row) != len(columns) or not all(isinstance(text, str) for text in row):
                kind = "two sentences" if asked.is_pair else "one sentence"
                raise UserError(f"predict: entry {number}: task {asked.name} needs {kind}")
        probabilities = self._model.probabilities(asked.name, *_columns(rows, len(columns)))
        return [
            {**dict(zip(columns, row, strict=True)), **answer}
            for row, answer in zip(rows, answer_rows(asked, probabilities), strict=True)
        ]


def _columns(rows: Sequence[tuple[str, ...]], count: int) -> list[list[str]]:
    return [[row[number] for row in rows] for number in range(count)]
