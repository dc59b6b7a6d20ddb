"""`orch pack`: what comes out of the archive compares like what went in, and holds no sentence."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.ledger import Ledger
from orchestrator.ledger.archive import pack
from tests.support.command import orch
from tests.support.simulated import World, write_predicted

SENTENCE = "a sentence of somebody's data"
ANALYSIS = {"sst": {"label_share": [0.2] * 5, "worst": [{"id": "a", "text": [SENTENCE]}]}}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two methods with three seeds, and everything else that a sweep's folder may hold."""
    folder, rng = tmp_path / "sweeps" / "mine", np.random.default_rng(0)
    world = World.of(rng, sst=60, qqp=60, sts=60)
    for seed in (1, 2, 3):
        for sampler, skill in (("annealed", 0.7), ("arrp", 0.72)):
            made = world.predictions(rng, skill)
            data = {
                "source": "synthetic",
                "root": "/home/me/private-host",
                "cache": "~/private-host",
            }
            name = write_predicted(
                folder, world, made, sampler=sampler, seed=seed, epochs=2, data=data
            )
            trial = folder / "trials" / name
            (trial / "analysis.json").write_text(json.dumps(ANALYSIS))
            (trial / "test").mkdir()
            (trial / "test" / "sst.csv").write_text("id,0")
            (trial / "logs").mkdir()
            (trial / "logs" / "1.log").write_text(SENTENCE)
            (trial / "checkpoints").mkdir()
            (trial / "checkpoints" / "002.safetensors").write_bytes(bytes(10_000))
    spec = "name: mine\nquestion: Which?\nbase: {epochs: 2, data: {root: ~/private-host}}\n"
    spec += "tracking: {uri: 'postgresql://me@private-host/db'}\n"
    (folder / "sweep.yaml").write_text(spec)
    return folder


def test_what_is_unpacked_compares_the_same_to_the_digit(sweep: Path, tmp_path: Path) -> None:
    made = orch("pack", "mine", "--json", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told == {"path": "mine.tar.xz", "bytes": Path(tmp_path / "mine.tar.xz").stat().st_size,
                    "trials": 6}  # fmt: skip
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "sweeps").mkdir(parents=True)
    unpack = ["tar", "xf", str(tmp_path / "mine.tar.xz"), "-C", str(elsewhere / "sweeps")]
    subprocess.run(unpack, check=True)
    answers = [orch("compare", "mine", "--json", cwd=place) for place in (tmp_path, elsewhere)]
    assert answers[0].returncode == 0 and answers[0].stdout == answers[1].stdout
    assert json.loads(answers[1].stdout)["rows"][0]["dev_score"]["mean"] > 0


def test_sentences_databases_folders_logs_and_weights_stay_where_they_are(sweep: Path) -> None:
    packed = pack(Ledger(sweep.parent, sweep.name))
    assert packed == pack(Ledger(sweep.parent, sweep.name))
    archive = sweep / "made.tar.xz"
    archive.write_bytes(packed.content)
    with tarfile.open(archive) as opened:
        files = {m.name: opened.extractfile(m).read() for m in opened}  # type: ignore[union-attr]
    kinds = {name.partition("/")[2].partition("/")[2].partition("/")[2] for name in files}
    assert kinds == {
        "", "config.json", "end.json", "epochs/001.json", "epochs/002.json",
        "predictions/002.parquet", "analysis.json",
    }  # fmt: skip
    content = b"".join(files.values())
    assert b"private-host" not in content and SENTENCE.encode() not in content
    shares = {n: json.loads(c) for n, c in files.items() if n.endswith("analysis.json")}
    assert len(shares) == 6 and all(
        s == {"sst": {"label_share": [0.2] * 5}} for s in shares.values()
    )
    assert b"question: Which?" in files["mine/sweep.yaml"]


def test_another_file_is_not_written_over(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused = orch("pack", "mine", "-o", "notes.txt", cwd=tmp_path)
    assert refused.returncode == 2 and "exists and is not a packed sweep" in refused.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
    for _ in range(2):  # an older archive is
        assert orch("pack", "mine", "-o", "made.tar.xz", cwd=tmp_path).returncode == 0


def test_a_sweep_without_trials_is_said_to_have_none(tmp_path: Path) -> None:
    (tmp_path / "sweeps" / "empty").mkdir(parents=True)
    (tmp_path / "sweeps" / "empty" / "sweep.yaml").write_text("name: empty\n")
    refused = orch("pack", "empty", cwd=tmp_path)
    assert refused.returncode == 2 and "nothing to pack" in refused.stderr
    assert not (tmp_path / "empty.tar.xz").exists()
