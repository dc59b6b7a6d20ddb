"""Ray's own memory monitor ends a worker: the trial is tried again, the sweep goes on."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from orchestrator import runner
from tests.support.attempts import Sweep, make_spec
from tests.support.paths import ROOT

#: What a trial may take beyond what the machine uses already, before Ray ends it.
MEMORY = 5 * 2**29


@pytest.mark.exhaustive(reason="fills gigabytes of memory")
def test_a_worker_that_ray_ends_for_its_memory_ends_no_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray ends workers once the machine uses `MEMORY` more than it does now."""
    memory = psutil.virtual_memory()
    if memory.available < 3 * MEMORY:
        pytest.skip("too little memory on this machine")
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    monkeypatch.setenv("HOG_MB", str(2 * MEMORY // 2**20))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    share = min(0.99, (memory.total - memory.available + MEMORY) / memory.total)
    monkeypatch.setenv("RAY_memory_usage_threshold", str(share))
    with runner.cluster(make_spec("nothing").resources, None):
        sweep = Sweep(make_spec("hog"), tmp_path, 1)
    assert sweep.queue.error == ""
    assert sweep.trial("hog").status == "complete"
    assert any("Ray's memory monitor ended its process" in line for line in sweep.lines("hog"))
