"""Metrics against scipy and the papers' figures; predictions in their own order."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
import torch

from tests.support.small import small_config
from trainer.config.tasks import TASKS
from trainer.loop.evaluation import metric, overall, predictions_file
from trainer.loop.run import Run

MAIN = [TASKS["sst"], TASKS["qqp"], TASKS["sts"]]


def test_both_overall_scores_are_the_papers() -> None:
    p0 = overall({"sst": 0.528, "qqp": 0.829, "sts": 0.869}, MAIN)
    assert p0["dev_score"] == pytest.approx(0.763, abs=1e-3)  # the paper cuts, it does not round
    p1 = overall({"sst": 0.513, "qqp": 0.877, "sts": 0.870}, MAIN)
    assert p1["dev_mean"] == pytest.approx(0.753, abs=5e-4)


def test_pearson_is_scipys_and_zero_where_undefined() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=50), generator.normal(size=50)
    assert metric(TASKS["sts"], a, b) == pytest.approx(scipy.stats.pearsonr(a, b).statistic)
    assert metric(TASKS["sts"], np.ones(50), b) == 0.0


def test_predictions_keep_the_splits_order_whatever_the_batches(cache: Path) -> None:
    config = small_config(cache)
    run = Run(config)
    together = run.evaluate("dev")
    object.__setattr__(config, "eval_batch_size", 1)
    alone = run.evaluate("dev")
    for task in together:
        assert np.allclose(together[task].scores, alone[task].scores, atol=1e-5)
        assert together[task].loss == pytest.approx(alone[task].loss, abs=1e-5)
        assert together[task].labels.tolist() == run.corpus.splits[task]["dev"].labels.tolist()


def test_evaluation_leaves_no_trace_on_training(cache: Path) -> None:
    run = Run(small_config(cache))
    run.model.train()
    before = torch.get_rng_state()
    run.evaluate("dev")
    assert run.model.training and torch.equal(torch.get_rng_state(), before)


def test_predictions_file_has_a_row_for_every_dev_example(cache: Path) -> None:
    run = Run(small_config(cache))
    made = run.evaluate("dev")
    splits = {name: parts["dev"] for name, parts in run.corpus.splits.items()}
    table = pq.read_table(io.BytesIO(predictions_file(made, splits)))
    assert table.column_names == ["task", "id", "label", "prediction", "score"]
    assert table.num_rows == sum(len(split) for split in splits.values())
    rows = [row for row in table.to_pylist() if row["task"] == "sst"]
    assert [row["id"] for row in rows] == splits["sst"].column("id")
    correct = np.mean([row["label"] == row["prediction"] for row in rows])
    assert correct == pytest.approx(made["sst"].metric)
