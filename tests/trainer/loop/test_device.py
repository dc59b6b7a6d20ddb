"""The precision of a trial: what `auto` becomes, and what a device refuses."""

from __future__ import annotations

import platform

import pytest
import torch

from tests.support.hosts import multiplying_bf16
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
