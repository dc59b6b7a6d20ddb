"""The precision of a sweep: decided with its first trial, recorded, and kept on every host."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.preflight.checks import check_same_sweep
from orchestrator.preflight.precision import asked, describe, keep, needs_hardware, settle
from orchestrator.spec import SweepSpec, load_spec
from orchestrator.sweep import run_sweep
from tests.support.hosts import multiplying_bf16
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT
from trainer.loop.device import Hardware, PrecisionError

NATIVE = Hardware("cpu", frozenset({"fp32", "bf16"}))
EMULATING = Hardware("cpu", frozenset({"fp32"}))
AMPERE = Hardware("cuda", frozenset({"fp32", "tf32", "fp16", "bf16"}), "node a")
TURING = Hardware("cuda", frozenset({"fp32", "fp16"}), "node b")
NODES = [AMPERE, TURING]


def sweep(precision: str | None = "auto", **parts: Any) -> SweepSpec:
    base: dict[str, Any] = {"data": {"source": "synthetic"}, "encoder": "tiny", "epochs": 2}
    base |= {"precision": precision} if precision else {}
    search = {"algorithm": "list", "num_trials": 1, "seeds": [1]}
    whole = {"name": "s", "base": base, "search": search, "enqueue": [{}]} | parts
    return SweepSpec.model_validate(whole)


def recorded(ledger: Ledger) -> Any:
    return yaml.safe_load(ledger.folder.read("sweep.yaml") or b"").get("resolved")


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (sweep(None), {"fp32"}),
        (sweep("auto"), {"auto"}),
        (sweep("auto", enqueue=[{}, {"precision": "bf16"}]), {"auto", "bf16"}),
        (sweep("auto", enqueue=[{"precision": "fp32"}]), {"fp32"}),
        (
            sweep(
                "auto", search={"algorithm": "random"}, enqueue=[{"dropout": 0.1}],
                space={"precision": {"choices": ["fp32", "bf16"]}},
            ),
            {"fp32", "bf16"},
        ),
        (
            sweep(
                "auto", search={"algorithm": "random"}, enqueue=[],
                space={"precision": {"choices": ["bf16"], "when": {"encoder": ["tiny"]}}},
            ),
            {"auto", "bf16"},
        ),
    ],
)  # fmt: skip
def test_every_precision_that_a_sweep_can_ask_for_is_known(
    spec: SweepSpec, names: set[str]
) -> None:
    assert asked(spec) == names


def test_auto_is_what_everything_that_trains_multiplies_natively() -> None:
    assert settle(sweep(), [NATIVE]).resolved.precision == "bf16"
    assert settle(sweep(), [EMULATING]).resolved.precision == "fp32"
    assert settle(sweep(), [AMPERE]).resolved.precision == "bf16"
    assert settle(sweep(), NODES).resolved.precision == "fp16"
    assert settle(sweep(), [TURING, NATIVE]).resolved.precision == "fp32"
    assert settle(sweep("fp32"), [NATIVE]).resolved.precision is None


def test_the_reason_stands_beside_the_precision() -> None:
    def text(spec: SweepSpec, *hardware: Hardware) -> str:
        return describe(settle(spec, hardware), hardware)

    assert text(sweep(), EMULATING) == (
        "precision: fp32 (auto; this CPU does not multiply bf16 natively), "
        "device: cpu (auto; no GPU here)"
    )
    assert text(sweep(), NATIVE).startswith(
        "precision: bf16 (auto; this CPU multiplies bf16 natively)"
    )
    kept = sweep(resolved={"precision": "fp32"})
    assert text(kept, NATIVE).startswith("precision: fp32 (auto; decided at the first start)")
    assert text(sweep(None), NATIVE).startswith("precision: fp32 (as configured), device: cpu")
    emulated = text(sweep("bf16-emulated"), EMULATING)
    assert "bf16 (bf16-emulated; this CPU does not multiply bf16 natively: a step" in emulated
    assert text(sweep(), *NODES) == (
        "precision: fp16 (auto; the GPU of node b does not multiply bf16 natively), "
        "device: cuda (auto; on 2 nodes)"
    )
    assert text(kept).endswith("device: auto (chosen on each node)")
    base = sweep().base | {"deterministic": True}
    assert text(sweep(base=base), AMPERE).endswith("device: cuda (auto; on 1 node), deterministic")
    both = text(sweep("auto", enqueue=[{}, {"precision": "bf16"}]), NATIVE)
    assert both.startswith("precision: bf16 (auto; this CPU multiplies bf16 natively), bf16 (as ")


@pytest.mark.parametrize(
    "spec",
    [
        sweep("bf16"),
        sweep("auto", enqueue=[{}, {"precision": "bf16"}]),
        sweep(None, search={}, space={"precision": {"choices": ["fp32", "bf16"]}}),
    ],
)
def test_bf16_that_would_be_emulated_is_refused_with_the_remedy(spec: SweepSpec) -> None:
    settle(spec, [NATIVE])
    with pytest.raises(PrecisionError) as error:
        settle(spec, [EMULATING])
    assert str(error.value).startswith("precision: bf16: this CPU does not multiply bf16 natively")
    assert "precision: auto" in error.value.remedy and "bf16-emulated" in error.value.remedy
    settle(sweep("bf16-emulated"), [EMULATING])


def test_a_sweep_that_became_bf16_is_refused_where_that_is_emulated() -> None:
    kept = sweep(resolved={"precision": "bf16"})
    assert settle(kept, [NATIVE]).resolved.precision == "bf16"
    with pytest.raises(PrecisionError) as error:
        settle(kept, NODES)
    assert "auto became bf16" in error.value.problem and "the GPU of node b" in error.value.problem
    assert "--fresh" in error.value.remedy


def test_only_what_a_host_may_change_is_asked_of_it() -> None:
    assert needs_hardware(sweep("auto")) and needs_hardware(sweep("bf16"))
    assert not needs_hardware(sweep("fp32")) and not needs_hardware(sweep("bf16-emulated"))
    assert not needs_hardware(sweep(resolved={"precision": "fp32"}))
    assert needs_hardware(sweep(resolved={"precision": "bf16"}))


def test_what_auto_became_is_read_from_the_sweeps_folder(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "s")
    assert keep(sweep(), ledger).resolved.precision is None
    check_same_sweep(ledger.folder, settle(sweep(), [NATIVE]))
    assert recorded(ledger) == {"precision": "bf16"}
    # Nothing was trained in it: the first trial decides, wherever it runs.
    assert keep(sweep(), ledger).resolved.precision is None
    write_trial(tmp_path / "s", [0.5], computed_in="bf16", precision="auto", seed=1)
    assert keep(sweep(), ledger).resolved.precision == "bf16"
    check_same_sweep(ledger.folder, keep(sweep(), ledger))
    assert recorded(ledger) == {"precision": "bf16"}
    with pytest.raises(PrecisionError, match="bf16"):
        keep(sweep(resolved={"precision": "fp32"}), ledger)


def test_a_sweep_of_before_has_what_its_trials_recorded(tmp_path: Path) -> None:
    ledger, folder = Ledger(tmp_path, "s"), tmp_path / "s"
    write_trial(folder, [0.5], precision="auto", seed=1)
    write_trial(folder, [0.5], computed_in="bf16", precision="bf16", seed=1)
    assert keep(sweep(), ledger).resolved.precision is None
    write_trial(folder, [0.5], computed_in="fp32", precision="auto", seed=2)
    assert keep(sweep(), ledger).resolved.precision == "fp32"
    assert keep(sweep("fp32"), ledger).resolved.precision is None
    write_trial(folder, [0.5], computed_in="bf16", precision="auto", seed=3)
    with pytest.raises(PrecisionError, match="two precisions"):
        keep(sweep(), ledger)


def test_settling_the_precision_keeps_the_decision() -> None:
    decision = {
        "number": 2, "configurations": {"arrp": {"B": 950}}, "config_ids": {"arrp": "c"},
        "first_seed": 6, "looks": [3, 5], "margin": 0.01, "prior_variance": 1e-4,
        "prior_df": math.inf, "budget_minutes": 40.0,
    }  # fmt: skip
    spec = sweep(resolved={"decision": decision})
    settled = settle(spec, [NATIVE])
    assert settled.resolved.precision == "bf16"
    assert settled.resolved.decision == spec.resolved.decision
    # It is read as it was written, also from JSON, which has no infinity.
    plain = yaml.safe_load(settled.to_yaml())
    assert SweepSpec.model_validate(plain) == settled
    plain["resolved"]["decision"]["prior_df"] = None
    assert SweepSpec.model_validate(plain) == settled


def test_a_sweep_without_auto_is_written_as_before(tmp_path: Path) -> None:
    check_same_sweep(tmp_path, settle(sweep("fp32"), [NATIVE]))
    assert "resolved" not in (tmp_path / "sweep.yaml").read_text()


def test_bf16_goes_on_as_emulated_bf16(tmp_path: Path) -> None:
    check_same_sweep(tmp_path, sweep("bf16"))
    check_same_sweep(tmp_path, sweep("bf16-emulated"))
    with pytest.raises(SweepError, match=r"base.precision"):
        check_same_sweep(tmp_path, sweep("auto"))


def test_the_shipped_sweep_for_a_cpu_runs_on_every_cpu() -> None:
    for file in (ROOT / "search_spaces").glob("*.yaml"):
        profiles = yaml.safe_load(file.read_text()).get("profiles", {})
        for profile in (None, *profiles):
            settle(load_spec(str(file), profile), [EMULATING])
    assert asked(load_spec(str(ROOT / "search_spaces" / "arrp.yaml"), "cpu")) == {"auto"}
    assert asked(load_spec(str(ROOT / "search_spaces" / "study.yaml"), None)) == {"fp32"}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return io.StringIO()


@pytest.mark.exhaustive(reason="five runs of sweeps on hosts of two kinds")
def test_a_sweep_keeps_its_precision_from_host_to_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: io.StringIO
) -> None:
    """It begins on a host without native bf16, goes on where bf16 is native, and never mixes."""

    def run(spec: SweepSpec, name: str = "out", train: str = "tests.support.faulty:train") -> Any:
        return run_sweep(spec, str(tmp_path / name), Console(file=said), train=train)

    def precisions(name: str = "out") -> dict[int, Any]:
        trials = Ledger(tmp_path / name, "s").trials()
        return {t.config["seed"]: t.identity.get("precision") for t in trials}

    quiet = {"tracking": {"report": False, "registered_model": "none", "study": "none"}}
    more = {"search": {"algorithm": "list", "num_trials": 1, "seeds": [1, 2]}}
    multiplying_bf16(monkeypatch, False)
    assert run(sweep(**quiet)).exit_code == 0
    assert recorded(Ledger(tmp_path / "out", "s")) == {"precision": "fp32"}
    (line,) = (text for text in said.getvalue().splitlines() if text.startswith("precision: "))
    assert line == (
        "precision: fp32 (auto; this CPU does not multiply bf16 natively), device: cpu (auto; no "
        "GPU here), 1 trial at once, 1 thread each"
    )
    multiplying_bf16(monkeypatch, True)
    assert run(sweep(**quiet, **more)).exit_code == 0
    assert precisions() == {1: "fp32", 2: "fp32"}
    assert recorded(Ledger(tmp_path / "out", "s")) == {"precision": "fp32"}

    assert run(sweep(**quiet), "native").exit_code == 0
    multiplying_bf16(monkeypatch, False)
    with pytest.raises(SweepError, match="auto became bf16 at the first start"):
        run(sweep(**quiet, **more), "native")
    assert precisions("native") == {1: "bf16"}
    with pytest.raises(SweepError, match="precision: bf16-emulated"):
        run(sweep("bf16", **quiet), "explicit")
    assert not (tmp_path / "explicit" / "s").exists()

    # A node that nobody asked: its worker refuses, no trial has failed, the sweep stops.
    multiplying_bf16(monkeypatch, True)
    outcome = run(sweep(**quiet, **more), "native", "tests.support.hosts:train_without_bf16")
    assert outcome.exit_code == 1 and outcome.failed == {}
    assert "does not multiply bf16 natively" in outcome.error
    assert precisions("native") == {1: "bf16"}
