"""Training steps on a CUDA device that computes nothing: no mixed devices or types, no waiting.

What only a GPU can show stands in tests/trainer/loop/test_gpu.py.
"""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import pytest

from tests.support import fake_cuda
from tests.support.fake_cuda.changed_source import changed
from tests.support.fake_cuda.faults import FAULTS, HOPPER, TURING, Fault
from tests.support.fake_cuda.verdict import ALLOWED, problem, waits
from tests.support.published_rows import ROWS
from trainer.loop.cuda_graphs import WARM_UP_RUNS

pytestmark = pytest.mark.skipif(bool(fake_cuda.why_not()), reason=fake_cuda.why_not() or "-")

PRECISIONS = {TURING: ("fp32", "fp16", "auto"), HOPPER: ("fp32", "tf32", "fp16", "bf16", "auto")}
AUTO = {TURING: "fp16", HOPPER: "bf16"}
OTHERS = pytest.mark.exhaustive(reason="half a minute: every method on the other kind of GPU")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_cuda.build(tmp_path_factory.mktemp("device"))


def test_every_precision_is_recorded_and_sends_its_data_without_waiting(
    library: Path, tmp_path: Path
) -> None:
    asked = [
        {"config": {"precision": name, "sampler": "round_robin"}, "capability": capability,
         "repeats": 4, "counts": True,
         "expects": {"recorded": True, "replayed": 2, "deterministic": False,
                     "precision": AUTO[capability] if name == "auto" else name}}
        for capability, names in PRECISIONS.items()
        for name in names
    ]  # fmt: skip
    asked += [
        {**request, "config": {**request["config"], "deterministic": True},
         "expects": {**request["expects"], "deterministic": True}}
        for request in asked
        if request["config"]["precision"] == "auto"
    ]  # fmt: skip
    kernels = set()
    for request, answer in zip(asked, fake_cuda.run(library, asked, tmp_path), strict=True):
        assert problem(request, answer) == "", request
        assert len(answer["steps"]) == 1
        kernels.add((request["capability"], answer["precision"], answer["attention"]))
    assert kernels == {
        (TURING, "fp32", "memory-efficient"),
        (TURING, "fp16", "memory-efficient"),
        (HOPPER, "fp32", "memory-efficient"),
        (HOPPER, "tf32", "memory-efficient"),
        (HOPPER, "fp16", "flash"),
        (HOPPER, "bf16", "flash"),
    }


def test_a_precision_that_the_gpu_lacks_is_refused_and_one_that_a_trial_began_in_is_kept(
    library: Path, tmp_path: Path
) -> None:
    asked = [{"config": {"precision": name}, "capability": TURING} for name in ("bf16", "tf32")]
    began = {"config": {"precision": "auto", "sampler": "round_robin"}}
    kept = {**began, "capability": HOPPER, "kept": "fp16", "expects": {"precision": "fp16"}}
    asked += [{**began, "capability": TURING, "kept": "bf16"}, kept]
    *refused, resumed_elsewhere, resumed = fake_cuda.run(library, asked, tmp_path)
    for answer in refused:
        assert "this GPU" not in answer["error"] and "does not multiply" in answer["error"]
        assert "use precision: auto (fp16 there)" in answer["error"]
    assert "auto became bf16 at the first start, and the GPU of" in resumed_elsewhere["error"]
    assert problem(kept, resumed) == ""


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
    answers = fake_cuda.run(library, asked, tmp_path)
    found = map(problem, asked, answers)
    assert {name: text for name, text in zip(ROWS, found, strict=True) if text} == {}


def test_steps_that_cannot_be_recorded_wait_only_for_what_is_declared(
    library: Path, tmp_path: Path
) -> None:
    """A method that reads its Gramian on the host, and attention without a GPU's kernels."""
    config = {"precision": "auto", "sampler": "round_robin", "deterministic": True}
    asked = [
        {"config": {**config, "combiner": "torchjd.UPGrad"}, "capability": HOPPER},
        {"config": config, "capability": HOPPER, "grids": True},
        {"config": config, "capability": TURING, "grids": True},
    ]
    answers = fake_cuda.run(library, asked, tmp_path)
    for request, answer, allowed in zip(asked, answers, (ALLOWED, set(), set()), strict=True):
        kernel = "grids" if "grids" in request else "flash"
        expects = {"recorded": False, "attention": kernel, "deterministic": True}
        assert problem({**request, "expects": expects}, answer) == ""
        assert waits(answer) == allowed


@pytest.mark.slow(reason="records steps in a process of its own: 5 s")
def test_the_memory_probe_records_several_sizes_and_takes_a_plain_step(
    library: Path, tmp_path: Path
) -> None:
    config = {"precision": "auto", "sampler": "round_robin", "batch_size": 32}
    request = {"config": {**config, "data": {"size": 128}}, "capability": HOPPER, "probe": True}
    (answer,) = fake_cuda.run(library, [request], tmp_path)
    assert problem(request, answer) == "" and waits(answer) == set()
    # The largest step and four others, three times each, are of two sizes; the last one is plain.
    assert (answer["graphs"], answer["replayed"]) == (2, 5 * 3 - 2 * WARM_UP_RUNS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_can_still_be_put_back(fault: Fault) -> None:
    assert changed(fault.file, fault.old, fault.new) != ""


@pytest.mark.exhaustive(reason="each fault trains in a process of its own: 5 s")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_that_is_put_back_is_found(fault: Fault, library: Path, tmp_path: Path) -> None:
    assert fault.found in fault.shown(library, tmp_path)
