"""The best epoch: its weights are kept, and with `score: best` everything is told about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer.train
from tests.support.resuming import TIMINGS, results, start
from tests.support.small import small_config
from tests.trainer.test_resume import killed_when
from trainer.config import ConfigError, TrainConfig
from trainer.inference import load_trained
from trainer.storage.summary import best_epoch
from trainer.storage.trial_directory import WEIGHTS, TrialDirectory
from trainer.train import train

#: Its best epoch is the second of five.
CHANGES: dict[str, Any] = {"epochs": 5, "learning_rate": 3e-3, "evaluate_at_end": "all"}
BEST = 2


def config_with(cache: Path, **changes: Any) -> TrainConfig:
    return small_config(cache, **CHANGES | changes)


@pytest.fixture(scope="module")
def folders(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """By `keep` and `score`, a trial that nobody disturbed."""
    place = tmp_path_factory.mktemp("best")
    made = {}
    for keep, score in (("both", "last"), ("last", "last"), ("both", "best"), ("best", "best")):
        folder = made[keep, score] = place / f"{keep}-{score}"
        list(train(config_with(cache, keep=keep, score=score), str(folder)))
    return made


def end_of(folder: Path) -> dict[str, Any]:
    end = TrialDirectory(folder).end() or {}
    return end | {"summary": {k: v for k, v in end["summary"].items() if k not in TIMINGS}}


def told(folder: Path) -> dict[str, Any]:
    """What a trial tells about its model, without times."""
    names = ["analysis.json", *(f"test/{file.name}" for file in (folder / "test").iterdir())]
    evaluation = json.loads((folder / "evaluations/all.json").read_text())
    assert len(names) == 4
    kept = {key: evaluation[key] for key in ("epoch", "weights", "dev_score", "tasks", "files")}
    return {name: (folder / name).read_bytes() for name in names} | kept


def checkpoints(folder: Path) -> dict[str, int]:
    """Epoch -> number of files of its checkpoint."""
    return {each.name: len(list(each.iterdir())) for each in (folder / "checkpoints").iterdir()}


def test_the_best_epoch_is_the_first_of_the_highest() -> None:
    scores = [0.1, 0.4, 0.2, 0.4]
    records = [{"epoch": n, "dev_score": score} for n, score in enumerate(scores, 1)]
    assert best_epoch(records) == 2 and best_epoch([]) == 0


def test_what_is_kept(folders: dict[tuple[str, str], Path]) -> None:
    assert checkpoints(folders["both", "last"]) == {"002": 1, "004": 2, "005": 2}
    assert checkpoints(folders["last", "last"]) == {"004": 2, "005": 2}
    assert checkpoints(folders["both", "best"]) == {"002": 1, "004": 2, "005": 2}
    assert checkpoints(folders["best", "best"]) == {"002": 1}
    for folder in folders.values():
        assert results(folder) == results(folders["both", "last"])
    store = TrialDirectory(folders["both", "last"])
    store.weights(store.records()[BEST - 1])


def test_an_earlier_best_goes_when_the_trial_ends_with_a_better_one(
    cache: Path, tmp_path: Path
) -> None:
    """While it trains, it stays beside the newest two, for a fall-back by one epoch."""
    config = config_with(cache, epochs=4, learning_rate=1e-2)  # .46 .. .. then best at the end
    for result in train(config, str(tmp_path)):
        store = TrialDirectory(tmp_path)
        before = store.records()[: result.epoch - 1]
        if before:
            store.weights(before[best_epoch(before) - 1])
    assert best_epoch(store.records()) == 4
    assert set(checkpoints(tmp_path)) == {"003", "004"}


def test_the_epoch_that_counts_is_told_about(
    cache: Path, folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    """A trial that ends with the second epoch says the same as the best epoch of five."""
    list(train(config_with(cache, epochs=BEST), str(tmp_path)))
    assert told(folders["both", "best"]) == told(tmp_path) == told(folders["best", "best"])
    assert told(folders["both", "last"]) != told(tmp_path)
    best, last = (end_of(folders["both", score])["summary"] for score in ("best", "last"))
    records = TrialDirectory(folders["both", "last"]).records()
    assert (best["epoch"], best["dev_score"]) == (BEST, records[BEST - 1]["dev_score"])
    assert (last["epoch"], last["dev_score"]) == (5, records[-1]["dev_score"])
    for summary in (best, last):
        assert summary["epochs"] == 5 and summary["best_epoch"] == BEST
        assert summary["last_dev_score"] == records[-1]["dev_score"]


def test_the_model_of_a_trial_is_that_of_the_epoch_that_counts(
    cache: Path, folders: dict[tuple[str, str], Path]
) -> None:
    for key, epoch in ((("both", "best"), BEST), (("both", "last"), 5), (("best", "best"), BEST)):
        store = TrialDirectory(folders[key])
        trained = load_trained(store, config_with(cache), torch.device("cpu"))
        assert trained.epoch == epoch
        assert (
            trained.weights
            == store.records()[epoch - 1]["files"][f"checkpoints/{epoch:03d}/{WEIGHTS}"]
        )


@pytest.mark.parametrize(("keep", "score"), [("last", "best"), ("best", "last")])
def test_the_epoch_that_counts_must_be_kept(cache: Path, keep: str, score: str) -> None:
    with pytest.raises(ConfigError, match=rf"keep: .*\({score}\).*allowed: {score}, both"):
        config_with(cache, keep=keep, score=score)


def test_they_are_no_part_of_a_trials_identity(cache: Path) -> None:
    assert config_with(cache).canonical() == config_with(cache, score="best").canonical()


@pytest.mark.slow(reason="four processes, three of them killed")
def test_killed_again_and_again_it_tells_the_same(
    cache: Path, folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config_with(cache, keep="best", score="best").to_dict()))
    for epochs, delay in ((2, 0.0), (4, 0.0), (5, 0.05)):
        killed_when(start(file, tmp_path / "t"), tmp_path / "t", epochs, delay)
    process = start(file, tmp_path / "t")
    assert process.communicate() and process.returncode == 0
    undisturbed = folders["best", "best"]
    assert results(tmp_path / "t") == results(undisturbed)
    assert told(tmp_path / "t") == told(undisturbed) and end_of(tmp_path / "t") == end_of(
        undisturbed
    )
    assert checkpoints(tmp_path / "t") == {"002": 1}


@pytest.mark.parametrize("score", ["best", "last"])
def test_lost_weights_of_the_best_epoch(
    cache: Path, folders: dict[tuple[str, str], Path], tmp_path: Path, score: str
) -> None:
    """If it counts, the trial starts again; otherwise it says that they are lost."""
    undisturbed, folder = folders["both", score], tmp_path / "t"
    shutil.copytree(undisturbed, folder)
    (folder / "end.json").unlink()
    (folder / "epochs/005.json").unlink()
    (folder / f"checkpoints/002/{WEIGHTS}").write_bytes(b"damaged")
    config = config_with(cache, score=score)
    trained = [result.epoch for result in train(config, str(folder))]
    assert trained == ([1, 2, 3, 4, 5] if score == "best" else [5])
    note = TrialDirectory(folder).records()[trained[0] - 1]["notes"][-1]
    assert note.startswith("the weights of epoch 2, the best so far, are lost (")
    assert ("starting again" in note) == (score == "best")
    assert results(folder) == results(undisturbed)
    assert told(folder) == told(undisturbed) and end_of(folder) == end_of(undisturbed)


def test_after_a_fall_back_the_best_of_the_remaining_epochs_is_there(
    cache: Path,
    folders: dict[tuple[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The newest epoch was the best one, and it is damaged: the one before it is still kept."""
    config = config_with(cache, epochs=4, learning_rate=1e-2, score="best")
    list(train(config, str(tmp_path / "undisturbed")))

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(trainer.train, "_finish", killed)
        list(train(config, str(tmp_path / "t")))
    store = TrialDirectory(tmp_path / "t")
    assert best_epoch(store.records()) == 4 and best_epoch(store.records()[:3]) < 3
    store.write(f"checkpoints/004/{WEIGHTS}", b"damaged")
    assert [result.epoch for result in train(config, store.path)] == [4]
    assert results(tmp_path / "t") == results(tmp_path / "undisturbed")
    assert "lost" not in " ".join(store.records()[3]["notes"])


def test_a_trial_whose_other_epoch_counts_is_another_trial(
    cache: Path, folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    shutil.copytree(folders["both", "last"], tmp_path / "t")
    (tmp_path / "t/end.json").unlink()
    with pytest.raises(trainer.train.StoreError, match="its score differs"):
        list(train(config_with(cache, score="best"), str(tmp_path / "t")))
