"""Resume is exact: a trial killed anywhere ends with the weights of one that was never stopped."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.resuming import results, run_trainer, start, whole_and_in_parts
from tests.support.small import small_config
from trainer.storage.trial_directory import TrialDirectory


@pytest.fixture(scope="module")
def config_file(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resume") / "config.json"
    config = small_config(cache, epochs=4, data={"size": 48}, attention_dropout=0.1)
    path.write_text(json.dumps(config.to_dict()))
    return path


@pytest.fixture(scope="module")
def undisturbed(config_file: Path) -> list[dict[str, Any]]:
    out = config_file.parent / "undisturbed"
    process = start(config_file, out)
    lines = process.communicate()[1].splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["data", "precision"]
    assert process.returncode == 0
    return results(out)


def killed_when(process: subprocess.Popen[str], out: Path, epochs: int, delay: float) -> None:
    deadline = time.monotonic() + 60
    while len(list((out / "epochs").glob("[0-9]*.json"))) < epochs:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout and process.stderr
    process.stdout.close()
    process.stderr.close()


def test_a_trial_killed_again_and_again_ends_with_the_same_bits(
    config_file: Path, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    """SIGKILL in the middle of the first epoch, of the second, and right behind a commit."""
    for epochs, delay in ((0, 2.0), (1, 0.25), (3, 0.0)):
        killed_when(start(config_file, tmp_path), tmp_path, epochs, delay)
    process = start(config_file, tmp_path)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "complete" in output
    assert results(tmp_path) == undisturbed
    newest = tmp_path / "checkpoints/004/weights.safetensors"
    name = "checkpoints/004/weights.safetensors"
    assert hashlib.sha256(newest.read_bytes()).hexdigest() == undisturbed[-1]["files"][name]


@pytest.mark.slow(reason="trains in two processes")
def test_a_flipped_bit_costs_one_epoch_and_changes_nothing(
    config_file: Path, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    killed_when(start(config_file, tmp_path), tmp_path, 2, 0.0)
    count = len(TrialDirectory(tmp_path).records())
    weights = tmp_path / f"checkpoints/{count:03d}/optimizer.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    process = start(config_file, tmp_path)
    _, errors = process.communicate()
    assert f"falling back to epoch {count - 1}" in errors
    assert results(tmp_path) == undisturbed


@pytest.mark.slow(reason="trains in two processes")
def test_sigterm_stops_and_says_how_to_go_on(
    config_file: Path, undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    process = start(config_file, tmp_path)
    while not (tmp_path / "epochs/001.json").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "run the same command again to resume" in errors and "Traceback" not in errors
    process = start(config_file, tmp_path)
    process.communicate()
    assert results(tmp_path) == undisturbed


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('{"samplr": 1}', "samplr: unknown key (did you mean 'sampler'?)"),
        ("{", "not JSON"),
        ("[" * 3_000, "too many lists and objects within each other"),
        ('{"epochs": ' + "9" * 5_000 + "}", "a number with too many digits"),
        ('{"epochs": ' + "9" * 3_000 + "}", "epochs: 999"),
        ('{"learning_rate": ' + "9" * 400 + "}", " is not a number; allowed: 0 < value"),
        ('{"encoder": "\udcff"}', "not UTF-8 at byte 14"),
        (" " * 1_000_001, "is longer than 1,000,000 bytes"),
        ('{"encoder": "tiny", "data": {"root": "/nowhere"}}', "/nowhere/ids-sst-train.csv"),
        ('{"encoder": "./nowhere", "data": {"source": "synthetic"}}', "no such folder"),
    ],
)
def test_wrong_input_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, expected: str
) -> None:
    (tmp_path / "c.json").write_text(config, errors="surrogateescape")
    assert run_trainer("--config", str(tmp_path / "c.json"), "--out", str(tmp_path / "out")) == 2
    errors = capsys.readouterr().err
    assert expected in errors and "Traceback" not in errors and len(errors) < 3_000
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_an_error(config_file: Path, tmp_path: Path) -> None:
    """In a process of its own: the message, the exit code, and no stack trace."""
    (tmp_path / "file").write_text("")
    process = start(config_file, tmp_path / "file" / "out")
    _, errors = process.communicate()
    assert process.returncode == 2
    assert "Traceback" not in errors and os.fspath(tmp_path / "file") in errors


#: Keys of the model and of what it minimises, each with what it needs.
MODELS: dict[str, dict[str, Any]] = {
    "poolings, surgery": {"pooling": {"sst": "mean", "qqp": "max"}, "sampler": "annealed"},
    "mean of siamese pairs": {
        "pooling": "mean", "pair": "siamese", "pair_features": "all", "head": "mlp",
        "weight_decay": 0.1,
    },
    "frozen bert": {"freeze": "bert", "shared_layer": True, "sampler": "round_robin"},
    "loss on Pearson's r": {"task_declarations": {"sts": {"loss": "pearson"}}},
    "weights of tasks and classes": {
        "task_weights": {"qqp": 0.5, "sts": 2.0}, "class_weights": "balanced",
    },
    "pair losses": {
        "pair": "siamese", "pair_loss_weight": 0.5,
        "pair_loss": {"qqp": "multiple_negatives", "sts": "cosine_embedding"},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_key_of_the_model_resumes_to_the_same_bits(
    name: str, cache: Path, tmp_path: Path
) -> None:
    config = small_config(cache, epochs=3, encoder_dropout=0.1, **MODELS[name])
    whole, parts = whole_and_in_parts(config, tmp_path)
    assert parts == whole
