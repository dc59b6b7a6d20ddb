"""What a machine lacks is said before anything starts, with the way out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.preflight.checks import check_machine, identifier, prepare_data
from orchestrator.spec import load_spec
from tests.support.command import orch_process
from trainer.config import ConfigError

SWEEP = """\
name: a
base: {data: {source: synthetic, size: 32}, encoder: tiny, tasks: [sst], epochs: 1}
search: {algorithm: list}
enqueue: [{}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "s.yaml").write_text(SWEEP)
    return tmp_path / "s.yaml"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("cpu=0.00001", "resources.cpu: 0.00001 is outside its range; allowed: value >= 0.001"),
        ("cpu=.nan", "resources.cpu"),
        ("gpu=0.0001", "resources.gpu: must be 0 or at least 0.001"),
        ("max_concurrent=1000000000", "resources.max_concurrent"),
        ("grace_seconds=.inf", "resources.grace_seconds"),
    ],
)
def test_a_share_that_cannot_be_given_is_refused_in_the_file(
    file: Path, change: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_spec(str(file), None, [f"resources.{change}"])
    assert said.replace("0.00001", "1e-05") in str(caught.value).replace("0.00001", "1e-05")


def test_more_cpus_than_there_are_is_one_clear_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    spec = load_spec(str(file), None, ["resources.cpu=64"])
    with pytest.raises(SweepError) as caught:
        check_machine(spec, None)
    assert str(caught.value) == (
        "resources.cpu: a trial needs 64 CPUs, but this machine has 2; use another machine or "
        "--set resources.cpu=2 (and --set base.threads=64 for trials that were begun with so many "
        "threads)"
    )
    check_machine(spec, "head:6379")  # its nodes may have more
    check_machine(load_spec(str(file), None, ["resources.cpu=2"]), None)


@pytest.mark.parametrize("place", ["file/cache", "/proc/nowhere", "file"])
def test_a_cache_that_cannot_be_used_names_the_way_out(
    file: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    Path("file").write_text("")
    monkeypatch.setenv("ORCH_CACHE", place)
    with pytest.raises(SweepError) as caught:
        prepare_data(load_spec(str(file)), identifier())
    assert f"the cache {place}" in str(caught.value)
    assert "ORCH_CACHE, or data.cache in the config" in str(caught.value)


def test_a_user_without_a_home_is_told_what_to_set(file: Path) -> None:
    done = orch_process("doctor", str(file), "--out", "~nobody-of-this-name/x", HOME="")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "there is no such home folder: set HOME" in done.stderr
