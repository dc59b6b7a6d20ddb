"""Pair features against sentence-transformers' SoftmaxLoss, which builds the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small import small_config
from trainer.config import check
from trainer.config.choices import PAIR_FEATURES
from trainer.loop.run import Run
from trainer.model.packing import pack

#: Name -> (|u - v| is there, u v is there).
CONTENT = {
    "both": (False, False),
    "difference": (True, False),
    "product": (False, True),
    "all": (True, True),
}


def test_every_entry_is_compared() -> None:
    assert set(CONTENT) == set(PAIR_FEATURES)


@pytest.mark.parametrize("name", CONTENT)
def test_features_are_sentence_transformers(name: str) -> None:
    losses = pytest.importorskip("sentence_transformers.losses", reason="the test extra has it")

    class Vectors(torch.nn.Module):
        """Stands for a model: gives each batch's vectors as they are."""

        device = torch.device("cpu")

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return {"sentence_embedding": features["vectors"]}

    difference, product = CONTENT[name]
    theirs = losses.SoftmaxLoss(
        Vectors(), 6, 2, concatenation_sent_rep=True,
        concatenation_sent_difference=difference, concatenation_sent_multiplication=product,
    )  # fmt: skip
    vectors = torch.randn(5, 2, 6)
    features = PAIR_FEATURES[name].load()(vectors)
    assert features.shape == (5, PAIR_FEATURES[name].vectors, 6)
    batches = [{"vectors": vectors[:, 0]}, {"vectors": vectors[:, 1]}]
    _, expected = theirs(batches, labels=None)
    with torch.no_grad():
        output = torch.nn.functional.linear(
            features.flatten(1), theirs.classifier.weight, theirs.classifier.bias
        )
    assert torch.allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("name", CONTENT)
def test_a_step_trains_with_them(cache: Path, name: str) -> None:
    """The sentences' vectors, before dropout and features, are given beside the output."""
    config = small_config(cache, pair="siamese", pair_features={"qqp": name}, head={"qqp": "mlp"})
    run = Run(config)
    split = run.corpus.splits["qqp"]["train"]
    (task,) = run.model.outputs(["qqp"], pack([split.part(np.arange(4))]))
    assert task.vectors.shape == (4, 2, 64) and task.output.shape == (4,)
    hidden = run.model.heads["qqp"].hidden.weight
    assert hidden.shape == (64, 64 * PAIR_FEATURES[name].vectors)
    assert run.model.heads["sts"].linear.weight.shape == (1, 128)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"pair_features": "all"}, "all compares two sentence vectors of qqp"),
        (
            {"pair_features": {"sst": "product"}, "pair": "siamese"},
            "product compares two sentences, and sst has one",
        ),
        (
            {"pair_features": "difference", "pair": "siamese", "head": {"sts": "cosine"}},
            "head cosine of sts takes both vectors as they are; allowed: both",
        ),
        ({"pair_features": "sum", "pair": "siamese"}, "unknown value 'sum'"),
    ],
)
def test_what_does_not_fit_together_is_said(mapping: dict[str, object], message: str) -> None:
    _, problems = check(mapping)
    assert {problem.key for problem in problems} == {"pair_features"}
    assert message in str(problems[0])


def test_a_sentence_task_may_stand_beside_them() -> None:
    config, problems = check({"pair_features": "all", "pair": "siamese"})
    assert config is not None and not problems
