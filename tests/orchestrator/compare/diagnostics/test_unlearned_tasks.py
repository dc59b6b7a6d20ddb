"""Beside the scores stands which tasks were not learned, and which fell while training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from orchestrator.ledger import Ledger
from tests.support.compared import RNG, compared, write_pair
from tests.support.simulated import World, write_predicted

SEEDS = (1, 2, 3)


def _of(folder: Path, task: str) -> list[str]:
    return [note for note in compared(folder).notes if note.startswith(f"{task}: ")]


def test_a_task_that_is_guessed_is_named_with_the_guess(tmp_path: Path) -> None:
    """Always the commonest class, and predictions that have nothing to do with the labels."""
    world = write_pair(tmp_path, (0.80, 0.82), seeds=SEEDS)
    share = max(float(np.mean(world.labels["qqp"] == c)) for c in (0, 1))
    commonest = float(np.mean(world.labels["qqp"]) > 0.5)
    for seed in SEEDS:
        made = world.predictions(RNG(seed), 0.8)
        made["qqp"] = np.full(len(made["qqp"]), commonest)
        made["sts"] = np.zeros(len(made["sts"]))
        write_predicted(tmp_path, world, made, sampler="round_robin", seed=seed)
    assert _of(tmp_path, "qqp") == [
        f"qqp: no better than a guess ({share:.3f}): round_robin+pcgrad {share:.3f}."
    ]
    assert _of(tmp_path, "sts") == [
        "sts: no better than a guess (0.000): round_robin+pcgrad 0.000."
    ]
    assert _of(tmp_path, "sst") == []


def test_a_task_that_was_not_trained_is_not_complained_of(tmp_path: Path) -> None:
    world = _two_epochs(tmp_path)
    _write_falling(tmp_path, world, {seed: 0.95 for seed in SEEDS}, examples=0)
    assert _of(tmp_path, "sst") == []


def test_a_task_that_falls_with_every_seed_is_named_with_its_fall(tmp_path: Path) -> None:
    world = _two_epochs(tmp_path)
    _write_falling(tmp_path, world, {1: 0.95, 2: 0.97, 3: 0.99}, examples=100)
    (note,) = _of(tmp_path, "sst")
    assert note.startswith("sst: falls from the first epoch to the last with every seed: ")
    assert "cycle+pcgrad 0.970 to 0.7" in note and "arrp" not in note


def test_one_seed_that_rises_is_no_fall(tmp_path: Path) -> None:
    world = _two_epochs(tmp_path)
    _write_falling(tmp_path, world, {1: 0.95, 2: 0.97, 3: 0.6}, examples=100)
    assert _of(tmp_path, "sst") == []


def _two_epochs(folder: Path) -> World:
    return write_pair(folder, (0.80, 0.82), seeds=SEEDS, annealed={"epochs": 2}, epochs=2)


def _write_falling(folder: Path, world: World, first: dict[int, float], examples: int) -> None:
    """Two epochs; sst had this accuracy behind the first one."""
    for seed, accuracy in first.items():
        made = world.predictions(RNG(seed), 0.75)
        name = write_predicted(folder, world, made, sampler="cycle", seed=seed, epochs=2)
        directory = Path(Ledger(folder.parent, folder.name).directory(name).path)
        for number in (1, 2):
            path = directory / "epochs" / f"{number:03d}.json"
            record = json.loads(path.read_text())
            record["tasks"]["sst"]["examples"] = examples
            if number == 1:
                record["tasks"]["sst"]["dev_metric"] = accuracy
            path.write_text(json.dumps(record))
