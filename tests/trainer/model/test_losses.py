"""Losses against scipy and torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from trainer.config.task_choices import LOSSES, PAIR_LOSSES
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


WEIGHTS = torch.tensor([0.4, 1.0, 2.5, 1.5, 0.0])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_weighted_cross_entropy_is_torchs_sum_over_n(weights: torch.Tensor | None) -> None:
    output, labels = some(0, 12, 5), torch.arange(12) % 5
    expected = F.cross_entropy(output, labels, weight=weights, reduction="sum") / 12
    found = loss_of(TASKS["sst"]).value(output, labels.float(), weights)
    assert torch.allclose(found, expected)


def test_without_weights_cross_entropy_is_torchs_mean_to_the_bit() -> None:
    for seed in range(30):
        output, labels = some(seed, 1 + seed, 5), torch.arange(1 + seed) % 5
        found = loss_of(TASKS["sst"]).value(output, labels.float())
        assert torch.equal(found, F.cross_entropy(output, labels))


def test_weighted_binary_cross_entropy_is_that_of_two_classes() -> None:
    output, labels = some(0, 12), (some(1, 12) > 0).float()
    weights = torch.tensor([0.7, 1.9])
    both = torch.stack([torch.zeros(12), output], dim=1)
    expected = F.cross_entropy(both, labels.long(), weight=weights, reduction="sum") / 12
    found = loss_of(TASKS["qqp"]).value(output, labels, weights)
    assert torch.allclose(found, expected)


def test_halves_of_a_batch_have_the_loss_of_the_whole() -> None:
    """So that class weights mean the same whatever the batch size."""
    output, labels = some(0, 12, 5), (torch.arange(12) // 6).float()
    value = loss_of(TASKS["sst"]).value
    halves = [value(o, y, WEIGHTS) for o, y in zip(output.split(6), labels.split(6), strict=True)]
    assert torch.allclose(torch.stack(halves).mean(), value(output, labels, WEIGHTS))


def test_no_loss_asks_the_device_for_a_value() -> None:
    """A tensor on `meta` has no values, so a question to the device would fail."""
    labels, vectors = torch.empty(6, device="meta"), torch.empty(6, 2, 8, device="meta")
    for entry in LOSSES.values():
        output = torch.empty(6, *[5] * entry.output_per_class, device="meta", requires_grad=True)
        weights = torch.empty(5, device="meta") if entry.integer_labels else None
        entry.load()().value(output, labels, weights).backward()
    for pair_loss in PAIR_LOSSES.values():
        loss = pair_loss.load()(vectors.requires_grad_(), labels > 0)
        if loss is not None:
            loss.backward()
