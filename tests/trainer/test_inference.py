"""A trained model away from where it was trained."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.hosts import multiplying_bf16
from tests.support.small import small_config
from trainer.inference import Model, export
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train


def test_a_bf16_model_says_where_it_is_slow(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(cache, precision="bf16-emulated", epochs=1)
    for _ in train(config, str(tmp_path / "t")):
        pass
    (tmp_path / "model").mkdir()
    export(TrialDirectory(tmp_path / "t"), tmp_path / "model")
    for native in (True, False):
        multiplying_bf16(monkeypatch, native)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            Model.load(tmp_path / "model", "cpu").predict("sst", ["a sentence"])
        assert ("does not multiply bf16 natively" in caplog.text) != native
