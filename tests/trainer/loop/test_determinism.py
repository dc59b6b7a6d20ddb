"""`deterministic: true`: what it sets on a GPU, and what it says where it cannot hold.

That equal runs end with equal bits is seen on a GPU alone: tests/trainer/loop/test_gpu.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.hosts import with_gpu
from tests.support.small import small_config
from trainer.__main__ import main
from trainer.config import ConfigError
from trainer.loop import determinism
from trainer.loop.build import check_methods
from trainer.loop.determinism import VARIABLE
from trainer.loop.run import Run

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins without the variable, and leaves the process as it was."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    before = torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before)
    torch.utils.deterministic.fill_uninitialized_memory = filled


def test_a_gpu_is_told_before_it_computes_and_the_next_trial_tells_it_anew() -> None:
    determinism.settle(True, GPU)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled(), "it would choose no kernel"
    assert not torch.utils.deterministic.fill_uninitialized_memory
    assert os.environ[VARIABLE] == ":4096:8"
    determinism.settle(False, GPU)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_value_of_the_users_own_that_is_deterministic_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, ":16:8")
    assert determinism.why_not(GPU) == []
    determinism.settle(True, GPU)
    assert os.environ[VARIABLE] == ":16:8"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_cpu_trial_leaves_the_process_as_it_is(cache: Path, wanted: bool) -> None:
    for chosen in (False, True):  # by the user of the library
        torch.use_deterministic_algorithms(chosen)
        Run(small_config(cache, device="cpu", deterministic=wanted))
        assert torch.are_deterministic_algorithms_enabled() == chosen
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("value", "started", "says"),
    [
        (None, False, ""),
        (":4096:8", True, ""),
        (None, True, "this process has used the GPU without CUBLAS_WORKSPACE_CONFIG"),
        (":0:0", False, "the environment has CUBLAS_WORKSPACE_CONFIG=:0:0"),
    ],
)
def test_what_prevents_it_is_said_before_anything_starts(
    value: str | None, started: bool, says: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(monkeypatch, (8, 0))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    check_methods(small_config(cache, device="auto"))
    check_methods(small_config(cache, device="cpu", deterministic=True))
    config = small_config(cache, device="auto", deterministic=True)
    if not says:
        return check_methods(config)
    with pytest.raises(ConfigError) as error:
        check_methods(config)
    assert [problem.key for problem in error.value.problems] == ["deterministic"]
    assert says in str(error.value) and ":4096:8" in str(error.value)


def test_a_kernel_without_a_deterministic_form_is_named(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(small_config(cache))

    def refuse(*_: object) -> None:
        raise RuntimeError(
            "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch"
        )

    monkeypatch.setattr(run.model, "outputs", refuse)
    with pytest.raises(ConfigError, match="deterministic.*cumsum_cuda_kernel has no form"):
        run.warm_up(1)

    def fail(*_: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(run.model, "outputs", fail)
    with pytest.raises(RuntimeError, match=r"^out of memory$"):
        run.warm_up(1)


def test_the_first_line_says_it(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(cache, device="cpu", deterministic=True, epochs=1)
    (tmp_path / "c.json").write_text(json.dumps(config.to_dict()))
    with caplog.at_level("INFO", "trainer"):
        assert main(["--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "out")]) == 0
    assert "device: cpu (as configured), deterministic, threads: 1" in caplog.messages[0]
