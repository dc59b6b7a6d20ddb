"""Sweeps in Python: `import orchestrator as orch; orch.load("arrp").model().predict([...])`.

Everything heavy is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.export.chosen_trial import ChosenTrial
    from orchestrator.ledger import Ledger
    from trainer import inference

__all__ = ["Model", "Sweep", "load"]


def load(name: str, out: str = "sweeps") -> Sweep:
    """A sweep by its name, its folder or its URI.

    Args:
        out: the folder of all sweeps.

    Raises:
        UserError: there is no such sweep.
    """
    from orchestrator.ledger.listing import find_sweep

    return Sweep(find_sweep(name, out))


class Sweep:
    """A sweep that was run, complete or not."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger

    @property
    def name(self) -> str:
        return self.ledger.name

    def __repr__(self) -> str:
        return f"Sweep({self.ledger.folder.path!r})"

    def model(
        self,
        trial: str = "best",
        *,
        epoch: str = "counted",
        device: str = "auto",
        data: str | None = None,
    ) -> Model:
        """The model of a trial.

        Args:
            trial: `best` (of the configuration with the best mean over its seeds), or the beginning
                of an id.
            epoch: `counted` (the one whose scores are the trial's), `best` or `last`.
            device: `auto`, `cpu` or `cuda`.
            data: the folder of the data, if they moved.

        Raises:
            UserError: there is no such trial, or its model cannot be loaded.
        """
        from orchestrator.export.chosen_trial import trial_of
        from orchestrator.export.trained_model import load_model

        chosen = trial_of(self.ledger, trial)
        return Model(chosen, load_model(chosen, epoch=epoch, device=device, data=data))


class Model:
    """A trained model that answers about sentences."""

    def __init__(self, chosen: ChosenTrial, model: inference.Model):
        self._chosen = chosen
        self._model = model

    @property
    def trial_id(self) -> str:
        return self._chosen.trial.trial_id

    @property
    def epoch(self) -> int:
        """The epoch whose weights answer."""
        return self._model.description.epoch

    @property
    def tasks(self) -> list[str]:
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
