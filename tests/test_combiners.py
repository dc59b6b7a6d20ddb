"""Combiners, against the paper's algorithm on full gradients and against torchjd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.combiners import combiner, conflicts

torchjd_aggregation = pytest.importorskip("torchjd.aggregation", reason="the test extra has it")


def jacobian(seed: int, tasks: int = 3, size: int = 40) -> Tensor:
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed)).double()


def combined(name: str, J: Tensor, seed: int = 0, reduction: str = "sum") -> Tensor:
    weights = combiner(name, reduction).weights(J @ J.T, torch.Generator().manual_seed(seed))
    return weights.to(J) @ J


def paper_pcgrad(J: Tensor, orders: list[list[int]]) -> Tensor:
    """Yu et al. 2020, Algorithm 1, transcribed on the gradients themselves."""
    projected = []
    for i, gradient in enumerate(J):
        current = gradient.clone()
        for j in orders[i]:
            if j != i and torch.dot(current, J[j]) < 0:
                current = current - torch.dot(current, J[j]) / J[j].norm() ** 2 * J[j]
        projected.append(current)
    return torch.stack(projected).sum(0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_pcgrad_is_the_papers_algorithm(seed: int, tasks: int) -> None:
    J = jacobian(seed, tasks)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(tasks, generator=generator).tolist() for _ in range(tasks)]
    assert torch.allclose(combined("pcgrad", J, seed), paper_pcgrad(J, orders), atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_pcgrad_agrees_with_torchjd_in_the_same_projection_order(seed: int) -> None:
    J = jacobian(seed, 4)
    torch.manual_seed(seed)
    theirs = torchjd_aggregation.PCGrad()(J)
    assert torch.allclose(combined("pcgrad", J, seed), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_plain_combiners_agree_with_torchjd(name: str) -> None:
    J = jacobian(1)
    theirs = {"sum": torchjd_aggregation.Sum, "mean": torchjd_aggregation.Mean}[name]()(J)
    assert torch.allclose(combined(name, J), theirs)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_pcgrad_keeps_agreeing_gradients(reduction: str) -> None:
    J = jacobian(3).abs()
    expected = J.sum(0) if reduction == "sum" else J.mean(0)
    assert torch.allclose(combined("pcgrad", J, reduction=reduction), expected)


def test_two_conflicting_gradients_no_longer_conflict() -> None:
    J = torch.tensor([[1.0, 0.2], [-1.0, 0.5]]).double()
    update = combined("pcgrad", J)
    assert (J @ update >= -1e-12).all()


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e10])
@pytest.mark.parametrize("name", ["sum", "mean", "pcgrad"])
def test_the_update_scales_with_the_gradients(name: str, scale: float) -> None:
    J = jacobian(5)
    assert torch.allclose(combined(name, J * scale), combined(name, J) * scale, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["sum", "mean", "pcgrad"])
def test_zero_gradients_and_a_single_task_do_no_harm(name: str) -> None:
    J = jacobian(6)
    J[1] = 0
    assert torch.isfinite(combined(name, J)).all()
    assert torch.equal(combined(name, torch.zeros(3, 5).double()), torch.zeros(5).double())
    assert torch.allclose(combined(name, jacobian(7, tasks=1)), jacobian(7, tasks=1)[0])


def test_conflicts_names_opposed_pairs_and_survives_zero_gradients() -> None:
    J = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 0.0]]).double()
    cosine, opposed = conflicts(J @ J.T)
    assert cosine[0, 1] == pytest.approx(-(0.5**0.5)) and bool(opposed[0, 1])
    assert cosine[0, 2] == 0 and not bool(opposed[0, 2])
