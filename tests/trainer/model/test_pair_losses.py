"""Losses on pairs against torch and sentence-transformers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sentence_transformers.sentence_transformer import losses
from torch import Tensor

from trainer.config.task_choices import PAIR_LOSSES
from trainer.model.pair_losses import cosine_embedding, multiple_negatives

#: Which of nine pairs are positive.
SOME = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0, 1]).bool()
ALL, NONE = torch.ones(9).bool(), torch.zeros(9).bool()


def vectors(seed: int = 0, n: int = 9) -> Tensor:
    """Vectors (n, 2, W) of pairs that resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, 16, generator=generator)
    second = first + torch.randn(n, 16, generator=generator)
    return torch.stack([first, second], dim=1).requires_grad_()


@pytest.mark.parametrize("positive", [SOME, ALL, NONE])
def test_cosine_embedding_is_its_definition_and_torchs(positive: Tensor) -> None:
    made = vectors()
    cosine = F.cosine_similarity(made[:, 0], made[:, 1])
    expected = torch.where(positive, 1 - cosine, cosine.clamp(min=0)).mean()
    found = cosine_embedding(made, positive)
    assert torch.allclose(found, expected, atol=1e-6)
    torchs = torch.nn.CosineEmbeddingLoss()(made[:, 0], made[:, 1], 2.0 * positive - 1)
    assert torch.equal(found, torchs)


@pytest.mark.parametrize("positive", [SOME, ALL])
def test_multiple_negatives_is_sentence_transformers(positive: Tensor) -> None:
    """Anchors and their positives, and the second sentences of the other pairs as negatives."""
    made, again = vectors(), vectors()
    loss = losses.MultipleNegativesRankingLoss(model=None)
    columns = [again[positive, 0], again[positive, 1], again[~positive, 1]]
    expected = loss.compute_loss_from_embeddings(columns, torch.empty(0))
    found = multiple_negatives(made, positive)
    assert torch.allclose(found, expected, atol=1e-6)
    ours = torch.autograd.grad(found, made)[0]
    assert torch.allclose(ours, torch.autograd.grad(expected, again)[0], atol=1e-6)


def test_without_positive_pairs_nothing_ranks() -> None:
    made = vectors()
    found = multiple_negatives(made, NONE)
    (gradient,) = torch.autograd.grad(found, made)
    assert found.item() == 0 and gradient.abs().max() == 0


@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name != "none"])
@pytest.mark.parametrize("positive", [True, False])
def test_one_pair_or_vanished_vectors_have_finite_gradients(name: str, positive: bool) -> None:
    loss = PAIR_LOSSES[name].load()
    for made in (vectors(n=1), torch.zeros(1, 2, 16, requires_grad=True)):
        (gradient,) = torch.autograd.grad(loss(made, torch.tensor([positive])), made)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name != "none"])
def test_pair_losses_compute_in_fp32_whatever_the_vectors(name: str) -> None:
    rounded = vectors().detach().bfloat16()
    found = PAIR_LOSSES[name].load()(rounded, SOME)
    assert found.dtype == torch.float32
    assert torch.equal(found, PAIR_LOSSES[name].load()(rounded.float(), SOME))
