"""What a sweep's own run shows: its answer, tables, figures and best score."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.decision.answer.block import headline, markdown
from trainer.printable import markdown_text, printable

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestrator.decision.answer.answer import Answer, Bounded

#: Tag with the hash of a run's artifacts.
_SHOWN = "exhibits"
NOTE = "mlflow.note.content"
#: Tags with the first words of the answer, with its first sentences, and of the sweep.
VERDICT, ANSWER, QUESTION, BEST = "verdict", "answer", "question", "best_trial"


@dataclass(frozen=True)
class SweepDescription:
    """Which sweep is projected.

    Attributes:
        question: in Markdown, as descriptions are.
        sweep_id: distinguishes sweeps of the same name (`--fresh`).
        varied: dotted config keys in which its trials differ.
        common: those of `varied` that act in every trial.
        partial: other keys, which act with some methods only.  A trial's run has no parameters for
            them, because MLflow's pages that compare runs would open on them.
        task_metrics: MLflow's names of its tasks' dev metrics (`dev/sst_accuracy`).
    """

    name: str
    question: str = ""
    sweep_id: str = ""
    varied: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    task_metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepArtifacts:
    """What the run of a whole sweep shows.

    Attributes:
        answer: the answer to the sweep's question.
        metrics: the sweep's own numbers by name.
        files: name -> content, artifacts of the sweep's run.
        of_trials: the same for the runs of a few chosen trials, by trial id.
        best: id of the trial with the best score; empty if no trial is complete.
        best_label: its readable name, with its score.
        register: whether the best trial's model goes into MLflow's registry.
        problem: what could not be computed, and why; empty if nothing.
    """

    answer: Answer
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    of_trials: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    best: str = ""
    best_label: str = ""
    register: bool = False
    problem: str = ""


def show(
    client: MlflowClient,
    parent: str,
    runs: Mapping[str, str],
    artifacts: SweepArtifacts,
    progress: Callable[[], None],
) -> None:
    """Update the sweep's run and the artifacts of the chosen trials' runs.

    Args:
        runs: trial id -> run id.
        progress: called after each step.
    """
    run = client.get_run(parent)
    answer = artifacts.answer
    tags = {ANSWER: headline(answer), QUESTION: answer.question, BEST: artifacts.best}
    for key, text in {**experiment_tags(artifacts), **tags}.items():
        text = printable(text)
        if text and run.data.tags.get(key) != text:
            client.set_tag(parent, key, text)
    now = int(time.time() * 1000)
    for key, value in {**numbers(answer), **artifacts.metrics}.items():
        if run.data.metrics.get(key) != value:
            client.log_metric(parent, key, value, timestamp=now, step=0)
    progress()
    _show_files(client, parent, run.data.tags, artifacts.files, progress)
    for trial_id, files in artifacts.of_trials.items():
        if trial_id in runs:
            tags = client.get_run(runs[trial_id]).data.tags
            _show_files(client, runs[trial_id], tags, files, progress)


def experiment_tags(artifacts: SweepArtifacts) -> dict[str, str]:
    """The tags of the experiment that depend on the answer; MLflow's list of them shows both."""
    return {NOTE: describe(artifacts), VERDICT: artifacts.answer.verdict}


def describe(artifacts: SweepArtifacts) -> str:
    """The description of the run and of its experiment, in Markdown: the answer comes first.

    Its first line is not bold, because MLflow's list of experiments shows it as it is written.
    """
    parts = [markdown(artifacts.answer).replace("**", "", 2)]
    if artifacts.best:
        parts.append(f"Best trial: {markdown_text(artifacts.best_label)} (`{artifacts.best}`)")
    return "\n\n".join(parts)


def numbers(answer: Answer) -> dict[str, float]:
    """The answer's known numbers as metrics: `decision/difference`, `decision/minutes_ratio`."""
    if not answer.contests:
        return {}
    first = answer.contests[0]
    values: dict[str, float | None] = {}
    for key in ("difference", "minutes_ratio", "to_same_score"):
        bounded: Bounded | None = getattr(first, key)
        if bounded is not None:
            ends = {"": bounded.value, "_low": bounded.low, "_high": bounded.high}
            values |= {f"{key}{end}": value for end, value in ends.items()}
    values |= {"margin": answer.margin, "pairs": float(first.pairs)}
    return {
        f"decision/{key}": value
        for key, value in values.items()
        if value is not None and math.isfinite(value)
    }


def _show_files(
    client: MlflowClient,
    run_id: str,
    tags: Mapping[str, str],
    files: Mapping[str, bytes],
    progress: Callable[[], None],
) -> None:
    """Log files as artifacts unless the run has them unchanged; the tag with their hash is last."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    if not files:
        return
    if tags.get(_SHOWN) == digest.hexdigest() and set(files) <= _names(client, run_id):
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            inside = path.parent.relative_to(folder).as_posix()
            client.log_artifact(run_id, str(path), None if inside == "." else inside)
            progress()
    client.set_tag(run_id, _SHOWN, digest.hexdigest())


def _names(client: MlflowClient, run_id: str) -> set[str]:
    """The files that a run has as artifacts; somebody may have deleted them."""
    names, folders = set(), [""]
    while folders:
        for each in client.list_artifacts(run_id, folders.pop() or None):
            if each.is_dir:
                folders.append(each.path)
            else:
                names.add(each.path)
    return names
