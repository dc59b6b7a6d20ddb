"""More epochs: a shorter trial's epochs are the first of the longer one, where nothing forbids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.ledger.current import current, fixed_epochs
from orchestrator.ledger.sweep_id import set_aside, sweep_id
from orchestrator.ledger.trial_id import config_id, trial_id
from orchestrator.preflight.checks import check_same_sweep
from orchestrator.scheduling.extend_epochs import extend
from orchestrator.spec import SweepSpec, load_spec
from trainer.config import TrainConfig
from trainer.data.sources import fingerprint
from trainer.storage.open import open_folder
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train

BASE: dict[str, Any] = {
    "data": {"source": "synthetic", "size": 32, "dev_limit": {"sst": 40, "qqp": 40, "sts": 40}},
    "encoder": "tiny", "batch_size": 8, "learning_rate": 1e-3, "B": 64, "threads": 1,
}  # fmt: skip


def spec(epochs: int, tmp_path: Path, **changes: Any) -> SweepSpec:
    file = tmp_path / "s.yaml"
    sweep = {
        "name": "s",
        "base": {**BASE, "epochs": epochs},
        "search": {"algorithm": "list", "seeds": [1]},
        "enqueue": [{"sampler": "round_robin"}, {"sampler": "annealed"}],
    } | changes
    file.write_text(yaml.safe_dump(sweep))
    return load_spec(str(file))


def identify(config: TrainConfig) -> dict[str, Any]:
    data = fingerprint(config)
    ids = {"trial_id": trial_id(config, data), "config_id": config_id(config, data)}
    return {**ids, "fingerprint": data}


def run(ledger: Ledger, config: TrainConfig) -> str:
    identity = identify(config)
    name: str = identity["trial_id"]
    for _ in train(config, ledger.path(name), identity=identity):
        pass
    return name


def files(directory: TrialDirectory) -> dict[str, Any]:
    """sha256 of every file that the epochs name, and their scores."""
    return {
        str(record["epoch"]): (record["files"], record["dev_score"])
        for record in directory.records()
    }


def test_a_trial_that_goes_on_ends_like_one_that_had_so_many_epochs_from_the_start(
    tmp_path: Path, cache: Path
) -> None:
    short, long = (spec(n, tmp_path) for n in (2, 3))
    here = {"data": {**BASE["data"], "cache": str(cache)}}
    configs = {
        (s, n): TrainConfig.from_dict(
            BASE | here | {"sampler": s, "epochs": n, "seed": 1}
        )
        for s in ("round_robin", "annealed") for n in (2, 3)
    }  # fmt: skip
    ledger, straight = Ledger(tmp_path / "out", "s"), Ledger(tmp_path / "straight", "s")
    old = [run(ledger, configs[s, 2]) for s in ("round_robin", "annealed")]

    found = extend(long, ledger, ledger.trials(), identify)
    assert list(found.lines()) == [
        "1 trials resume after the epochs they have",
        "1 trials start again from epoch 1: annealed: alpha falls over all epochs",
    ]
    assert not extend(long, ledger, ledger.trials(), identify).any  # nothing is left to do

    begun = {t.config["sampler"]: t for t in current(long.to_dict(), ledger.trials())}
    assert len(begun["round_robin"].records) == 2 and not begun["annealed"].records
    assert {t.identity["extends"] for t in begun.values()} == set(old)
    shown = current(short.to_dict(), ledger.trials())
    assert {t.trial_id for t in shown} == set(old)  # the shorter ones stay as they were

    for sampler in ("round_robin", "annealed"):
        config = configs[sampler, 3]
        assert run(ledger, config) == run(straight, config)
        name = trial_id(config, fingerprint(config))
        expected = files(straight.directory(name))
        assert len(expected) == 3 and files(ledger.directory(name)) == expected
        assert (ledger.end(name) or {})["status"] == "complete"


@pytest.mark.parametrize("keep", ["both", "best"])
def test_a_longer_trial_takes_over_the_weights_of_the_best_epoch(
    tmp_path: Path, cache: Path, keep: str
) -> None:
    """With `keep: best` nothing else is left, so the longer trial starts again and says why."""
    options = {"data": {**BASE["data"], "cache": str(cache)}, "epochs": 4, "seed": 2}
    options["learning_rate"] = 1e-2
    config = TrainConfig.from_dict(BASE | options | {"keep": keep, "score": "best"})
    ledger = Ledger(tmp_path / "out", "s")
    run(ledger, config)
    (shorter,) = ledger.trials()
    assert shorter.epoch == 2  # its weights are no longer in the newest two checkpoints
    found = extend(spec(6, tmp_path), ledger, ledger.trials(), identify)
    (longer,) = current(spec(6, tmp_path).to_dict(), ledger.trials())
    if keep == "best":
        reason = "keep: best kept only the weights of their best epochs"
        assert list(found.lines()) == [f"1 trials start again from epoch 1: {reason}"]
        assert not longer.records
        return
    assert found.resumed == 1 and len(longer.records) == 4
    directory = ledger.directory(longer.trial_id)
    assert directory.weights(longer.records[shorter.epoch - 1])
    list(train(TrainConfig.from_dict(longer.config), longer.path))
    ended = ledger.trial(longer.trial_id)
    assert ended is not None and ended.status == "complete"
    assert directory.weights(ended.records[ended.epoch - 1])
    assert len(ended.summary["optimism"]["tasks"]) == 3  # from the predictions of all six epochs


def test_an_extension_that_was_killed_is_completed(tmp_path: Path, cache: Path) -> None:
    here = {"data": {**BASE["data"], "cache": str(cache)}}
    config = TrainConfig.from_dict(BASE | here | {"epochs": 2, "seed": 1})
    ledger = Ledger(tmp_path / "out", "s")
    run(ledger, config)
    long = spec(3, tmp_path)
    extend(long, ledger, ledger.trials(), identify)
    (longer,) = current(long.to_dict(), ledger.trials())
    directory = Path(longer.path)
    (directory / "epochs" / "002.json").unlink()
    for name in (directory / "checkpoints" / "002").iterdir():
        name.unlink()
    assert extend(long, ledger, ledger.trials(), identify).resumed == 1
    records, notes = TrialDirectory(longer.path).resume_point()
    assert len(records) == 2 and not notes


def test_epochs_that_are_searched_are_nobodys_extension(tmp_path: Path) -> None:
    searched = spec(2, tmp_path, enqueue=[{"epochs": 2}, {"epochs": 4}])
    assert fixed_epochs(searched.to_dict()) is None


def test_epochs_may_grow_and_not_shrink(tmp_path: Path) -> None:
    check_same_sweep(tmp_path / "s", spec(2, tmp_path))
    check_same_sweep(tmp_path / "s", spec(3, tmp_path))
    with pytest.raises(SweepError, match=r"base.epochs: 3 -> 2\n.*--fresh.*another name"):
        check_same_sweep(tmp_path / "s", spec(2, tmp_path))


def test_a_sweep_that_is_set_aside_is_kept_and_its_name_is_free(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "s")
    assert set_aside(folder) is None
    first = sweep_id(folder)
    assert sweep_id(folder) == first
    moved = set_aside(folder)
    assert moved is not None and json.loads((moved / "origin.json").read_text())
    assert sweep_id(open_folder(moved)) == first != sweep_id(folder)


def test_a_key_that_came_later_is_no_change(tmp_path: Path) -> None:
    check_same_sweep(tmp_path / "s", spec(2, tmp_path))
    file = tmp_path / "s" / "sweep.yaml"
    before = yaml.safe_load(file.read_text())
    del before["scheduler"], before["tracking"]["study"]
    file.write_text(yaml.safe_dump(before))
    check_same_sweep(tmp_path / "s", spec(2, tmp_path))
    with pytest.raises(SweepError, match=r"scheduler.name: \"none\" -> \"asha\""):
        check_same_sweep(tmp_path / "s", spec(2, tmp_path, scheduler={"name": "asha"}))


def test_an_empty_mapping_is_a_change(tmp_path: Path) -> None:
    """An `arrp` with `B: {}` has no second phase, and without the key it has one."""
    base = {**BASE, "epochs": 2}
    check_same_sweep(tmp_path / "s", spec(2, tmp_path, base=base | {"surgery_groups": {}}))
    with pytest.raises(SweepError, match="base.surgery_groups"):
        check_same_sweep(tmp_path / "s", spec(2, tmp_path))


def test_two_encoder_folders_are_two_sets_of_data(tmp_path: Path) -> None:
    from orchestrator.preflight.checks import identifier

    identify = identifier()
    seen = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(name.encode())
        config = TrainConfig.from_dict({"data": BASE["data"], "encoder": str(folder)})
        seen.append(identify(config)["fingerprint"])
    assert seen[0] != seen[1]
