"""A sweep in Python: its tables, its comparison, its answer, its models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.api import html
from orchestrator.api.answer import Answer
from orchestrator.api.best import Best
from orchestrator.api.comparison import Comparison, comparison_of
from orchestrator.api.model import Model
from orchestrator.compare.options import ComparisonOptions

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.ledger import Ledger


class Sweep:
    """A sweep that was run, complete or not.

    What it returns is read from the sweep's folder at each call, so it is never older than that.

    Attributes:
        ledger: the sweep's folder.
    """

    def __init__(self, ledger: Ledger):
        self.ledger = ledger

    @property
    def name(self) -> str:
        """The sweep's name, which is that of its folder."""
        return self.ledger.name

    @property
    def folder(self) -> str:
        """The path or URI of the sweep's folder."""
        return self.ledger.folder.path

    @property
    def question(self) -> str:
        """The question of the sweep's file."""
        from orchestrator.ledger.listing import question

        return question(self.ledger)

    @property
    def trials(self) -> pa.Table:
        """A row per trial: id, configuration, seed, status, parameters that act, metrics.

        Minutes are means over the epochs, scores those of the epoch that counts.
        """
        return self._table("trials")

    @property
    def epochs(self) -> pa.Table:
        """A row per trial and epoch with every number of its record."""
        return self._table("epochs")

    @property
    def predictions(self) -> pa.Table:
        """A row per complete trial and dev example: trial_id, task, id, label, prediction.

        They are those of the epoch that counts, so they give the trial's score.
        """
        return self._table("predictions")

    @property
    def answer(self) -> Answer:
        """The answer to the sweep's question."""
        return self.compare().answer

    def compare(
        self,
        *,
        metric: str = ComparisonOptions.metric,
        baseline: str = ComparisonOptions.baseline,
        methods: tuple[str, ...] | list[str] = (),
        by: tuple[str, ...] | list[str] = (),
        margin: float = ComparisonOptions.margin,
    ) -> Comparison:
        """Compare the methods, as `orch compare` does.

        Args:
            metric: `dev_score`, `dev_mean` or a task's name.
            baseline: a method or the beginning of its name; annealed PCGrad by default.
            methods: only these, beside the baseline; all by default.
            by: the config keys whose values make a method, instead of sampler, combiner and frozen
                set.
            margin: differences of the metric up to this do not matter; above 0, below 1.

        Raises:
            UserError: there is no such metric, method or key, or the margin is out of range.
        """
        options = ComparisonOptions(metric, tuple(by), baseline, tuple(methods), margin)
        return comparison_of(self.ledger, options)

    def best(self) -> Best:
        """The configuration with the best mean `dev_score` over its seeds.

        Raises:
            UserError: no trial is complete.
        """
        from orchestrator.export.best import best_configuration

        return Best(**vars(best_configuration(self.ledger)))

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

    def __repr__(self) -> str:
        return f"Sweep({self.folder!r})"

    def _repr_html_(self) -> str:
        from orchestrator.ledger.driver_status import Live
        from orchestrator.ledger.listing import sweep_summary

        summary = sweep_summary(self.ledger, Live.of(self.ledger))
        counts = ", ".join(f"{count} {status}" for status, count in summary["trials"].items())
        best = summary["best_dev_score"]
        cells = [counts or "none", "-" if best is None else f"{best:.4f}", self.folder]
        return html.page(
            html.text(f"{self.name}: {summary['question']}".rstrip(": ")),
            html.table(["trials", "best dev score", "folder"], [cells], left=(0, 2)),
            html.text(".answer  .compare()  .best()  .trials  .epochs  .predictions", grey=True),
        )

    def _table(self, name: str) -> pa.Table:
        from orchestrator.api.notebook import shown_as_html
        from orchestrator.export.tables import TABLES

        return shown_as_html(TABLES[name](self.ledger), f"{name} of {self.name}")
