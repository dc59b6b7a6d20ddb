"""Per-task gradients -> one update, seen only through their Gramian.

The rows of J are the tasks' gradients of the shared parameters, G = J J^T their inner products.
Any method that projects or reweights gradients is arithmetic on G that ends in K weights w; the
update is w^T J.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class CombinerError(ValueError):
    """A combiner that cannot be used; the text says what is allowed."""


def _no_state() -> None:
    """For combiners that keep nothing from one step to the next."""


@dataclass(frozen=True)
class Combiner:
    """How task gradients become one update.

    `weights(gramian, generator, names)` maps a (K, K) Gramian to K float64 weights; `names` says
    whose gradients they are, for methods that remember pairs of tasks.  When
    `needs_gramian` is false the weights depend on K alone, and the loop accumulates all
    gradients in one row instead of keeping them apart.  When `splits_steps` is true every draw of
    a step becomes a step of its own.  `begin_epoch` forgets what earlier steps left behind.

    Where `weights` is random arithmetic and nothing else, `orders(K, generator)` draws what is
    random on the host and `project(gramian, orders)` does the rest where the Gramian is.
    """

    name: str
    needs_gramian: bool
    weights: Callable[[Tensor, torch.Generator, Sequence[str]], Tensor]
    splits_steps: bool = False
    begin_epoch: Callable[[], None] = _no_state
    orders: Callable[[int, torch.Generator], Tensor] | None = None
    project: Callable[[Tensor, Tensor], Tensor] | None = None


def sum_weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
    """Plain joint loss: the sum of the task losses."""
    return torch.ones(gramian.shape[0], dtype=torch.float64)


def mean_weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
    """Plain joint loss: the mean of the task losses."""
    return torch.full((gramian.shape[0],), 1.0 / gramian.shape[0], dtype=torch.float64)


def projection_orders(size: int, generator: torch.Generator) -> Tensor:
    """Whom each of K gradients meets, and when: K random permutations of K, (K, K)."""
    return torch.stack([torch.randperm(size, generator=generator) for _ in range(size)])


def projected_weights(gramian: Tensor, orders: Tensor) -> Tensor:
    """Yu et al. 2020, Algorithm 1 (P0 section 3.1), on the Gramian.

    Row i of the projected gradients is sum_j c_ij g_j.  For each j of the i-th order, when
    g_i^PC . g_j < 0, g_i^PC loses its part along the *original* g_j: c_ij -= (c_i . G_j) / G_jj.
    Computed where the Gramian is; nothing waits for a GPU.
    """
    size = gramian.shape[0]
    if gramian.device.type != "cpu":
        return _projected_on_device(gramian.double(), orders)
    inner = gramian.double().tolist()  # K x K, K a handful: plain floats beat tensor calls
    total = [0.0] * size
    for i, order in enumerate(orders.tolist()):
        row = [0.0] * size
        row[i] = 1.0
        for j in order:
            if j == i:
                continue
            product = sum(c * g for c, g in zip(row, inner[j], strict=True))
            if product < 0.0 < inner[j][j]:
                row[j] -= product / inner[j][j]
        total = [a + b for a, b in zip(total, row, strict=True)]
    return torch.tensor(total, dtype=torch.float64)


def _projected_on_device(gramian: Tensor, orders: Tensor) -> Tensor:
    """The same for all i at once: step s projects every row i onto its s-th partner."""
    size = gramian.shape[0]
    own = torch.arange(size, device=gramian.device)
    rows = torch.eye(size, dtype=gramian.dtype, device=gramian.device)
    for partner in orders.unbind(1):
        met = gramian.index_select(0, partner)  # (K, K), row i: G of i's partner
        product = (rows * met).sum(1)
        length = met.gather(1, partner[:, None])[:, 0]
        acts = (product < 0) & (length > 0) & (partner != own)
        share = torch.where(acts, product / torch.where(length > 0, length, 1.0), 0.0)
        rows = rows.scatter_add(1, partner[:, None], -share[:, None])
    return rows.sum(0)


def pcgrad_weights(
    gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()
) -> Tensor:
    """`projected_weights` in orders drawn as `torch.randperm(K)`, task by task."""
    orders = projection_orders(gramian.shape[0], generator)
    return projected_weights(gramian, orders.to(gramian.device))


def projected_mean_weights(gramian: Tensor, orders: Tensor) -> Tensor:
    """The mean of the projected gradients, as the widely used ports of PCGrad take it."""
    return projected_weights(gramian, orders) / gramian.shape[0]


def pcgrad_mean_weights(
    gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()
) -> Tensor:
    """The mean of the projected gradients, as the widely used ports of PCGrad take it."""
    return pcgrad_weights(gramian, generator) / gramian.shape[0]


def torchjd_combiner(method: str, options: Mapping[str, float]) -> Combiner:
    """A published method by torchjd's weighting of the Gramian: `UPGrad`, `CAGrad`, `MGDA`, ...

    A method that keeps a state between steps (GradVac's moving targets, NashMTL's last solution)
    starts anew in every epoch, so that a resumed trial equals an undisturbed one.

    Raises `CombinerError` if torchjd or a solver is not installed, the method needs more than the
    Gramian, or the options do not fit.
    """
    try:
        from torchjd import aggregation
    except ImportError:
        raise CombinerError(
            f"combiner torchjd.{method}: torchjd is not installed; "
            "install it with: pip install -c constraints.txt -e '.[torchjd]'"
        ) from None
    if method not in TORCHJD:
        raise CombinerError(
            f"combiner torchjd.{method}: no such method, or one that needs more than the Gramian; "
            f"allowed: {', '.join('torchjd.' + name for name in TORCHJD)}"
        )
    kind = getattr(aggregation, method)
    whole = {k: int(v) if float(v).is_integer() else v for k, v in options.items()}
    counts_tasks = "n_tasks" in inspect.signature(kind).parameters
    made: dict[tuple[str, ...], Any] = {}  # a state belongs to the tasks that it was made with

    def aggregator(names: tuple[str, ...]) -> Any:
        if names not in made:
            made[names] = kind(**whole | ({"n_tasks": len(names)} if counts_tasks else {}))
        return made[names]

    def weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
        gramian = gramian.double().cpu()
        names = names or [str(number) for number in range(len(gramian))]
        # A vanished gradient has nothing to say, and some solvers divide by its length.
        alive = gramian.diagonal() > 0
        found = torch.ones(len(gramian), dtype=torch.float64)
        if alive.sum() > 1:
            kept = tuple(name for name, lives in zip(names, alive.tolist(), strict=True) if lives)
            found[alive] = solve(gramian[alive][:, alive], kept)
        return found

    def solve(gramian: Tensor, names: tuple[str, ...]) -> Tensor:
        if method in _THROUGH_ROOT:
            return aggregator(names).weighting(_root(gramian)).double()
        # The solvers have absolute tolerances: hand them a Gramian of order one.
        scale = 1.0 if method in _OWN_LENGTH else float(gramian.diagonal().max())
        return aggregator(names).gramian_weighting(gramian / scale).double()

    try:
        aggregator(("", " "))
    except (TypeError, ValueError, ImportError) as error:
        raise CombinerError(f"combiner torchjd.{method}: {error}") from error
    return Combiner(f"torchjd.{method}", True, weights, begin_epoch=made.clear)


#: torchjd's methods that are arithmetic on the Gramian and fit any number of tasks.
TORCHJD = (
    "AlignedMTL",
    "CAGrad",
    "DualProj",
    "FairGrad",
    "GradVac",
    "IMTLG",
    "MGDA",
    "NashMTL",
    "PCGrad",
    "UPGrad",
)
#: Methods whose weights depend on J through its Gramian alone although torchjd computes it itself:
#: they are handed a square root of G in J's place.
_THROUGH_ROOT = ("NashMTL",)
#: Methods whose update has a length of its own, whatever that of the gradients.
_OWN_LENGTH = ("NashMTL", "FairGrad")


def _root(gramian: Tensor) -> Tensor:
    """R (K, K) with R R^T = G."""
    values, vectors = torch.linalg.eigh(gramian)
    return vectors * values.clamp(min=0.0).sqrt()


def combiner(
    name: str, reduction: str = "sum", options: Mapping[str, float] | None = None
) -> Combiner:
    """The combiner a config names; `reduction` acts on `pcgrad`, `options` on torchjd's."""
    if name.startswith("torchjd."):
        return torchjd_combiner(name.removeprefix("torchjd."), options or {})
    if name == "pcgrad":
        if reduction == "mean":
            weights, project = pcgrad_mean_weights, projected_mean_weights
        else:
            weights, project = pcgrad_weights, projected_weights
        return Combiner(name, True, weights, orders=projection_orders, project=project)
    if name == "sequential_step":  # P3's triple-batch baseline: one optimizer step a task batch
        return Combiner(name, False, sum_weights, splits_steps=True)
    return Combiner(name, False, {"sum": sum_weights, "mean": mean_weights}[name])


def conflicts(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine (K, K) of every pair of gradients, 0 where one vanishes, and which pairs conflict."""
    gramian = gramian.double()
    norms = gramian.diagonal().clamp(min=0).sqrt()
    scale = norms[:, None] * norms[None, :]
    cosine = torch.where(scale > 0, gramian / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    return cosine, cosine < 0
