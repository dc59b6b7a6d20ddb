"""`evaluate_at_end: all`: the last epoch scored on the whole dev sets, in a record of its own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import trainer.train
from orchestrator.ledger.trial_id import config_id, trial_id
from tests.support.resuming import results
from tests.support.small import small_config
from trainer.config import TrainConfig
from trainer.data.corpus import prepare, whole_dev
from trainer.data.sources import fingerprint
from trainer.data.vocabulary import tokenizer_of
from trainer.inference import load_trained
from trainer.loop.extra_evaluation import evaluate_trained
from trainer.storage.evaluations import ALL, predictions_of, read_evaluation
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train

LIMITED = {"dev_limit": {"sst": 20, "qqp": 20, "sts": 20}}


def trained(config: TrainConfig, folder: Path) -> TrialDirectory:
    for _ in train(config, str(folder)):
        pass
    return TrialDirectory(folder)


def evaluation(store: TrialDirectory) -> dict[str, Any]:
    """The evaluation on the whole dev sets, without what another run may change."""
    record = read_evaluation(store, ALL, store.records())
    assert record is not None
    timings = ("evaluation_minutes", "finished_at")
    return {key: value for key, value in record.items() if key not in timings}


def test_the_last_epoch_is_scored_on_everything_and_nothing_else_changes(
    cache: Path, tmp_path: Path
) -> None:
    plain = small_config(cache, data=LIMITED)
    config = small_config(cache, data=LIMITED, evaluate_at_end="all")
    without, store = trained(plain, tmp_path / "without"), trained(config, tmp_path / "with")
    assert results(Path(without.path)) == results(Path(store.path))
    assert read_evaluation(without, ALL, without.records()) is None
    assert without.end() is not None and store.end() is not None
    record, sizes = evaluation(store), {n: len(s) for n, s in whole_dev(config).items()}
    assert {name: of["examples"] for name, of in record["tasks"].items()} == sizes
    assert min(sizes.values()) > 20
    assert record["epoch"] == config.epochs
    table = pq.read_table(io.BytesIO(predictions_of(store, ALL, record)))
    assert table.num_rows == sum(sizes.values())
    # The examples of the epochs are among them, with the same predictions.
    epochs = pq.read_table(io.BytesIO(store.read("predictions/002.parquet") or b""))
    rows = {(row["task"], row["id"]): row for row in table.to_pylist()}
    for row in epochs.to_pylist():
        assert rows[row["task"], row["id"]]["label"] == row["label"]
        assert rows[row["task"], row["id"]]["prediction"] == pytest.approx(row["prediction"])


def test_the_key_is_no_part_of_a_trial_s_identity(cache: Path) -> None:
    plain, other = small_config(cache), small_config(cache, evaluate_at_end="all")
    assert plain.canonical() == other.canonical()
    assert trial_id(plain, "f") == trial_id(other, "f")
    assert config_id(plain, "f") == config_id(other, "f")


def test_a_limit_of_the_dev_sets_changes_neither_data_nor_vocabulary(cache: Path) -> None:
    limited, whole = small_config(cache, data=LIMITED), small_config(cache, data={"dev_limit": {}})
    assert fingerprint(limited) == fingerprint(whole)
    assert tokenizer_of(limited).to_str() == tokenizer_of(whole).to_str()
    for name, split in whole_dev(limited).items():
        expected = prepare(whole).splits[name]["dev"]
        assert split.column("id") == expected.column("id")
        assert (split.tokens == expected.tokens).all()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_trial_that_was_killed_before_its_evaluation_makes_it_up(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Before: between the last epoch and the evaluation.  After: before end.json."""
    config = small_config(cache, data=LIMITED, evaluate_at_end="all")
    undisturbed = evaluation(trained(config, tmp_path / "undisturbed"))

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        place = "evaluate_trained" if when == "before" else "summarise"
        patched.setattr(trainer.train, place, killed)
        trained(config, tmp_path / "killed")
    store = TrialDirectory(tmp_path / "killed")
    assert len(store.records()) == config.epochs and store.end() is None
    written = store.read("evaluations/all.json")
    assert (written is None) == (when == "before")
    assert list(train(config, store.path)) == []
    assert evaluation(store) == undisturbed
    assert store.end() is not None
    if when == "after":  # written once
        assert store.read("evaluations/all.json") == written


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16-emulated", "head_learning_rate": 0.01}], ids=str
)
def test_a_checkpoint_that_is_loaded_gives_the_same_record(
    cache: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    config = small_config(cache, data=LIMITED, evaluate_at_end="all", **changes)
    store = trained(config, tmp_path)
    record = evaluation(store)
    loaded = load_trained(store, config, torch.device("cpu"))
    again, predictions = evaluate_trained(loaded, whole_dev(config), {"dev": ALL})
    for key in record.keys() - {"files"}:
        assert again[key] == record[key], key
    assert predictions == predictions_of(store, ALL, record)
