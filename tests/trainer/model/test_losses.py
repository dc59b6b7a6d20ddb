"""Losses against scipy and torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import scipy.stats
import torch

from trainer.config.tasks import TASKS
from trainer.model.losses import loss_of

PEARSON = loss_of(replace(TASKS["sts"], loss="pearson"))


def some(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_pearson_loss_is_one_minus_scipys_r() -> None:
    output, labels = some(0, 16), some(1, 16)
    expected = 1 - scipy.stats.pearsonr(output, labels).statistic
    assert PEARSON.value(output, labels).item() == pytest.approx(expected, abs=1e-6)
    moved = PEARSON.value(3 * output + 7, labels)  # a positive linear transformation
    assert moved.item() == pytest.approx(expected, abs=1e-5)


def test_the_pearson_loss_has_torchs_gradient() -> None:
    output, labels = some(0, 16).double().requires_grad_(), some(1, 16).double()
    (found,) = torch.autograd.grad(PEARSON.value(output, labels), output)
    both = torch.stack([output, labels])
    (expected,) = torch.autograd.grad(1 - torch.corrcoef(both)[0, 1], output)
    assert torch.allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("output", "labels"),
    [([0.3], [2.0]), ([0.3, 0.3, 0.3], [1.0, 2.0, 4.0]), ([0.1, 0.5, 0.2], [2.0, 2.0, 2.0])],
    ids=["one example", "equal predictions", "equal labels"],
)
def test_an_undefined_correlation_is_zero_with_a_finite_gradient(
    output: list[float], labels: list[float]
) -> None:
    made = torch.tensor(output, requires_grad=True)
    loss = PEARSON.value(made, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(loss, made)
    assert loss.item() == pytest.approx(1, abs=1e-3)
    assert gradient.isfinite().all()
