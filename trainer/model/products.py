"""Matrix products that go into the rows of J, which are fp32, from factors of any precision.

A product of half precision that is rounded before it is copied costs a launch more, and reads and
writes the rows' bytes once more than it must.  GPUs can multiply such factors straight into fp32.
Like an attention kernel, that is tried before a process uses it the first time.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

#: (left, right, out, adds): out = left @ right, or out += left @ right.
Write = Callable[[Tensor, Tensor, Tensor, bool], None]
#: By how much a product may differ from the one of fp32 factors: sums in another order.
_AGREEMENT = 1e-3
#: What a product is tried on.
_OUT, _INNER, _IN = 24, 40, 16


@dataclass(frozen=True)
class Product:
    """One way to multiply into fp32."""

    name: str
    write: Write
    #: Whether it claims to serve factors of this dtype on a device of this type.
    serves: Callable[[str, torch.dtype], bool]


def _in_place(left: Tensor, right: Tensor, out: Tensor, adds: bool) -> None:
    out.addmm_(left, right, beta=int(adds))


def _widened(left: Tensor, right: Tensor, out: Tensor, adds: bool) -> None:
    torch.ops.aten.addmm.dtype_out(out, left, right, out.dtype, beta=int(adds), out=out)


def _rounded(left: Tensor, right: Tensor, out: Tensor, adds: bool) -> None:
    product = left @ right
    (out.add_ if adds else out.copy_)(product)


PRODUCTS = (
    Product("in place", _in_place, lambda device, dtype: dtype == torch.float32),
    Product("widened", _widened, lambda device, dtype: device == "cuda"),
    Product("rounded", _rounded, lambda device, dtype: True),
)


@cache
def product_for(device: str, dtype: torch.dtype) -> Product:
    """The first product that serves the dtype on devices of this type, and computes the right one.

    The first call for a device waits for it.
    """
    *tried, last = (product for product in PRODUCTS if product.serves(device, dtype))
    for product in tried:
        if not (problem := disagreement(product, device, dtype)):
            return product
        warnings.warn(f"gradients without {product.name} products: {problem}", stacklevel=2)
    return last


def disagreement(product: Product, device: str, dtype: torch.dtype) -> str:
    """Why the product cannot be used there, in a few words; empty if it is right.

    It is tried on what backward has: a transposed factor, and rows with others between them.
    """
    numbers = np.random.default_rng(0)  # leaves torch's generators alone

    def random(*shape: int) -> Tensor:
        drawn = torch.from_numpy(numbers.standard_normal(shape, dtype=np.float32))
        return drawn.to(device, dtype)

    left, right = random(_INNER, _OUT).t(), random(_INNER, _IN)
    expected = left.float() @ right.float()
    for adds in (False, True):
        rows = torch.ones(_OUT, 2 * _IN, device=device)
        out = rows[:, :_IN]
        try:
            product.write(left, right, out, adds)
        except (RuntimeError, TypeError) as error:  # no such product, or another signature
            return str(error).partition("\n")[0]
        difference = float((out - expected - int(adds)).norm() / expected.norm())
        if not difference <= _AGREEMENT:  # also if it is no number
            return f"a product is {difference:.1%} away from that of fp32 factors"
        if not bool((rows[:, _IN:] == 1).all()):
            return "a product writes beside its rows"
    return ""
