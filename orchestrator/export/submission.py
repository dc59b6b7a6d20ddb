"""The course's files to hand in, from one trained model or from the mean of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import UserError
from orchestrator.export.chosen_trial import ChosenTrial, choose_trial
from orchestrator.export.trained_model import config_of, load_model
from trainer.config import TrainConfig
from trainer.config.tasks import TASKS, Task
from trainer.data.corpus import DataError, whole_splits
from trainer.data.split import Split
from trainer.inference import Model
from trainer.loop.evaluation import metric, overall
from trainer.loop.leaderboard import leaderboard_file
from trainer.storage.local_folder import write_whole

#: The folder of the files, as in the course's project.
FOLDER = "predictions"
#: The course's tasks -> their names in its files.
_NAMES = {"sst": "sst", "qqp": "para", "sts": "sts"}
_SPLITS = ("dev", "test")
#: Averages over all seeds of the configuration.
SEEDS = "seeds"


def file_name(task: str, split: str) -> str:
    return f"{_NAMES[task]}-{split}-output.csv"


#: The files that the course expects.
FILES = tuple(file_name(task, split) for split in _SPLITS for task in _NAMES)


@dataclass(frozen=True)
class Where:
    """Which epoch predicts, and on what it runs.

    Attributes:
        epoch: `counted`, `best` or `last`.
        device: `auto`, `cpu` or `cuda`.
        data: the folder of the data, if they moved.
    """

    epoch: str = "counted"
    device: str = "auto"
    data: str | None = None


@dataclass
class Submission:
    """The files, and what is known of them.

    Attributes:
        trials: trial id -> epoch, of the models that predicted.
        files: by name, those that could be written.
        missing: by name, why the others could not.
        metrics: by task, the dev metric of the predictions in the file.
        dev_score: the mean over these tasks; None without a dev file of a scored task.
        notes: what else one should know before the files are handed in.
    """

    trials: dict[str, int] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    dev_score: float | None = None
    notes: list[str] = field(default_factory=list)


def members(name: str, out: str, ensemble: str = "") -> list[ChosenTrial]:
    """The trials whose predictions are averaged; without an ensemble it is a single one.

    Args:
        name: `SWEEP`, `SWEEP@best` or `SWEEP@TRIAL`.
        ensemble: `seeds`, for all complete trials of that trial's configuration, or the trials of
            the sweep, with commas between.

    Raises:
        UserError: there is no such trial, or one is named twice.
    """
    if ensemble and ensemble != SEEDS:
        ids = [part.strip() for part in ensemble.split(",")]
        chosen = [choose_trial(f"{name}@{each}", out) for each in ids]
        found = [each.trial.trial_id for each in chosen]
        if twice := [each for each in found if found.count(each) > 1]:
            raise UserError(f"--ensemble {ensemble}: names the trial {twice[0]} twice")
        return chosen
    best = choose_trial(name, out)
    if not ensemble:
        return [best]
    if not best.seeds:
        raise UserError(f"--ensemble seeds: no complete trial of {best.trial.trial_id}'s settings")
    return [ChosenTrial(best.ledger, trial, best.seeds) for trial in best.seeds]


def submission_of(
    chosen: Sequence[ChosenTrial], where: Where, say: Callable[[str], None] = lambda text: None
) -> Submission:
    """Predict the whole dev and test files with these trials.

    Of several trials, the probabilities of each class and the real values are averaged.  Of equally
    probable classes it is the smaller one.

    Raises:
        UserError: a trial has no weights, its data are not there, the trials do not fit together,
            or none of them has a task of the course.
    """
    _check_weights(chosen)
    result, means = Submission(), dict[tuple[str, str], _Mean]()
    for number, member in enumerate(chosen, 1):
        trial_id = member.trial.trial_id
        say(f"predicting with {trial_id} ({number} of {len(chosen)})")
        model = load_model(member, epoch=where.epoch, device=where.device, data=where.data)
        result.trials[trial_id] = model.description.epoch
        if member.trial.status != "complete":
            result.notes.append(f"{trial_id} is not complete: it is {member.trial.status}")
        for split in _SPLITS:
            for task, part in _parts(model, config_of(member, where.data), split).items():
                mean = means.setdefault((task, split), _Mean(part))
                mean.add(trial_id, part, model.probabilities_of(part))
    for (task, split), mean in means.items():
        predictions = mean.predictions()
        ids = mean.split.column("id")
        result.files[file_name(task, split)] = leaderboard_file(mean.split.task, ids, predictions)
        result.notes += mean.notes(file_name(task, split), result.trials)
        if split == "dev":
            result.metrics[task] = metric(mean.split.task, predictions, mean.split.labels)
    scored = [mean.split.task for (_, split), mean in means.items() if split == "dev"]
    if any(task.scored for task in scored):
        result.dev_score = overall(result.metrics, scored)["dev_score"]
    config = config_of(chosen[0], where.data)
    for task in _NAMES:
        for split in _SPLITS:
            if file_name(task, split) not in result.files:
                result.missing[file_name(task, split)] = _why_missing(config, task, split)
    result.notes += [
        f"{file_name(task, split)}: generated sentences, not the course's"
        for task, split in means
        if config.generates(task)
    ]
    if not result.files:
        raise UserError(f"nothing to hand in: {'; '.join(dict.fromkeys(result.missing.values()))}")
    return result


def write_submission(result: Submission, folder: Path) -> None:
    """Write the files, and delete those of an earlier submission that this one lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for name, content in result.files.items():
        write_whole(folder / name, content)


