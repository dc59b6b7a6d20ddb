"""Combiners, against the paper's algorithm on full gradients and against torchjd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.combiners.base import Combiner, CombinerError, conflicts
from trainer.combiners.pcgrad import _projected_on_device, projected_weights, projection_orders
from trainer.combiners.registry import COMBINERS, build
from trainer.config import ConfigError, TrainConfig

torchjd_aggregation = pytest.importorskip("torchjd.aggregation", reason="the test extra has it")


def combiner(
    name: str, reduction: str = "sum", options: dict[str, float] | None = None
) -> Combiner:
    return build(TrainConfig(combiner=name, reduction=reduction, combiner_options=options or {}))


def jacobian(seed: int, tasks: int = 3, size: int = 40) -> Tensor:
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed)).double()


#: torchjd's methods that need the Gramian alone, with the options that some of them want.
TORCHJD: dict[str, dict[str, float]] = {
    "torchjd.UPGrad": {},
    "torchjd.DualProj": {},
    "torchjd.MGDA": {},
    "torchjd.IMTLG": {},
    "torchjd.AlignedMTL": {},
    "torchjd.PCGrad": {},
    "torchjd.GradVac": {},
    "torchjd.CAGrad": {"c": 0.5},
    "torchjd.FairGrad": {"alpha": 1.0},
    "torchjd.NashMTL": {"max_norm": 0.0, "update_weights_every": 1, "optim_niter": 20},
}
PLAIN = ["sum", "mean", "pcgrad", "sequential_step"]
ALL = [*PLAIN, *TORCHJD]
#: By their definition the update's length does not follow that of the gradients.
OWN_LENGTH = ["torchjd.FairGrad", "torchjd.NashMTL"]
#: Their random projection orders treat tasks alike only on average.
RANDOM = ["pcgrad", "torchjd.PCGrad", "torchjd.GradVac"]


def weights_of(name: str, J: Tensor, seed: int = 0, reduction: str = "sum") -> Tensor:
    torch.manual_seed(seed)  # torchjd's own randomness
    made = combiner(name, reduction, TORCHJD.get(name))
    return made.weights(J @ J.T, torch.Generator().manual_seed(seed), ())


def combined(name: str, J: Tensor, seed: int = 0, reduction: str = "sum") -> Tensor:
    return weights_of(name, J, seed, reduction).to(J) @ J


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


@pytest.mark.parametrize("kind", ["conflicting", "one vanishes", "all agree"])
@pytest.mark.parametrize("tasks", [2, 3, 4, 5])
def test_a_device_projects_like_the_host(tasks: int, kind: str) -> None:
    for seed in range(20):
        J = jacobian(seed, tasks, size=tasks + 1)  # so few directions oppose each other often
        if kind == "one vanishes":
            J[seed % tasks] = 0
        J = J.abs() if kind == "all agree" else J
        orders = projection_orders(tasks, torch.Generator().manual_seed(seed))
        weights = _projected_on_device(J @ J.T, orders)
        assert torch.allclose(weights, projected_weights(J @ J.T, orders), rtol=0, atol=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_pcgrad_is_the_same_with_its_orders_drawn_beforehand(reduction: str) -> None:
    made = combiner("pcgrad", reduction)
    assert made.orders is not None and made.project is not None
    apart, together = (torch.Generator().manual_seed(3) for _ in range(2))
    for seed in range(20):
        J = jacobian(seed, tasks=2 + seed % 4, size=4)
        weights = made.project(J @ J.T, made.orders(len(J), apart))
        assert torch.equal(weights, made.weights(J @ J.T, together, ()))


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
@pytest.mark.parametrize("name", [n for n in ALL if n not in OWN_LENGTH])
def test_the_update_scales_with_the_gradients(name: str, scale: float) -> None:
    J = jacobian(5)
    expected = combined(name, J) * scale
    assert torch.allclose(combined(name, J * scale), expected, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", OWN_LENGTH)
def test_the_direction_does_not_depend_on_the_gradients_scale(name: str, scale: float) -> None:
    J = jacobian(5)
    update, scaled = combined(name, J), combined(name, J * scale)
    cosine = torch.nn.functional.cosine_similarity(update, scaled, dim=0)
    assert cosine.item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_zero_gradients_do_no_harm(name: str) -> None:
    J = jacobian(6)
    J[1] = 0
    assert torch.isfinite(combined(name, J)).all()
    assert torch.equal(combined(name, torch.zeros(3, 5).double()), torch.zeros(5).double())


@pytest.mark.parametrize("name", ALL)
def test_a_single_task_keeps_its_gradient(name: str) -> None:
    J = jacobian(7, tasks=1)
    assert torch.allclose(combined(name, J), J[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["sum", "pcgrad", "sequential_step", "torchjd.PCGrad"])
def test_without_conflict_the_update_is_the_plain_sum(name: str) -> None:
    J = jacobian(8).abs()
    assert torch.allclose(combined(name, J), J.sum(0))


@pytest.mark.parametrize("name", ["torchjd.UPGrad", "torchjd.DualProj"])
def test_without_conflict_the_update_is_the_plain_mean(name: str) -> None:
    J = jacobian(8).abs()
    assert torch.allclose(combined(name, J), J.mean(0), rtol=1e-4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seed", range(5))
def test_the_update_never_conflicts_more_than_the_sum_did(name: str, seed: int) -> None:
    """Cosine of the most opposed task: not below zero, or not below the plain joint loss's."""
    J = jacobian(seed, tasks=2)
    before, after = J.sum(0), combined(name, J, seed)

    def worst(update: Tensor) -> float:
        return float((J @ update / (J.norm(dim=1) * update.norm()).clamp(min=1e-30)).min())

    assert worst(after) >= min(worst(before), 0.0) - 1e-3


