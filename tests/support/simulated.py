"""Trials with simulated dev predictions of known skill; nothing is trained."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import stats

from orchestrator.compare.statistics.bootstrap import Draws, Seeds, resampled_metrics
from orchestrator.compare.statistics.dev_predictions import DevSet
from tests.support.ledgers import epoch, write_config
from trainer.config import TrainConfig
from trainer.config.tasks import TASKS
from trainer.loop.evaluation import metric, overall
from trainer.loop.task_metrics import metric_of
from trainer.storage.trial_directory import predictions_name

Predictions = dict[str, np.ndarray]


@dataclass(frozen=True)
class World:
    """Dev sets with a difficulty for each example that is the same for all models.

    A model predicts an example of difficulty u in 0..1 correctly if u + `noise` z < skill. For sts
    the noise of its predictions decreases with skill.
    """

    hard: Predictions
    labels: Predictions
    noise: float

    @classmethod
    def of(
        cls, rng: np.random.Generator, noise: float = 0.3, sst: int = 300, qqp: int = 500,
        sts: int = 200,
    ) -> World:  # fmt: skip
        sizes = {"sst": sst, "qqp": qqp, "sts": sts}
        labels = {name: rng.integers(0, 2, size).astype(float) for name, size in sizes.items()}
        labels["sts"] = rng.uniform(0, 5, sts)
        return cls({name: rng.random(size) for name, size in sizes.items()}, labels, noise)

    def predictions(self, rng: np.random.Generator, skill: float) -> Predictions:
        """What one trained model predicts."""
        predictions = {}
        for name, labels in self.labels.items():
            own = self.noise * rng.standard_normal(len(labels))
            if name == "sts":
                shared = stats.norm.ppf(self.hard[name])
                predictions[name] = labels + 4 * (1 - skill) * (shared + own)
            else:
                predictions[name] = np.where(self.hard[name] + own < skill, labels, 1 - labels)
        return predictions

    def as_seen_by(self, rng: np.random.Generator, taste: float) -> World:
        """The same examples for a method that finds other examples hard, with every seed."""
        hard = {name: u + taste * rng.standard_normal(len(u)) for name, u in self.hard.items()}
        return replace(self, hard=hard)

    def accuracy(self, skill: float) -> float:
        """The expected accuracy over all examples and models of this skill."""
        hard = np.linspace(0, 1, 2001)
        return float(np.mean(stats.norm.cdf((skill - hard) / self.noise)))

    def dev_set(self, trials: dict[str, Predictions]) -> DevSet:
        """The dev set as if read from files."""
        tasks = [TASKS[name] for name in self.labels]
        outcomes = {
            name: [metric_of(t).outcomes(predictions[t.name], self.labels[t.name]) for t in tasks]
            for name, predictions in trials.items()
        }
        return DevSet(tasks, list(self.labels.values()), outcomes)


def experiment(
    rng: np.random.Generator, skills: tuple[float, float], count: int, spread: float, taste: float
) -> Draws:
    """One experiment with two methods and `count` seeds each: the difference in accuracy on sst.

    Skills differ between seeds with standard deviation `spread`. `taste` makes other examples hard
    for each method.
    """
    world = World.of(rng, sst=200, qqp=4, sts=20)
    trials = {}
    for m, skill in enumerate(skills):
        seen = world.as_seen_by(rng, taste) if taste else world
        for s in range(count):
            trials[f"{m}{s}"] = {"sst": seen.predictions(rng, skill + rng.normal(0, spread))["sst"]}
    dev = replace(world, labels={"sst": world.labels["sst"]}).dev_set(trials)
    ids = list(trials)
    scores = dev.metrics(ids)[:, 0].reshape(2, count)
    resampled = resampled_metrics(dev, ids, 400, rng)[:, :, 0].reshape(400, 2, count)
    seeds = Seeds(range(count), 400, rng)
    return seeds.draws(range(count), scores[0] - scores[1], resampled[:, 0] - resampled[:, 1])


def write_predicted(
    sweep: Path, world: World, predictions: Predictions, *,
    status: str = "complete", epochs: int = 1, **options: Any,
) -> str:  # fmt: skip
    """Write a trial with these predictions after its last epoch; return its id.

    `options`: as in `write_trial`.
    """
    directory, recorded = write_config(sweep, options | {"epochs": epochs})
    config = TrainConfig.from_dict((directory.config() or {})["config"])
    tasks = [task for task in config.task_list if task.name in predictions]
    metrics = {t.name: metric(t, predictions[t.name], world.labels[t.name]) for t in tasks}
    for number in range(1, epochs + 1):
        record = epoch(number, 0.0, recorded["minutes"], recorded["contended"])
        record |= overall(metrics, tasks)
        part = record["tasks"]["sst"]
        record["tasks"] = {
            t.name: {**part, "dev_metric": metrics[t.name], "metric": t.metric} for t in tasks
        }
        files = {}
        if number == epochs:
            files[predictions_name(number)] = predictions_file(world, predictions)
        directory.commit(record, files)
    reason = "diverged" if status == "failed" else ""
    directory.write_end(status, reason, {"dev_score": record["dev_score"], "epochs": epochs})
    return Path(directory.path).name


def predictions_file(world: World, predictions: Predictions) -> bytes:
    """The columns of `trainer.loop.evaluation.predictions_file`."""
    columns: dict[str, Any] = {"task": [], "id": [], "label": [], "prediction": [], "score": []}
    for name, values in predictions.items():
        columns["task"] += [name] * len(values)
        columns["id"] += [f"{name}-{number}" for number in range(len(values))]
        columns["label"] += world.labels[name].tolist()
        columns["prediction"] += values.tolist()
        columns["score"] += values.tolist()
    columns["task"] = pa.array(columns["task"]).dictionary_encode()
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()
