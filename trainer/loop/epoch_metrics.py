"""Sums over an epoch: losses, training metrics, examples, conflicts between tasks.

Shapes: K tasks whose gradients are kept apart, n examples of a draw.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.combiners.base import conflicts
from trainer.config.tasks import Task
from trainer.loop.evaluation import metric
from trainer.model.losses import loss_of
from trainer.samplers import Draw, Phase


class EpochMetrics:
    """Collects tensors while an epoch runs and reads them at its end.

    So no step waits for the device.
    """

    def __init__(self, tasks: list[Task], sizes: dict[str, int]):
        self.task_list = tasks
        #: For every phase that has ended: name, updates, examples, minutes.
        self.phases: list[dict[str, Any]] = []
        self._tasks = {task.name: task for task in tasks}
        self._sizes = sizes
        #: By task, every draw with its loss, outputs and labels.
        self._draws: dict[str, list[tuple[Draw, Tensor, Tensor, Tensor]]] = {
            task.name: [] for task in tasks
        }
        #: By phase and by the tasks of a step, the Gramians (K, K) of its steps.
        self._gramians: dict[str, dict[tuple[str, ...], list[Tensor]]] = {}

    def add(self, draw: Draw, loss: Tensor, output: Tensor, labels: Tensor) -> None:
        """Add one draw of a step: its loss (), outputs (n, classes) or (n,) and labels (n,)."""
        self._draws[draw.task].append((draw, loss, output, labels))

    def add_gramian(self, phase: str, tasks: list[str], gramian: Tensor) -> None:
        self._gramians.setdefault(phase, {}).setdefault(tuple(tasks), []).append(gramian)

    def end_phase(self, phase: Phase, seconds: float) -> None:
        """Add a phase whose steps have all been taken, and its seconds of training."""
        self.phases.append(
            {
                "name": phase.name,
                "updates": len(phase.steps),
                "examples": phase.examples,
                "minutes": seconds / 60,
            }
        )

    def last_losses(self) -> dict[str, float]:
        """The latest loss of every task that was drawn.  Waits for the device."""
        return {name: float(draws[-1][1]) for name, draws in self._draws.items() if draws}

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Per task: mean training loss and metric, examples, updates, and utilisation.

        Loss and metric are those of the training batches as the step saw them, with dropout and
        with the phase's loss scale.  Utilisation is the share of the training set that the epoch
        saw at least once (P0, Table 1).
        """
        results: dict[str, dict[str, Any]] = {}
        for name, draws in self._draws.items():
            counts = np.array([len(draw.rows) for draw, *_ in draws], dtype=np.float64)
            rows = [draw.rows for draw, *_ in draws]
            seen = np.unique(np.concatenate(rows)) if draws else np.empty(0)
            loss = value = None
            if draws:
                task = self._tasks[name]
                _, losses, outputs, labels = zip(*draws, strict=True)
                weighted = torch.stack(losses).double().cpu().numpy() * counts
                loss = float(weighted.sum() / counts.sum())
                output = torch.cat([o.reshape(len(o), -1) for o in outputs]).squeeze(-1)
                predictions, _ = loss_of(task).predict(output)
                value = metric(
                    task,
                    predictions.double().cpu().numpy(),
                    torch.cat(labels).double().cpu().numpy(),
                )
            results[name] = {
                "train_loss": loss,
                "train_metric": value,
                "examples": int(counts.sum()),
                "updates": len(draws),
                "utilisation": len(seen) / self._sizes[name],
            }
        return results

    def conflicts(self) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Conflicts of the whole epoch, and those of its phases by name.

        `conflict_share` is the share of task pairs with a negative cosine, over all steps.
        `conflicts` has that share for every pair, `cosines` the mean cosine of every pair.  They
        are None and empty if no gradients were kept apart (`sum`, `mean`, one task per step).
        """
        phases = {name: _pairs(gramians) for name, gramians in self._gramians.items()}
        epoch: dict[str, list[tuple[float, bool]]] = {}
        for pairs in phases.values():
            for pair, steps in pairs.items():
                epoch.setdefault(pair, []).extend(steps)
        return _shares(epoch), {name: _shares(pairs) for name, pairs in phases.items()}


def _pairs(
    gramians: dict[tuple[str, ...], list[Tensor]],
) -> dict[str, list[tuple[float, bool]]]:
    """For every pair of tasks and every step, the cosine and whether it is a conflict."""
    pairs: dict[str, list[tuple[float, bool]]] = {}
    for tasks, steps in gramians.items():
        for gramian in torch.stack(steps).cpu():
            if not gramian.any():  # a skipped step (trainer.loop.loss_scale)
                continue
            cosine, conflicting = conflicts(gramian)  # (K, K), (K, K)
            for i, j in combinations(range(len(tasks)), 2):
                pair = "|".join(sorted((tasks[i], tasks[j])))
                pairs.setdefault(pair, []).append((float(cosine[i, j]), bool(conflicting[i, j])))
    return pairs


def _shares(pairs: dict[str, list[tuple[float, bool]]]) -> dict[str, Any]:
    """The three numbers of `EpochMetrics.conflicts`."""
    opposed = [conflict for steps in pairs.values() for _, conflict in steps]
    means = {pair: np.mean(steps, axis=0) for pair, steps in sorted(pairs.items())}
    return {
        "conflict_share": float(np.mean(opposed)) if opposed else None,
        "conflicts": {pair: float(share) for pair, (_, share) in means.items()},
        "cosines": {pair: float(cosine) for pair, (cosine, _) in means.items()},
    }
