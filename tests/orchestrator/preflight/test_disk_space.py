"""Disk space is asked for before a sweep starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.preflight.disk_space import check_space, checkpoint_bytes, weights_bytes
from orchestrator.spec import SweepSpec, load_spec
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT
from tests.support.small import small_config
from trainer.storage.local_folder import LocalFolder
from trainer.storage.trial_directory import MARGIN_BYTES, WEIGHTS
from trainer.train import train


@pytest.mark.parametrize(
    "changes",
    [{}, {"bregman_weight": 1.0}, {"sampler": "sequential", "optimizer_state": "per_task"}],
    ids=lambda changes: "-".join(changes),
)
def test_a_checkpoint_is_as_large_as_was_estimated(
    cache: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    config = small_config(cache, epochs=1, **changes)
    next(train(config, str(tmp_path)))
    size = sum(file.stat().st_size for file in (tmp_path / "checkpoints/001").iterdir())
    assert checkpoint_bytes(config) == pytest.approx(size, rel=0.02)
    weights = (tmp_path / "checkpoints/001" / WEIGHTS).stat().st_size
    assert weights_bytes(config) == pytest.approx(weights, rel=0.02)


@pytest.fixture(scope="module")
def spec(cache: Path) -> SweepSpec:
    """A random search over a tiny encoder, two trials at a time."""
    changes = [
        f"base.data.cache={cache}", "base.data.size=32", "resources.cpu=0.1", "search.num_trials=8",
        "search.seeds=[1,2]",
    ]  # fmt: skip
    found = load_spec(str(ROOT / "search_spaces" / "arrp.yaml"), "embedded", changes)
    assert found.resources.max_concurrent == 2
    return found


def free(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    monkeypatch.setattr(LocalFolder, "free", lambda folder: int(size))


def test_trials_that_run_together_must_fit(
    spec: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = spec.config_for(spec.enqueue[0], 1)
    size, best = checkpoint_bytes(config), weights_bytes(config)
    ledger = Ledger(tmp_path, spec.name)
    needed = 2 * (3 * size + best) + MARGIN_BYTES
    free(monkeypatch, needed - 1)
    with pytest.raises(SweepError, match=r"2 trials .* need \d+\.\d MB, \d+\.\d MB are free"):
        check_space(spec, ledger, ledger.trials())
    free(monkeypatch, needed)
    check_space(spec, ledger, ledger.trials())
    for seed in (1, 2):  # they go on, and hold two checkpoints each
        write_trial(tmp_path / spec.name, [0.4, 0.5, 0.6], status=None, seed=seed)
    free(monkeypatch, needed - 4 * size)
    check_space(spec, ledger, ledger.trials())
    free(monkeypatch, needed - 4 * size - 1)
    with pytest.raises(SweepError, match="out of disk space"):
        check_space(spec, ledger, ledger.trials())


def test_a_sweep_that_will_not_fit_is_told_so(
    spec: SweepSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = spec.config_for(spec.enqueue[0], 1)
    size, best = checkpoint_bytes(config), weights_bytes(config)
    ledger = Ledger(tmp_path, spec.name)
    whole = 16 * (2 * size + best)
    free(monkeypatch, whole)
    assert check_space(spec, ledger, ledger.trials()) == ""
    free(monkeypatch, whole - 1)
    assert "16 trials leave 2 checkpoints" in check_space(spec, ledger, ledger.trials())
    write_trial(tmp_path / spec.name, [0.5])  # its checkpoints are on the disk already
    assert check_space(spec, ledger, ledger.trials()) == ""
