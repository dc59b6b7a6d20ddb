"""What a sweep's own run shows, beside its trials' runs: answer, tables, figures, best score."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Hash of the artifacts that a run has.
_SHOWN = "exhibits"
_NOTE = "mlflow.note.content"


@dataclass(frozen=True)
class SweepDescription:
    """Which sweep is drawn.

    Attributes:
        sweep_id: tells sweeps of one name apart (`--fresh`).
        varied: dotted keys of the config in which its trials differ.
        common: those of them that act in every trial.
        task_metrics: the dev metrics of its tasks (`dev/sst_accuracy`).
    """

    name: str
    question: str = ""
    sweep_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    varied: tuple[str, ...] = ()
    common: tuple[str, ...] = ()
    task_metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepArtifacts:
    """What is worth seeing of a whole sweep.

    Attributes:
        answer: the question's answer in one sentence.
        metrics: the sweep's own figures by name.
        files: name -> content, artifacts of the sweep's run.
        of_trials: the same for a few chosen trials' runs, by trial id.
        best: id of the trial with the best score; empty without a complete one.
        best_label: what people call it, with its score.
        problem: what could not be made, and why; empty if nothing.
    """

    answer: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    of_trials: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    best: str = ""
    best_label: str = ""
    problem: str = ""


def show(
    client: MlflowClient,
    parent: str,
    runs: Mapping[str, str],
    sweep: SweepDescription,
    made: SweepArtifacts,
    progress: Callable[[], None],
) -> None:
    """Bring the sweep's run, and the artifacts of chosen trials' runs, up to `made`.

    Args:
        runs: trial id -> run id.
        progress: called as things are done.
    """
    run = client.get_run(parent)
    note = describe(sweep, made)
    if run.data.tags.get(_NOTE) != note:
        client.set_tag(parent, _NOTE, note)
    now = int(time.time() * 1000)
    for key, value in made.metrics.items():
        if run.data.metrics.get(key) != value:
            client.log_metric(parent, key, value, timestamp=now, step=0)
    progress()
    _show_files(client, parent, run.data.tags, made.files, progress)
    for trial_id, files in made.of_trials.items():
        if trial_id in runs:
            told = client.get_run(runs[trial_id]).data.tags
            _show_files(client, runs[trial_id], told, files, progress)


def describe(sweep: SweepDescription, made: SweepArtifacts) -> str:
    """The run's description, in Markdown."""
    parts = [sweep.question, f"**{made.answer}**" if made.answer else ""]
    if made.best:
        parts.append(f"Best trial: {made.best_label} (`{made.best}`)")
    return "\n\n".join(filter(None, parts))


def _show_files(
    client: MlflowClient,
    run_id: str,
    tags: Mapping[str, str],
    files: Mapping[str, bytes],
    progress: Callable[[], None],
) -> None:
    """Log files as artifacts unless they are there as they are; the tag that says so goes last."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    if not files or tags.get(_SHOWN) == digest.hexdigest():
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
