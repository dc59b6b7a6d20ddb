"""docs/guide/tutorial.md: its commands run as they stand, one after the other, in an empty folder.

All but one: other tests run on this machine, so `orch time` does not wait for quiet here, and may
end with 1 (nothing can be claimed).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@pytest.mark.slow(reason="a package is built and two sweeps run")
def test_the_tutorials_commands_run_as_they_stand(tmp_path: Path, cache: Path) -> None:
    text = (ROOT / "docs" / "guide" / "tutorial.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    script, found = re.subn(
        r"^(orch time .*)$", r"\1 --patience 0 || test $? = 1", "".join(blocks), flags=re.M
    )
    assert found == 1
    brought = tmp_path / "packages"  # not into the environment that runs the other tests
    environment = os.environ | {
        "ORCH_CACHE": str(cache), "PIP_TARGET": str(brought), "PIP_NO_BUILD_ISOLATION": "0",
        "PYTHONPATH": os.pathsep.join([str(brought), str(ROOT)]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    folder = tmp_path / "my-study"
    trials = list((folder / "sweeps" / "messages" / "trials").iterdir())
    # Read as files: this process does not have the sampler, and without it has no such config.
    configs = [json.loads((trial / "config.json").read_text()) for trial in trials]
    samplers = sorted(each["config"]["sampler"] for each in configs)
    assert samplers == sorted(3 * ["annealed", "arrp", "round_robin", "square_root"])
    ends = [json.loads((trial / "end.json").read_text()) for trial in trials]
    assert {end["status"] for end in ends} == {"complete"}
    last = [json.loads((trial / "epochs" / "004.json").read_text()) for trial in trials]
    scores = [record["tasks"]["kind"]["dev_metric"] for record in last]
    assert min(scores) > 0.6 and sorted(scores)[len(scores) // 2] > 0.95  # a guess: 0.33
    ours = [each for each in configs if each["config"]["sampler"] == "square_root"]
    assert {each["versions"]["my-samplers"] for each in ours} == {"0.1"}
    assert "conflicts (mean cosine)" in done.stdout and "min/epoch (95 %)" in done.stdout
    assert (folder / "messages.html").is_file()
    answers = done.stdout.split("p_complaint,p_praise,p_question\n")[1].splitlines()[:2]
    assert ["question" in answers[0], "complaint" in answers[1]] == [True, True]
    assert (folder / "model" / "heads.safetensors").is_file()
    assert len((folder / "epochs.csv").read_text().splitlines()) == 1 + 4 * len(trials)
