"""The tasks for SkyPilot, by their schema, and what their machines run."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import yaml

from orchestrator.spec import load_spec
from tests.support.paths import ROOT
from tests.support.skypilot import TASK, as_skypilot_reads

DOCKER = ROOT / "docker"
TASKS = ("sky.yaml", "sky.smoke.yaml")
#: A Ray whose head runs until it is ended, and to which no other node can stay joined.
_RAY = """#!/bin/sh
echo "ray $*" >>"$NOTES"
case "$*" in
    *--head*) [ -n "${NO_RAY:-}" ] && exit 1; exec sleep 100 ;;
    *) exit 1 ;;
esac
"""
#: Asked whether the first machine answers, and whether all are there: only at the third time.
_PYTHON = """#!/bin/sh
echo "python" >>"$NOTES"
[ "$(grep -c ^python "$NOTES")" -gt 2 ] && [ -z "${NO_RAY:-}" ]
"""
_ORCH = """#!/bin/sh
echo "orch $* $RAY_AUTH_MODE" >>"$NOTES"
set -- $CODES
shift "$(($(grep -c ^orch "$NOTES") - 1))"
exit "$1"
"""


def task(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DOCKER / name).read_text()))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_only_what_skypilot_knows(name: str) -> None:
    jsonschema.validate(task(name), TASK)
    wrong = task(name)
    wrong["resources"]["use_spots"] = True
    with pytest.raises(jsonschema.ValidationError, match="use_spots"):
        jsonschema.validate(wrong, TASK)


@pytest.mark.slow(reason="SkyPilot's own import takes six seconds")
def test_skypilot_reads_the_tasks(tmp_path: Path) -> None:
    for folder in ("data", "encoder"):
        (tmp_path / folder).mkdir()
    answer = as_skypilot_reads(DOCKER / "sky.yaml", tmp_path)
    assert answer.stdout.splitlines() == ["2 ['/inputs/data', '/inputs/encoder']"], answer.stderr
    smoke = as_skypilot_reads(DOCKER / "sky.smoke.yaml", tmp_path)
    assert smoke.stdout.splitlines() == ["1 []"], smoke.stderr
    (tmp_path / "data").rmdir()
    missing = as_skypilot_reads(DOCKER / "sky.yaml", tmp_path)
    assert missing.returncode and "File mount source 'data' does not exist" in missing.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(task("sky.smoke.yaml") | {"file_mount": {}}))
    refused = as_skypilot_reads(wrong, tmp_path)
    assert refused.returncode and "file_mount" in refused.stderr


@pytest.mark.parametrize("name", TASKS)
def test_a_task_runs_a_sweep_that_this_project_has(name: str) -> None:
    program, file, *options = task(name)["run"].split()
    assert (DOCKER / "bin" / program).stat().st_mode & 0o111
    words = iter(options)
    given = [(word, next(words)) for word in words]
    profile = dict(given).get("--profile")
    spec = load_spec(str(ROOT / file), profile, tuple(v for k, v in given if k == "--set"))
    mounts = task(name).get("file_mounts", {})
    if spec.base_value("data.source") == "synthetic":
        assert not mounts and task(name).get("num_nodes", 1) == 1
    else:
        assert {spec.base_value("data.root"), spec.base_value("encoder")} == set(mounts)
        assert task(name)["envs"]["OUT"].startswith("s3://"), "all machines share it"
    # SkyPilot refuses a place that the image has.
    made = re.findall(r"/srv/orch\S*", (DOCKER / "Dockerfile").read_text())
    assert made and not {*mounts} & {*made}


def test_skypilot_repeats_no_error_on_new_machines() -> None:
    recovery = task("sky.yaml")["resources"]["job_recovery"]
    assert recovery["max_restarts_on_errors"] == 0 and "recover_on_exit_codes" not in recovery


@pytest.fixture
def machine(tmp_path: Path) -> Any:
    """Runs `sky-sweep` on a machine whose Ray and orch only note what they were asked."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ray", _RAY), ("orch", _ORCH), ("python", _PYTHON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    notes = tmp_path / "notes"

    def run(rank: int = 0, codes: str = "0", **more: str) -> tuple[int, list[str]]:
        notes.write_text("")
        done = subprocess.run(
            [DOCKER / "bin" / "sky-sweep", "f.yaml", "--set", "a=b c"],
            capture_output=True, text=True, timeout=30,
            env={
                "PATH": f"{programs}:{DOCKER / 'bin'}:{os.environ['PATH']}",
                "NOTES": str(notes), "CODES": codes,
                "ORCH_HOME": str(tmp_path), "ORCH_PAUSE": "0", "OUT": "s3://b/s",
                "SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_NODES": "2",
                "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", **more,
            },
        )  # fmt: skip
        return done.returncode, notes.read_text().splitlines()

    return run


@pytest.mark.parametrize(
    ("codes", "code", "tries"),
    [("0", 0, 1), ("137 0", 0, 2), ("1 1 1 0", 1, 3), ("2 0", 2, 1), ("1 2 0", 2, 2)],
)
def test_only_what_may_pass_is_tried_again(machine: Any, codes: str, code: int, tries: int) -> None:
    ended, notes = machine(codes=codes)
    asked = [line for line in notes if line.startswith("orch")]
    said = "orch sweep f.yaml --set a=b c --address 10.0.0.1:6379 --out s3://b/s token"
    assert ended == code and asked == [said] * tries
    assert notes[: notes.index(said)].count("python") == 3, "only when all machines are there"


def test_the_first_machine_ends_its_own_ray_and_no_other(machine: Any) -> None:
    before = {process.pid for process in psutil.process_iter()}
    _, notes = machine(codes="2")
    assert [line for line in notes if "start --block" in line and "--head" in line]
    assert not [line for line in notes if line.startswith("ray stop")]
    time.sleep(0.1)
    left = [p for p in psutil.process_iter(["name", "cmdline"]) if p.pid not in before]
    assert not [p for p in left if p.info["cmdline"] == ["sleep", "100"]]


def test_another_machine_stays_until_the_first_is_done(machine: Any) -> None:
    code, notes = machine(rank=1)
    *waited, joined = notes
    assert code == 0 and waited == ["python"] * 3
    assert joined.startswith("ray start --block") and "--address=10.0.0.1:6379" in joined


def test_a_ray_that_does_not_start_is_no_sweep(machine: Any) -> None:
    code, notes = machine(NO_RAY="1")
    assert code == 1 and not [line for line in notes if line.startswith("orch")]
