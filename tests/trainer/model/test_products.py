"""Products into fp32: each is right, and one that is not is never used."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from trainer.model import products
from trainer.model.products import PRODUCTS, Product, disagreement, product_for

DEVICES = ("cpu", "cuda")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    product_for.cache_clear()
    yield
    product_for.cache_clear()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_the_product_of_a_device_is_right(device: str, dtype: torch.dtype) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    chosen = product_for(device, dtype)
    # The rounded one is away from fp32 by the rounding of a half, and by no more.
    assert disagreement(chosen, device, dtype) == "" or chosen.name == "rounded"
    left, right = torch.randn(3, 64).to(device, dtype), torch.randn(64, 8).to(device, dtype)
    rows = torch.full((3, 24), float("nan"), device=device)
    out = rows[:, 8:16]
    chosen.write(left, right, out, False)
    expected = left.double() @ right.double()
    precision = max(torch.finfo(dtype).eps, 1e-5)
    assert (out - expected).norm() <= precision * expected.norm()
    chosen.write(left, right, out, True)
    assert (out - 2 * expected).norm() <= 2 * precision * expected.norm()
    assert rows[:, :8].isnan().all() and rows[:, 16:].isnan().all()


def _absent(left: Tensor, right: Tensor, out: Tensor, adds: bool) -> None:
    raise NotImplementedError("no such kernel\non this device")


def _never_adds(left: Tensor, right: Tensor, out: Tensor, adds: bool) -> None:
    out.copy_(left.float() @ right.float())


def _rounds(left: Tensor, right: Tensor, out: Tensor, adds: bool) -> None:
    out.mul_(int(adds)).add_((left @ right).to(torch.bfloat16))


def _forgets_where_rows_end(left: Tensor, right: Tensor, out: Tensor, adds: bool) -> None:
    out.mul_(int(adds)).add_(left.float() @ right.float())
    whole = out._base
    assert whole is not None
    whole[:, out.shape[1] :] = 0


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (_absent, "no such kernel$"),
        (_never_adds, "% away"),
        (_rounds, "% away"),
        (_forgets_where_rows_end, "beside its rows"),
    ],
)
def test_a_wrong_product_is_not_used(
    monkeypatch: pytest.MonkeyPatch, write: Callable[..., None], why: str
) -> None:
    wrong = Product("wrong", write, lambda device, dtype: True)
    monkeypatch.setattr(products, "PRODUCTS", (wrong, *PRODUCTS))
    with pytest.warns(UserWarning, match=f"gradients without wrong products: .*{why}"):
        assert product_for("cpu", torch.float32).name == "in place"
