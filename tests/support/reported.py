"""A sweep whose report has every part, made without training and with hostile names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from orchestrator.ledger import Ledger
from tests.support.simulated import World, write_predicted
from trainer.storage.trial_directory import TrialDirectory

HOSTILE = "<script>alert(1)</script>\"'&$x_1$ <b>ü</b>"
TASKS = ["sst", "qqp", "sts", "cfimdb"]


@dataclass(frozen=True)
class Labelled(World):
    """Dev sets of five classes, of pairs, of similarities and of two classes."""

    def predictions(self, rng: np.random.Generator, skill: float) -> dict[str, np.ndarray]:
        found = super().predictions(rng, skill)
        near = np.clip(self.labels["sst"] + rng.choice([-1, 1, 2], len(self.labels["sst"])), 0, 4)
        right = found["sst"] == self.labels["sst"]
        return found | {"sst": np.where(right, self.labels["sst"], near)}


def world(rng: np.random.Generator, size: int = 200) -> Labelled:
    labels = {
        "sst": rng.integers(0, 5, size).astype(float),
        "qqp": rng.integers(0, 2, size).astype(float),
        "sts": rng.uniform(0, 5, size),
        "cfimdb": rng.integers(0, 2, size).astype(float),
    }
    return Labelled({name: rng.random(size) for name in labels}, labels, 0.05)


def analysis(made: Labelled) -> dict[str, Any]:
    """analysis.json with the text of one error per task."""
    wrong = {"id": "x-1", "text": [HOSTILE, "another sentence"], "label": 1.0, "prediction": 0.0}
    shares = {"sst": [0.1, 0.2, 0.4, 0.2, 0.1], "qqp": [0.6, 0.4], "cfimdb": [0.5, 0.5]}
    return {
        name: {"over": 0.1, "worst": [wrong], "label_share": shares.get(name)}
        for name in made.labels
    }


def write_sweep(
    folder: Path, *, seeds: tuple[int, ...] = (1, 2, 3), epochs: int = 3,
    contended: bool | None = False,
) -> Ledger:  # fmt: skip
    """Annealed, two configurations of ARRP, tasks alone, a pruned and a failed trial."""
    rng = np.random.default_rng(0)
    made = world(rng)
    tried: list[dict[str, Any]] = [
        {"sampler": "annealed", "minutes": 3.0, "skill": 0.80},
        {"sampler": "arrp", "B": 400, "minutes": 1.0, "skill": 0.78},
        {"sampler": "arrp", "B": 900, "minutes": 2.0, "skill": 0.81},
        {"sampler": "round_robin", "minutes": 0.5, "skill": 0.70},
        *({"sampler": "single_task", "train_task": name, "minutes": 1.0, "skill": 0.75}
          for name in TASKS[:2]),
    ]  # fmt: skip
    for entry in tried:
        options = {key: value for key, value in entry.items() if key != "skill"}
        for seed in seeds:
            name = write_predicted(
                folder, made, made.predictions(rng, entry["skill"] + seed / 200), epochs=epochs,
                contended=contended, seed=seed, tasks=TASKS, **options,
            )  # fmt: skip
            directory = TrialDirectory(str(folder / "trials" / name))
            directory.write("analysis.json", json.dumps(analysis(made)).encode())
            _spread(folder / "trials" / name, seed)
    for status, reason in (("failed", HOSTILE), ("pruned", "asha")):
        write_predicted(
            folder, made, made.predictions(rng, 0.6), epochs=epochs, seed=1, tasks=TASKS,
            sampler="proportional", dropout=0.3 if status == "pruned" else 0.4, status=status,
        )  # fmt: skip
        (path,) = (p for p in (folder / "trials").glob("*/end.json") if status in p.read_text())
        end = json.loads(path.read_text()) | {"reason": reason}
        path.write_text(json.dumps(end))
    spec = {
        "name": folder.name,
        "question": HOSTILE,
        "base": {"epochs": epochs, "tasks": TASKS, "data": {"source": "synthetic"}},
        "tracking": {"uri": "postgresql://user:${ORCH_SECRET}@somewhere/mlflow"},
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(spec, allow_unicode=True))
    return Ledger(folder.parent, folder.name)


def _spread(trial: Path, seed: int) -> None:
    """Lower the scores of earlier epochs, so that curves rise; add cosines of gradients."""
    paths = sorted((trial / "epochs").glob("*.json"))
    for place, path in enumerate(paths, 1):
        record = json.loads(path.read_text())
        record["cosines"] = {"qqp|sst": 0.2 - 0.05 * place, "sst|sts": 0.01 * seed}
        record["conflicts"] = {"qqp|sst": 0.5, "sst|sts": 0.25}
        record["parts"] = {"data": 0.01, "forward_backward": 0.7, "surgery": 0.1, "optimizer": 0.1}
        if place < len(paths):
            for task in record["tasks"].values():
                task["dev_metric"] *= 0.7 + 0.3 * place / len(paths)
            record["dev_score"] *= 0.7 + 0.3 * place / len(paths)
        path.write_text(json.dumps(record))
