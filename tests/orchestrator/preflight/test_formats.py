"""A sweep that an earlier version started continues with the meaning of its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from orchestrator.doctor.kept_sweep import sweep_findings
from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.preflight.checks import check_same_sweep
from orchestrator.preflight.formats import format_note, keep_format
from orchestrator.spec import load_spec
from tests.support.ledgers import write_trial
from trainer.config import FORMAT

SWEEP: dict[str, Any] = {
    "name": "s",
    "base": {"data": {"source": "synthetic"}, "encoder": "tiny", "dropout": 0.5},
    "search": {"algorithm": "list", "seeds": [1]},
    "enqueue": [{"sampler": "round_robin"}],
}


def kept(tmp_path: Path, *, old: bool, **changes: Any) -> tuple[Ledger, Path]:
    """A sweep folder with its sweep.yaml, and the sweep's file."""
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(SWEEP | changes))
    plain = load_spec(str(file)).to_dict()
    if old:
        del plain["format"]
    ledger = Ledger(tmp_path / "out", "s")
    ledger.folder.write(RESOLVED, yaml.safe_dump(plain).encode())
    return ledger, file


def test_a_new_sweep_has_todays_format(tmp_path: Path) -> None:
    ledger, file = kept(tmp_path, old=False)
    spec = keep_format(load_spec(str(file)), ledger)
    assert spec.format == FORMAT
    assert spec.config_for({}, 1).encoder_dropout == 0.1
    assert format_note(spec) == ""


def test_the_same_file_continues_an_old_sweep_in_its_meaning(tmp_path: Path) -> None:
    ledger, file = kept(tmp_path, old=True)
    spec = keep_format(load_spec(str(file)), ledger)
    assert spec.format == 1
    assert spec.config_for({}, 1).encoder_dropout == 0.5
    assert spec.config_for({"dropout": 0.2}, 1).encoder_dropout == 0.2
    assert "format 1" in format_note(spec)
    check_same_sweep(ledger.folder, spec)  # not another sweep
    assert yaml.safe_load(ledger.folder.read(RESOLVED) or b"")["format"] == 1


def test_a_file_may_name_its_format(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(yaml.safe_dump(SWEEP | {"format": 1}))
    spec = keep_format(load_spec(str(file)), Ledger(tmp_path / "out", "s"))
    assert spec.config_for({}, 1).encoder_dropout == 0.5


def test_doctor_names_an_old_sweep(tmp_path: Path) -> None:
    ledger, _ = kept(tmp_path, old=True)
    write_trial(tmp_path / "out" / "s", [0.4], sampler="round_robin")
    levels = {finding.what: finding.level for finding in sweep_findings(ledger)}
    assert levels == {"trials": "ok", "format": "warning"}
    found = next(each.found for each in sweep_findings(ledger) if each.what == "format")
    assert "1 (0 of 1 trials)" in found
    assert "dropout" in found


def test_doctor_is_content_with_a_sweep_of_today(tmp_path: Path) -> None:
    ledger, _ = kept(tmp_path, old=False)
    assert [finding.level for finding in sweep_findings(ledger)] == ["ok", "ok"]