class _Mean:
    """The mean of several models' probabilities on one split."""

    def __init__(self, split: Split):
        self.split = split
        self._total: Any = 0.0
        self._count = 0

    def add(self, trial_id: str, split: Split, values: np.ndarray) -> None:
        """Add probabilities (n, classes) or real values (n,).

        Raises `UserError` if the trial has other examples or labels than those before.
        """
        task, other = self.split.task, split.task
        if (task.label_classes, task.label_bounds) != (other.label_classes, other.label_bounds):
            raise UserError(f"{trial_id}: its task {task.name} has other labels than the others'")
        if self.split.column("id") != split.column("id"):
            raise UserError(f"{trial_id}: its task {task.name} reads other examples")
        self._total = self._total + values
        self._count += 1

    def predictions(self) -> np.ndarray:
        """The most probable classes, or the mean values, float64 (n,)."""
        mean: np.ndarray = self._total / self._count
        return mean.argmax(axis=1).astype(float) if self.split.task.integer_labels else mean

    def notes(self, file: str, trials: dict[str, int]) -> list[str]:
        """Rows that are in the data but not in the file, and trials that lack the task."""
        dropped = self.split.report["dropped"]
        lines = [
            f"{file}: left out {count:,} row{'s' * (count > 1)}: {why}"
            for why, count in dropped.items()
        ]
        if self._count < len(trials):
            lines.append(f"{file}: of {self._count} of the {len(trials)} trials; others lack it")
        return lines


def _parts(model: Model, config: TrainConfig, split: str) -> dict[str, Split]:
    """That split of the course's tasks that the model was trained on.  Raises `UserError`."""
    wanted = [name for name, task in model.tasks.items() if _is_of_course(task)]
    try:
        return whole_splits(config, split, wanted)
    except DataError as error:
        raise UserError(str(error)) from error


def _is_of_course(task: Task) -> bool:
    """Whether the labels are those of the course's task of that name."""
    return task.name in _NAMES and task.label_classes == TASKS[task.name].label_classes


def _why_missing(config: TrainConfig, name: str, split: str) -> str:
    tasks = {task.name: task for task in config.task_list}
    if name not in tasks:
        return f"the model was not trained on {name}"
    if not _is_of_course(tasks[name]):
        return f"the labels of {name} are not the course's"
    files = ", ".join(tasks[name].files(split))
    return f"{config.data.root} has no {files}" if files else f"{name} names no {split} file"


def _check_weights(chosen: Sequence[ChosenTrial]) -> None:
    """Raise `UserError` if trials have no weights at all, before any data are read."""
    without = [
        each.trial.trial_id
        for each in chosen
        if not each.ledger.directory(each.trial.trial_id).names("checkpoints")
    ]
    if without:
        raise UserError(
            f"{chosen[0].ledger.folder.path}: no weights of {', '.join(without)}, as in a pack; "
            "use the sweep where it was trained"
        )
