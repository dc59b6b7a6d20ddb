"""Spans: sums over all of them at once, and which of their rows can be written together."""

from __future__ import annotations

import pytest
import torch

from trainer.model.spans import Span, Spans

ROWS = Spans([Span(0, 0, 3), Span(1, 3, 4), Span(3, 4, 9), Span(4, 9, 11)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_product_adds_up_over_every_span(dtype: torch.dtype) -> None:
    x = torch.randn(11, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    sums = ROWS.sums(x)
    assert sums.dtype == dtype and sums is ROWS.sums(x)
    expected = torch.stack([x[span.start : span.end].double().sum(0) for span in ROWS])
    assert torch.allclose((sums.double() @ x.double()), expected)


def test_a_run_has_rows_that_follow_one_another_and_are_of_one_kind() -> None:
    def runs(begun: set[int]) -> list[list[int]]:
        return [[span.row for span in ROWS[run]] for run in ROWS.runs(begun.__contains__)]

    assert runs(set()) == [[0, 1], [3, 4]]
    assert runs({1, 3, 4}) == [[0], [1], [3, 4]]
    assert runs({0, 1, 4}) == [[0, 1], [3], [4]]


def test_spans_of_a_copy_on_a_device_make_their_own_matrices() -> None:
    x = torch.ones(11, 1)
    ROWS.sums(x)
    copy = Spans(ROWS)
    assert copy == ROWS and hash(copy) == hash(ROWS)
    assert copy.sums(x) is not ROWS.sums(x)