@pytest.mark.parametrize("name", [n for n in ALL if n not in RANDOM])
def test_permuted_tasks_get_permuted_weights(name: str) -> None:
    J, order = jacobian(9, tasks=4), [2, 0, 3, 1]
    expected = weights_of(name, J)[order]
    assert torch.allclose(weights_of(name, J[order]), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", TORCHJD)
def test_torchjds_methods_are_torchjds(name: str) -> None:
    J = jacobian(10)
    torch.manual_seed(0)
    options = {k: int(v) if v == int(v) else v for k, v in TORCHJD[name].items()}
    options |= {"n_tasks": 3} if name.endswith("NashMTL") else {}
    theirs = getattr(torchjd_aggregation, name.removeprefix("torchjd."))(**options)(J)
    assert torch.allclose(combined(name, J), theirs, rtol=1e-3, atol=1e-4)


def test_a_stateful_method_starts_anew_in_every_epoch() -> None:
    made = combiner("torchjd.GradVac")

    def epoch() -> list[Tensor]:
        torch.manual_seed(0)
        made.begin_epoch()
        return [
            made.weights(J @ J.T, torch.Generator(), ())
            for J in (jacobian(seed) for seed in range(4))
        ]

    for first, again in zip(epoch(), epoch(), strict=True):
        assert torch.equal(first, again)


def test_steps_may_differ_in_their_number_of_tasks() -> None:
    for name, options in TORCHJD.items():
        made = combiner(name, options=options)
        for tasks in (3, 2, 3):
            J = jacobian(tasks, tasks)
            assert len(made.weights(J @ J.T, torch.Generator(), ())) == tasks


def test_every_combiner_of_the_list_stands_under_the_contract() -> None:
    assert set(COMBINERS) == set(ALL)


def test_a_state_belongs_to_the_tasks_it_was_made_with() -> None:
    """GradVac remembers a target similarity of every pair: not of whoever comes first."""

    def second(first: tuple[str, ...]) -> Tensor:
        made = combiner("torchjd.GradVac")
        for seed, names in ((0, first), (1, ("qqp", "sts"))):
            torch.manual_seed(0)
            J = jacobian(0, 2).abs() if seed == 0 else jacobian(1, 2)  # alike, then less alike
            weights = made.weights(J @ J.T, torch.Generator(), names)
        return weights

    assert not torch.equal(second(("qqp", "sts")), second(("sst", "qqp")))


def test_sequential_step_makes_every_draw_a_step() -> None:
    assert combiner("sequential_step").splits_steps
    assert not any(combiner(name).splits_steps for name in ("sum", "mean", "pcgrad"))


@pytest.mark.parametrize("name", ["torchjd.Nothing", "torchjd.TrimmedMean", "pcgrd"])
def test_a_name_that_is_not_in_the_list_is_one_clear_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"combiner: unknown value '{name}'.*torchjd.UPGrad"):
        TrainConfig.from_dict({"combiner": name})


def test_a_method_without_its_options_is_one_clear_error() -> None:
    with pytest.raises(CombinerError, match="torchjd.CAGrad: .*'c'"):
        combiner("torchjd.CAGrad")


def test_conflicts_names_opposed_pairs_and_survives_zero_gradients() -> None:
    J = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 0.0]]).double()
    cosine, opposed = conflicts(J @ J.T)
    assert cosine[0, 1] == pytest.approx(-(0.5**0.5)) and bool(opposed[0, 1])
    assert cosine[0, 2] == 0 and not bool(opposed[0, 2])
