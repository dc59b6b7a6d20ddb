"""Training steps on a CUDA device that computes nothing: no mixed devices or types, no waiting.

What only a GPU can show stands in tests/trainer/loop/test_gpu.py.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.support import fake_cuda
from tests.support.published_rows import ROWS

pytestmark = pytest.mark.skipif(bool(fake_cuda.why_not()), reason=fake_cuda.why_not() or "-")

#: Compute capabilities of a T4 and of an H100.
TURING, HOPPER = (7, 5), (9, 0)
PRECISIONS = {TURING: ("fp32", "fp16", "auto"), HOPPER: ("fp32", "tf32", "fp16", "bf16", "auto")}
OTHERS = pytest.mark.exhaustive(reason="half a minute: every method on the other kind of GPU")
#: A method that solves for its weights on the host reads the Gramian.  Nothing else may wait.
ALLOWED = {"_to_copy from cuda (3, 3) in loop/step.py:_weights"}
#: Operators of a step with three tasks, by precision.  They may become fewer, and not more.
OPERATORS = {"fp32": 325, "tf32": 325, "fp16": 351, "bf16": 334}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_cuda.build(tmp_path_factory.mktemp("device"))


def waits(answer: dict[str, Any]) -> set[str]:
    return {wait for step in answer["steps"] for wait in step["waits"]}


def test_every_precision_is_recorded_and_sends_its_data_without_waiting(
    library: Path, tmp_path: Path
) -> None:
    asked = [
        {"config": {"precision": name, "sampler": "round_robin"}, "capability": capability,
         "repeats": 4}
        for capability, names in PRECISIONS.items()
        for name in names
    ]  # fmt: skip
    kernels = set()
    for request, answer in zip(asked, fake_cuda.run(library, asked, tmp_path), strict=True):
        assert "error" not in answer, answer["error"]
        assert not waits(answer), request
        assert answer["recorded"] and answer["replayed"] == 2
        (step,) = answer["steps"]
        assert step["operators"] <= OPERATORS[answer["precision"]], request
        kernels.add((request["capability"], answer["precision"], answer["attention"]))
    assert kernels == {
        (TURING, "fp32", "memory-efficient"),
        (TURING, "fp16", "memory-efficient"),
        (HOPPER, "fp32", "memory-efficient"),
        (HOPPER, "tf32", "memory-efficient"),
        (HOPPER, "fp16", "flash"),
        (HOPPER, "bf16", "flash"),
    }


def test_a_precision_that_the_gpu_lacks_is_refused(library: Path, tmp_path: Path) -> None:
    asked = [{"config": {"precision": name}, "capability": TURING} for name in ("bf16", "tf32")]
    for answer in fake_cuda.run(library, asked, tmp_path):
        assert "this GPU" not in answer["error"] and "does not multiply" in answer["error"]
        assert "use precision: auto (fp16 there)" in answer["error"]


@pytest.mark.slow(reason="half a minute: every method, on one of two kinds of GPU")
@pytest.mark.parametrize("first", [TURING, pytest.param(HOPPER, marks=OTHERS)])
def test_no_method_waits_or_mixes_devices_or_types(
    first: tuple[int, int], library: Path, tmp_path: Path
) -> None:
    kinds = cycle((first, TURING if first == HOPPER else HOPPER))
    asked = [
        {"config": {"precision": "auto", "data": {"dev_limit": {}}, **row}, "capability": kind}
        for row, kind in zip(ROWS.values(), kinds, strict=False)
    ]
    wrong = {}
    for name, answer in zip(ROWS, fake_cuda.run(library, asked, tmp_path), strict=True):
        if "error" in answer:
            wrong[name] = answer["error"]
        elif not waits(answer) <= ALLOWED:
            wrong[name] = str(waits(answer) - ALLOWED)
    assert wrong == {}


def test_a_wait_or_a_mix_is_found(library: Path, tmp_path: Path) -> None:
    """The method that reads its Gramian on the host is one that waits."""
    config = {"combiner": "torchjd.UPGrad", "sampler": "round_robin"}
    (answer,) = fake_cuda.run(library, [{"config": config, "capability": HOPPER}], tmp_path)
    assert "error" not in answer, answer["error"]
    assert waits(answer) == ALLOWED
    assert not answer["recorded"]
