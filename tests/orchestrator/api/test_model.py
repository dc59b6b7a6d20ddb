"""Trained models in Python."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

import orchestrator as orch
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from tests.support import command
from tests.support.trained_sweep import train_into, write_spec

PAIRS = [("how to swim", "learn to swim"), ("same", "same")]


@pytest.fixture(scope="module")
def out(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps")
    ledger = Ledger(out, "s")
    train_into(ledger, cache, epochs=1)
    train_into(ledger, cache, epochs=1, sampler="round_robin", score="best")
    write_spec(ledger, 1)
    return out


@pytest.mark.parametrize("task", ["sst", "qqp", "sts"])
def test_python_and_the_command_give_the_same_rows(
    out: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["a warm film", "dull"] if task == "sst" else PAIRS
    lines = [text if isinstance(text, str) else "\t".join(text) for text in texts]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    printed = command.orch("predict", "s@arrp", "-", "--task", task, "--json", "--out", str(out))
    rows = orch.load("s", str(out)).model("arrp").predict(texts, task=task)
    assert len(rows) == 2
    for row, line in zip(rows, map(json.loads, printed.stdout.splitlines()), strict=True):
        assert {"id", *row} == set(line)
        assert all(row[key] == line[key] for key in row if key.startswith(("text", "class")))
        if task == "sts":
            assert row["prediction"] == pytest.approx(line["prediction"], abs=1e-6)
        else:
            assert row["prediction"] == line["prediction"]
            assert row["probabilities"] == pytest.approx(line["probabilities"], abs=1e-6)


def test_a_model_says_what_it_is(out: Path) -> None:
    sweep = orch.load(str(out / "s"))
    assert sweep.name == "s" and repr(sweep).startswith("Sweep('")
    model = sweep.model()
    assert model.tasks == ["sst", "qqp", "sts"] and model.epoch == 1
    assert model.trial_id in repr(model)
    best = max(sweep.ledger.trials(), key=lambda trial: trial.summary["dev_score"])
    assert model.trial_id == best.trial_id
    assert model.predict([], task="sst") == []


def test_what_cannot_be_answered_is_named(out: Path) -> None:
    with pytest.raises(UserError, match="no sweep 'x'"):
        orch.load("x", str(out))
    with pytest.raises(UserError, match="no trial 'x' in s"):
        orch.load("s", str(out)).model("x")
    model = orch.load("s", str(out)).model("arrp")
    with pytest.raises(UserError, match="the model has several tasks; choose one: sst, qqp, sts"):
        model.predict(["a"])
    with pytest.raises(UserError, match="entry 1: task qqp needs two sentences"):
        model.predict([*PAIRS[:1], "alone"], task="qqp")
    with pytest.raises(UserError, match="entry 0: task sst needs one sentence"):
        model.predict([3], task="sst")  # type: ignore[list-item]
    with pytest.raises(UserError, match="takes a list of sentences"):
        model.predict("a film", task="sst")
