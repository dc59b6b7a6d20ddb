"""A trained model away from where it was trained."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from tests.support.hosts import multiplying_bf16
from tests.support.small import small_config
from trainer.inference import InferenceError, Model, export
from trainer.model.losses import BinaryCrossEntropy, CrossEntropy
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train


def test_a_bf16_model_says_where_it_is_slow(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(cache, precision="bf16-emulated", epochs=1)
    for _ in train(config, str(tmp_path / "t")):
        pass
    (tmp_path / "model").mkdir()
    export(TrialDirectory(tmp_path / "t"), tmp_path / "model")
    for native in (True, False):
        multiplying_bf16(monkeypatch, native)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            Model.load(tmp_path / "model", "cpu").predict("sst", ["a sentence"])
        assert ("does not multiply bf16 natively" in caplog.text) != native


SENTENCES = ["a warm and funny film", "", "it is too long by an hour , and dull", "the the the"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    place = tmp_path_factory.mktemp("trained")
    for _ in train(small_config(place / "cache", epochs=1), str(place / "t")):
        pass
    (place / "model").mkdir()
    export(TrialDirectory(place / "t"), place / "model")
    return Model.load(place / "model", "cpu")


def test_a_row_of_probabilities_adds_up_to_one_and_leads_to_the_prediction(model: Model) -> None:
    probabilities = model.probabilities("sst", SENTENCES)
    prediction, score = model.predict("sst", SENTENCES)
    assert probabilities.shape == (4, 5) and probabilities.dtype == np.float64
    assert np.allclose(probabilities.sum(1), 1, atol=1e-6)
    assert (probabilities.argmax(1) == prediction).all() and (probabilities.max(1) == score).all()


def test_one_logit_gives_the_probabilities_of_two_classes(model: Model) -> None:
    probabilities = model.probabilities("qqp", SENTENCES, SENTENCES[::-1])
    _, score = model.predict("qqp", SENTENCES, SENTENCES[::-1])
    assert (probabilities[:, 1] == score).all()
    assert np.allclose(probabilities.sum(1), 1, atol=1e-6)


def test_a_regression_gives_its_values(model: Model) -> None:
    values = model.probabilities("sts", SENTENCES, SENTENCES)
    assert (values == model.predict("sts", SENTENCES, SENTENCES)[0]).all()


@pytest.mark.parametrize(("task", "shape"), [("sst", (0, 5)), ("qqp", (0, 2)), ("sts", (0,))])
def test_no_sentences_give_no_rows(model: Model, task: str, shape: tuple[int, ...]) -> None:
    assert model.probabilities(task, [], []).shape == shape
    assert model.predict(task, [], [])[0].shape == (0,)


def test_sentences_that_cannot_be_predicted_are_named(model: Model) -> None:
    with pytest.raises(InferenceError, match="'mine': not a task of this model; allowed: sst"):
        model.probabilities("mine", SENTENCES)
    with pytest.raises(InferenceError, match="qqp: needs two sentences in each row"):
        model.probabilities("qqp", SENTENCES)


def test_probabilities_are_those_of_scipy() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 4, (50, 7)))
    assert np.allclose(CrossEntropy().probabilities(logits), softmax(logits.numpy(), axis=1))
    both = BinaryCrossEntropy().probabilities(logits[:, 0])
    assert np.allclose(both[:, 1], expit(logits[:, 0].numpy()))
