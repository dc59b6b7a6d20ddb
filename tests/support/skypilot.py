"""What SkyPilot takes in a task, as a JSON Schema, and SkyPilot's own answer where it is installed.

`TASK` is written after the reference of SkyPilot 0.14, and has only what this project uses.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_TEXT, _WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": {"type": ["string", "null"]}}


def _object(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "additionalProperties": False}


_RECOVERY = _object(
    strategy={"enum": ["FAILOVER", "EAGER_NEXT_REGION"]},
    max_restarts_on_errors=_WHOLE,
    recover_on_exit_codes={"type": "array", "items": {"type": "integer", "maximum": 255}},
)
_RESOURCES = _object(
    accelerators={"type": "object", "maxProperties": 1, "additionalProperties": _WHOLE},
    cpus={"type": ["string", "number"]},
    memory={"type": ["string", "number"]},
    use_spot={"type": "boolean"},
    image_id={"type": "string", "pattern": "^docker:"},
    disk_size=_WHOLE,
    job_recovery=_RECOVERY,
)
TASK = _object(
    name=_TEXT,
    resources=_RESOURCES,
    num_nodes=_WHOLE,
    file_mounts={"type": "object", "additionalProperties": _TEXT},
    envs=_TEXTS,
    secrets=_TEXTS,
    setup=_TEXT,
    run=_TEXT,
)

#: Kinds of accelerators stand in a catalogue on the network, so that they are left out of the task.
_READ = """
import sys
import sky, yaml
from sky.utils import common_utils, schemas
task = yaml.safe_load(open(sys.argv[1]))
common_utils.validate_schema(task, schemas.get_task_schema(), "task: ")
common_utils.validate_schema(task["resources"], schemas.get_resources_schema(), "resources: ")
task["resources"].pop("accelerators", None)
read = sky.Task.from_yaml_config(task)
read.expand_and_validate_file_mounts()
print(read.num_nodes, sorted(read.file_mounts or {}))
"""


def as_skypilot_reads(file: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """SkyPilot reads a task within a folder; skips without SkyPilot.

    SKYPILOT_PYTHON names a Python that has it; its dependencies do not fit into this environment.
    """
    python = os.environ.get("SKYPILOT_PYTHON", sys.executable)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "RAY_AUTH_TOKEN": "x" * 64,
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
    }  # fmt: skip

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *words], capture_output=True, text=True, cwd=folder, env=environment
        )

    found = run("-c", "import importlib.util as u, sys; sys.exit(u.find_spec('sky') is None)")
    if found.returncode:
        pytest.skip("SkyPilot is not installed; SKYPILOT_PYTHON names a Python that has it")
    return run("-c", _READ, str(file))
