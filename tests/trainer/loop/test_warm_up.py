"""Everything that only the first step of a process does happens before the clock starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.small import small_config
from trainer.loop.run import Run
from trainer.train import train_epoch

#: Trains in a process of its own, which has imported nothing else, and reports what each timed
#: phase imported and built.
TRAIN = """
import contextlib, json, sys
from trainer.config import TrainConfig
from trainer.train import train
from trainer.loop.clock import Clock
import torch

built, phases, timed = [], [], Clock.training
create = torch.optim.Optimizer.__init__

def count(self, *arguments, **options):
    built.append(type(self).__name__)
    create(self, *arguments, **options)

@contextlib.contextmanager
def watched(self):
    before = set(sys.modules)
    built.clear()
    with timed(self):
        yield
    phases.append({"modules": sorted(set(sys.modules) - before), "built": list(built)})

torch.optim.Optimizer.__init__ = count
Clock.training = watched
config = TrainConfig.from_dict(json.loads(sys.argv[1]))
parts = [sorted(epoch.record["parts"]) for epoch in train(config, sys.argv[2])]
print(json.dumps({"phases": phases, "parts": parts}))
"""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"combiner": "sum", "schedule": "linear", "smart_weight": 1.0, "bregman_weight": 1.0},
        {"sampler": "sequential", "optimizer_state": "per_task"},
        pytest.param(
            {"sampler": "annealed", "combiner": "torchjd.UPGrad"},
            marks=pytest.mark.slow(reason="a process of its own for one more combiner"),
        ),
    ],
    ids=str,
)
def test_a_timed_step_imports_no_module_and_builds_no_optimizer(
    cache: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = json.dumps(small_config(cache, **changes).to_dict())
    command = [sys.executable, "-c", TRAIN, config, str(tmp_path / "trial")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert len(seen["phases"]) >= 2
    assert all(phase == {"modules": [], "built": []} for phase in seen["phases"]), seen["phases"]
    assert seen["parts"][0] == seen["parts"][1]


@pytest.mark.parametrize(
    "changes", [{}, {"bregman_weight": 1.0, "schedule": "linear"}, {"freeze": "encoder"}], ids=str
)
def test_warming_up_changes_no_number(cache: Path, changes: dict[str, Any]) -> None:
    config = small_config(cache, **changes)
    cold, warm = Run(config), Run(config)
    warm.warm_up(1)
    assert all(not state.state for state in warm.optimizers.states.values())
    assert warm.optimizers.updates.total() == 0
    assert torch.equal(warm.parameters._values, cold.parameters._values)
    for number in (1, 2):
        (one, files), (other, others) = train_epoch(cold, number), train_epoch(warm, number)
        assert one["train_loss"] == other["train_loss"]
        assert files == others


def test_the_time_of_warming_up_is_not_time_of_training(cache: Path) -> None:
    run = Run(small_config(cache))
    run.warm_up(1)
    assert set(run.clock.seconds) == {"setup"}
    assert sum((run.clock.step.take() or {}).values()) == 0
