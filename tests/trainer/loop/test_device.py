"""The precision of a trial: what `auto` becomes, and what a device refuses."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

import trainer.train
from tests.support.hosts import multiplying_bf16, with_gpu
from tests.support.small import small_config
from trainer.loop.device import PrecisionError, multiplies_bf16, resolve_precision

CPU = torch.device("cpu")


@pytest.fixture(params=[True, False], ids=["native", "emulating"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    multiplying_bf16(monkeypatch, request.param)
    return bool(request.param)


def test_this_machine_knows_what_it_multiplies() -> None:
    assert multiplies_bf16(CPU) in (True, False)
    assert not multiplies_bf16(torch.device("meta"))
    if not torch.cuda.is_available():
        assert not multiplies_bf16(torch.device("cuda"))


def test_auto_is_bf16_where_it_is_native_and_fp32_elsewhere(native: bool) -> None:
    assert resolve_precision("auto", CPU) == ("bf16" if native else "fp32")


def test_fp32_and_emulated_bf16_run_on_every_device(native: bool) -> None:
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16-emulated", CPU) == "bf16"
    assert resolve_precision("auto", CPU, kept="fp32") == "fp32"


@pytest.mark.parametrize("kept", ["", "bf16"])
def test_bf16_is_refused_where_it_would_be_emulated(
    kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "auto" if kept else "bf16"
    multiplying_bf16(monkeypatch, True)
    assert resolve_precision(name, CPU, kept=kept) == "bf16"
    multiplying_bf16(monkeypatch, False)
    with pytest.raises(PrecisionError) as error:
        resolve_precision(name, CPU, kept=kept)
    assert "CPU" in str(error.value) and platform.node() in str(error.value)
    assert "does not multiply bf16 natively" in str(error.value)
    assert error.value.remedy in str(error.value)
    if not kept:
        assert "precision: auto" in error.value.remedy
        assert "precision: bf16-emulated" in error.value.remedy


def test_a_trial_is_never_computed_in_another_precision_than_its_sweep(native: bool) -> None:
    with pytest.raises(PrecisionError, match="fp32"):
        resolve_precision("fp32", CPU, kept="bf16")


#: Compute capabilities of a V100, a T4, an A100 and an H100.
VOLTA, TURING, AMPERE, HOPPER = (7, 0), (7, 5), (8, 0), (9, 0)


@pytest.mark.parametrize("name", ["auto", "fp32", "fp16", "tf32", "bf16"])
@pytest.mark.parametrize("later", [VOLTA, TURING, AMPERE, HOPPER])
@pytest.mark.parametrize("first", [VOLTA, TURING, AMPERE, HOPPER])
def test_a_trial_that_resumes_on_another_gpu_keeps_its_precision_or_says_why_not(
    first: tuple[int, int], later: tuple[int, int], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu, recent = torch.device("cuda"), {"bf16", "tf32"}
    with_gpu(monkeypatch, first)
    if name in recent and first < AMPERE:
        with pytest.raises(PrecisionError, match=f"^precision: {name}: the GPU of this host"):
            resolve_precision(name, gpu)
        return
    began = resolve_precision(name, gpu)
    assert began == ({True: "bf16", False: "fp16"}[first >= AMPERE] if name == "auto" else name)
    with_gpu(monkeypatch, later)
    if began not in recent or later >= AMPERE:
        assert resolve_precision(name, gpu, kept=began) == began
        return
    with pytest.raises(PrecisionError) as error:
        resolve_precision(name, gpu, kept=began)
    was = f"auto became {began}" if name == "auto" else f"it was {began}"
    assert error.value.problem.startswith(f"precision: {was} at the first start, and the GPU of ")
    assert f"continue on a host that multiplies {began} natively" in error.value.remedy
    assert ("with precision: auto" in error.value.remedy) == (name != "auto")


def test_epochs_on_another_device_than_the_first_ones_are_noted(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(cache, epochs=3, B=8, data={"dev_limit": {"sst": 8}})
    here = next(trainer.train.train(config, str(tmp_path)))
    again = next(trainer.train.train(config, str(tmp_path)))
    assert "notes" not in here.record and "notes" not in again.record
    monkeypatch.setattr(trainer.train, "device_name", lambda device: "cuda: NVIDIA A100")
    (last,) = trainer.train.train(config, str(tmp_path))
    (note,) = last.record["notes"]
    assert note.startswith("epochs from 3 on are of cuda: NVIDIA A100, and the trial began on cpu")
