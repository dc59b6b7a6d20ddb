"""A trial and a sweep on S3: the same bits as on a disk, and one clear message where it fails."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.preflight.checks import check_out, check_same_sweep
from orchestrator.spec import load_spec
from tests.support.command import orch, orch_process
from tests.support.ledgers import write_trial
from tests.support.paths import ROOT
from tests.support.resuming import results
from tests.support.small import small_config
from trainer.storage.folder import Folder, StoreError
from trainer.storage.open import open_folder
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train

DEAD = "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http&region=us-east-1"


def copy(source: Path, target: Folder) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            target.write(path.relative_to(source).as_posix(), path.read_bytes())


def test_a_trial_killed_on_s3_ends_with_the_bits_of_one_on_a_disk(
    cache: Path, tmp_path: Path, remote: str
) -> None:
    config = small_config(cache)
    undisturbed = tmp_path / "undisturbed"
    for _ in train(config, str(undisturbed)):
        pass
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    out = open_folder(remote).child("s/trials/t")
    store = TrialDirectory(out)
    command = [sys.executable, "-m", "trainer", "--config", str(tmp_path / "config.json")]
    first = subprocess.Popen([*command, "--out", out.path], cwd=ROOT, stdout=subprocess.DEVNULL)
    while not store.records():
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(store.records()) == 1 and store.end() is None
    assert [result.epoch for result in train(config, out.path)] == [2]
    assert results(out.path) == results(undisturbed)
    (trial,) = Ledger(remote, "s").trials()
    assert (trial.status, trial.trial_id) == ("complete", "t")
    assert trial.train_config == config
    assert trial.summary["dev_score"] == results(undisturbed)[-1]["dev_score"]


def test_the_reading_commands_read_a_sweep_on_s3(tmp_path: Path, remote: str) -> None:
    spec = load_spec(str(ROOT / "search_spaces" / "arrp.yaml"), "embedded", ["base.epochs=2"])
    name = write_trial(tmp_path / spec.name, [0.4, 0.5], sampler="arrp")
    copy(tmp_path / spec.name, open_folder(remote).child(spec.name))
    check_same_sweep(open_folder(remote).child(spec.name), spec)
    listed = orch("ls", "--out", remote, cwd=tmp_path)
    assert spec.name in listed.stdout and "1 complete" in listed.stdout, listed.stderr
    shown = orch("show", "arrp", name, "--out", remote, cwd=tmp_path)
    assert "0.5000" in shown.stdout, shown.stderr
    sweep = open_folder(remote).child(spec.name).path
    compared = orch("compare", sweep, "--json", cwd=tmp_path)
    assert json.loads(compared.stdout)["rows"][0]["trials"] == [name], compared.stderr
    with pytest.raises(SweepError, match="these keys differ"):
        check_same_sweep(open_folder(sweep), spec.model_copy(update={"base": {}}))


def test_what_must_be_local_lies_in_the_current_folder(
    tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(remote, "s")
    assert ledger.local_out == tmp_path and ledger.log_file == tmp_path / "s.driver.log"
    ledger = Ledger(tmp_path / "out", "s")
    assert ledger.local_out == tmp_path / "out"
    assert ledger.log_file == tmp_path / "out" / "s" / "driver.log"


def test_a_place_that_cannot_be_written_is_one_message(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    for uri, message in {
        s3.format("nowhere/x"): "there is no such bucket",
        s3.format("bucket/x") + "&colour=blue": "Unexpected query parameter",
        DEAD: "does not answer",
        "s3://key:secret@bucket/x": "s3://bucket/x: the address must not contain a password",
        "s3://": "names no bucket",
        "floppy://a": "Unrecognized filesystem type",
    }.items():
        with pytest.raises(SweepError, match=message) as caught:
            check_out(uri)
        assert str(caught.value).startswith("--out ") and "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(SweepError, match="access is denied; credentials come from"):
        check_out(s3.format("bucket/without-credentials"))


def test_a_store_that_does_not_answer_is_one_message_and_soon(tmp_path: Path) -> None:
    begun = time.monotonic()
    answer = orch_process("ls", "--out", DEAD, cwd=tmp_path, AWS_MAX_ATTEMPTS="2")
    assert time.monotonic() - begun < 20
    assert answer.returncode == 2 and "Traceback" not in answer.stderr
    assert "does not answer; check the network and endpoint_override" in answer.stderr


def test_a_trial_that_cannot_be_written_is_refused_before_it_trains(cache: Path, s3: str) -> None:
    with pytest.raises(StoreError, match="no such bucket"):
        next(train(small_config(cache), s3.format("nowhere/x")))


def test_a_file_of_which_a_part_was_put_is_taken_back(remote: str) -> None:
    class Interrupted:
        """A stream that a signal interrupts between two of its writes."""

        def __init__(self, stream: object):
            self.stream = stream

        def write(self, content: bytes) -> None:
            self.stream.write(content[:1])  # type: ignore[attr-defined]
            raise KeyboardInterrupt

        def close(self) -> None:
            self.stream.close()  # type: ignore[attr-defined]

    folder = open_folder(remote)
    filesystem = folder._filesystem  # type: ignore[attr-defined]

    class Filesystem:
        def open_output_stream(self, target: str) -> Interrupted:
            return Interrupted(filesystem.open_output_stream(target))

        def __getattr__(self, name: str) -> object:
            return getattr(filesystem, name)

    broken = type(folder)(folder.path, Filesystem(), folder._root)  # type: ignore[attr-defined,call-arg]
    with pytest.raises(KeyboardInterrupt):
        broken.write("end.json", b"whole")
    assert folder.read("end.json") is None
    with pytest.raises(StoreError):
        folder.read("../end.json")
