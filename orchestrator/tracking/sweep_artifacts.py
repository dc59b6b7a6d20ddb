"""The artifacts of a whole sweep: its answer, tables, report, and the best trials' files."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable

from orchestrator.compare.compare_sweep import SweepComparison, compare_sweep, trials_of
from orchestrator.compare.methods import counted_metric
from orchestrator.compare.options import ComparisonOptions
from orchestrator.decision.answer.answer import Answer
from orchestrator.decision.answer.answers import answer_of
from orchestrator.decision.answer.block import in_json, markdown
from orchestrator.ledger import RESOLVED, STATUSES, Ledger, TrialRecord
from orchestrator.ledger.best_configuration import best_of
from orchestrator.spec.tracking import TrackingSpec
from orchestrator.tracking import SweepArtifacts
from orchestrator.tracking.background import root_cause
from trainer.printable import json_text
from trainer.storage.trial_directory import predictions_name

logger = logging.getLogger(__name__)

#: The name of this figure in the report; there is none if minutes do not compare.
_FRONTIER = "frontier"


def artifacts_of(
    ledger: Ledger, tracking: TrackingSpec, progress: Callable[[], None]
) -> SweepArtifacts:
    """Everything that the sweep's own run in MLflow shows.

    Each method's best trial also gets its dev predictions and errors.  The other trials have them
    in their directories only.

    Args:
        progress: called after each step, because thousands of trials take seconds.
    """
    chosen = trials_of(ledger)
    progress()
    compared = compare_sweep(ledger, chosen, ComparisonOptions(), lambda text: progress())
    answer = answer_of(ledger, compared)
    progress()
    ranked = best_of(chosen.trials)
    best = ranked[0] if ranked else None
    files = {"sweep.yaml": ledger.folder.read(RESOLVED) or b"", **_tables(compared, answer)}
    of_trials = {trial.trial_id: _of_trial(ledger, trial) for trial in _shown(compared)}
    problem = ""
    if best is not None and tracking.report:
        try:
            _add_report(ledger, compared, answer, files, of_trials, progress)
        except Exception as error:  # the tables stand without it
            logger.debug("report", exc_info=error)
            problem = f"the report cannot be made: {root_cause(error)}"
    counts = Counter(trial.status for trial in [*chosen.trials, *chosen.confirming])
    # With zeros, because trials that were unfinished in the last run no longer are.
    metrics = {f"sweep/{status}_trials": float(counts[status]) for status in STATUSES}
    if best is not None:
        scores = [counted_metric(trial, "dev_score") for trial in ranked]
        metrics["sweep/best_dev_score"] = math.fsum(scores) / len(scores)
    return SweepArtifacts(
        answer=answer,
        metrics=metrics,
        files={name: content for name, content in files.items() if content},
        of_trials=of_trials,
        best=best.trial_id if best else "",
        best_label=_label(compared, best) if best else "",
        register=tracking.registered_model == "best",
        problem=problem,
    )


def _add_report(
    ledger: Ledger,
    compared: SweepComparison,
    answer: Answer,
    files: dict[str, bytes],
    of_trials: dict[str, dict[str, bytes]],
    progress: Callable[[], None],
) -> None:
    """Add the report, its frontier, and the figures of the trials that it shows."""
    from orchestrator.report import make

    report = make(ledger, tell=lambda text: progress(), compared=compared, answer=answer)
    files["report.html"] = report.html.encode()
    for key, figure in report.figures.items():
        owner = next((trial for trial in report.trials if key.startswith(f"{trial}-")), None)
        if key == _FRONTIER:
            files["frontier.svg"] = figure.svg().encode()
        elif owner is not None:
            name = f"figures/{key.removeprefix(f'{owner}-')}.svg"
            of_trials.setdefault(owner, {})[name] = figure.svg().encode()
        progress()


def _tables(compared: SweepComparison, answer: Answer) -> dict[str, bytes]:
    """The comparison as `orch compare` writes it."""
    from orchestrator.compare.output import formats

    by_method = compared.methods
    plain = in_json(answer) | compared.rows.to_dict() | (by_method.to_dict() if by_method else {})
    files = {"compare.json": json_text(plain, indent=1) + "\n"}
    if by_method is not None:
        files["compare.md"] = formats.markdown(markdown(answer), by_method)
        files["compare.csv"] = formats.comma_separated(by_method)
    return {name: text.encode() for name, text in files.items()}


def _label(compared: SweepComparison, best: TrialRecord) -> str:
    """`arrp F=none λ=0.5 B=640 · seed 1, dev_score 0.7812`."""
    config_id = best.identity["config_id"]
    label = next(row.label for row in compared.rows.rows if row.config_id == config_id)
    score = counted_metric(best, "dev_score")
    return f"{label} · seed {best.config['seed']}, dev_score {score:.4f}"


def _shown(compared: SweepComparison) -> Iterable[TrialRecord]:
    """Each method's best trial: the best seed of the configuration that looks best."""
    if compared.methods is None:
        return
    wanted = {each.best_config_id for each in compared.methods.standings if each.best_config_id}
    groups: dict[str, list[TrialRecord]] = {}
    for trial in compared.chosen.trials:
        groups.setdefault(str(trial.identity["config_id"]), []).append(trial)
    for config_id in sorted(wanted):
        yield from best_of(groups[config_id])[:1]


def _of_trial(ledger: Ledger, trial: TrialRecord) -> dict[str, bytes]:
    directory = ledger.directory(trial.trial_id)
    wanted = {
        "predictions/dev.parquet": predictions_name(trial.epoch),
        "errors.json": "analysis.json",
        "trial.json": "config.json",
    }
    files = {name: directory.read(source) for name, source in wanted.items()}
    return {name: content for name, content in files.items() if content is not None}
