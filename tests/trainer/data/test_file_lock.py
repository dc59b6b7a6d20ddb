"""Trials that start at the same moment on a node: its corpus is tokenised once, and read whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from trainer.data import file_lock

TRIALS = 4
#: Processes that open a corpus at the same moment; prints what each read and tokenised.
_TRIALS = """
import json, multiprocessing, sys, time
from trainer.data import corpus
from trainer.config import TrainConfig

encode, made = corpus.encode, []
config = TrainConfig.from_dict({"encoder": "tiny", "tasks": ["sst", "sts"], "data": {
    "source": "synthetic", "size": 32, "cache": sys.argv[1]}})

def slowly(examples, *rest):
    made.append(len(examples.texts))
    time.sleep(0.1)  # the others are at the same place by now
    return encode(examples, *rest)

def trial(together, answers):
    corpus.encode = slowly
    together.wait(60)
    found = corpus.prepare(config)
    read = {f"{n}-{s}": int(part.tokens.sum()) for n, parts in found.splits.items()
            for s, part in parts.items()}
    answers.put({"read": read, "made": made})

fork = multiprocessing.get_context("fork")  # torch is loaded once
together, answers = fork.Barrier(int(sys.argv[2])), fork.Queue()
trials = [fork.Process(target=trial, args=(together, answers)) for _ in range(int(sys.argv[2]))]
for each in trials:
    each.start()
print(json.dumps([answers.get(timeout=100) for _ in trials]))
"""


def test_trials_that_start_together_build_a_nodes_corpus_once(tmp_path: Path) -> None:
    trials = subprocess.run(
        [sys.executable, "-c", _TRIALS, str(tmp_path), str(TRIALS)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert trials.returncode == 0, trials.stderr
    answers = json.loads(trials.stdout)
    read = answers[0]["read"]
    assert len(read) == 6 and all(answer["read"] == read for answer in answers)
    assert sum(len(answer["made"]) for answer in answers) == len(read)
    kinds = Counter(path.suffix for path in tmp_path.iterdir())
    assert kinds == {".arrow": 6, ".json": 1, "": 1}  # no half-written file, and the lock


def test_who_waited_takes_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "corpus" / "words"
    lock = file_lock._locked

    def made_meanwhile(path: Path) -> object:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"theirs")
        return lock(path)

    monkeypatch.setattr(file_lock, "_locked", made_meanwhile)
    assert file_lock.make_once(file, lambda: b"ours")
    assert file.read_bytes() == b"theirs"


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    assert not file_lock.make_once(tmp_path / "words", lambda: None)
    with pytest.raises(ValueError, match="no usable row"):
        file_lock.make_once(tmp_path / "words", _fail)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert file_lock.make_once(tmp_path / "words", lambda: b"now")


def _fail() -> bytes:
    raise ValueError("no usable row")
