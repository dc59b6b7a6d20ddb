"""Pair modes, heads and layers between: gradients reach what they should."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small import small_config
from trainer.config import check
from trainer.config.tasks import TASKS
from trainer.loop.run import Run
from trainer.model.heads import CosineHead
from trainer.model.losses import task_loss

MODES = {
    "cross": {},
    "concat": {"pair": "concat"},
    "concat_sep": {"pair": "concat_sep"},
    "siamese": {"pair": "siamese"},
    "cosine": {"pair": "siamese", "head": "cosine"},
    "mixed": {"pair": {"qqp": "concat_sep", "sts": "siamese"}, "head": {"sts": "cosine"}},
    "mlp": {"head": "mlp"},
    "mlp and features": {"pair": "siamese", "head": "mlp", "pair_features": "all"},
    "poolings": {"pooling": {"sst": "mean", "sts": "max"}},
    "mean, shared layer": {"pooling": "mean", "shared_layer": True, "pair": "siamese"},
    "shared layer": {"shared_layer": True},
    "relational layer": {"relational_layer": True},
}


def a_run(cache: Path, **changes: object) -> Run:
    return Run(
        small_config(cache, dropout=0.0, encoder_dropout=0.0, attention_dropout=0.0, **changes)
    )


def backward(run: Run, task: str) -> None:
    split = run.corpus.splits[task]["train"]
    rows = np.arange(8)
    packed = split.packed(rows)
    run.parameters.begin_step(1, [task], packed.words)
    output = run.model(task, packed)
    task_loss(run.tasks[task], output, torch.from_numpy(split.labels_of(rows))).backward()
    run.parameters.combine(None, packed.words)


@pytest.mark.parametrize(
    ("key", "encoder_varies", "masked"),
    [
        ("dropout", False, True),
        ("encoder_dropout", True, False),
        ("attention_dropout", True, False),
    ],
)
def test_each_dropout_acts_in_its_place_alone(
    cache: Path, key: str, encoder_varies: bool, masked: bool
) -> None:
    """The papers' dropout is on the vector before a head.  Inside the encoder BERT has its own."""
    off = {"dropout": 0.0, "encoder_dropout": 0.0, "attention_dropout": 0.0}
    run = Run(small_config(cache, **off | {key: 0.5}))
    run.begin_epoch(1)
    packed = run.corpus.splits["sst"]["train"].packed(np.arange(8))
    entered: list[torch.Tensor] = []
    head = run.model.heads["sst"]
    head.register_forward_pre_hook(lambda _, arguments: entered.append(arguments[0]))
    with torch.no_grad():
        first, second = run.model.encoder(packed), run.model.encoder(packed)
        run.model("sst", packed)
    assert torch.equal(first, second) != encoder_varies
    assert bool((entered[0] == 0).any()) == masked


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", ["sst", "qqp", "sts"])
def test_gradients_reach_what_they_should(cache: Path, mode: str, task: str) -> None:
    run = a_run(cache, **MODES[mode])
    backward(run, task)
    expected = {"embeddings", "layers.0", "layers.1", f"head.{task}"}
    expected |= {"pooler"} if run.model.specs[task].pooling == "cls" else set()
    expected |= {"shared_layer"} if "shared layer" in mode else set()
    expected |= {"relational_layer"} if mode == "relational layer" and task != "sst" else set()
    reached = {s.name for s in run.parameters.segments if s.update.abs().sum() > 0}
    assert reached == expected


@pytest.mark.parametrize("mode", MODES)
def test_outputs_have_a_row_for_every_example(cache: Path, mode: str) -> None:
    run = a_run(cache, **MODES[mode])
    for task, shape in {"sst": (3, 5), "qqp": (3,), "sts": (3,)}.items():
        packed = run.corpus.splits[task]["dev"].packed(np.array([4, 0, 2]))
        assert run.model(task, packed).shape == shape


@pytest.mark.parametrize("mode", MODES)
def test_an_examples_output_does_not_depend_on_its_neighbours(cache: Path, mode: str) -> None:
    run = a_run(cache, **MODES[mode])
    run.model.eval()
    with torch.no_grad():
        for task in run.tasks:
            split = run.corpus.splits[task]["dev"]
            together = run.model(task, split.packed(np.arange(9)))
            alone = [run.model(task, split.packed(np.array([i])))[0] for i in range(9)]
            assert torch.allclose(together, torch.stack(alone), atol=1e-5)


def test_pair_modes_lay_sentences_out_as_documented(cache: Path) -> None:
    layouts, tokens = {}, {}
    for mode in ("cross", "concat", "concat_sep", "siamese"):
        split = a_run(cache, pair=mode).corpus.splits["qqp"]["train"]
        layouts[mode] = split.packed(np.array([0]))
        tokens[mode] = slice(0, layouts[mode].lengths.sum())  # fillers stand behind
    special = {2, 3}  # [CLS], [SEP]
    marks = {m: [i for i in p.ids[tokens[m]].tolist() if i in special] for m, p in layouts.items()}
    assert marks == {
        "cross": [2, 3, 3], "concat": [2, 3], "concat_sep": [2, 3, 3], "siamese": [2, 3, 2, 3],
    }  # fmt: skip
    positions = {mode: packed.positions[tokens[mode]] for mode, packed in layouts.items()}
    assert positions["cross"].tolist() == list(range(layouts["cross"].lengths.sum()))
    assert layouts["cross"].token_types.sum() > 0
    for mode in ("concat", "concat_sep", "siamese"):
        assert layouts[mode].token_types.sum() == 0
        assert (positions[mode] == 0).sum() == 2  # each sentence begins anew
    assert layouts["siamese"].sentences == 2 and layouts["concat"].sentences == 1
    words = {mode: sorted(packed.ids[tokens[mode]].tolist()) for mode, packed in layouts.items()}
    assert words["cross"] == words["concat_sep"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_cosine_head_begins_with_what_a_cosine_means(cache: Path, seed: int) -> None:
    """Alike is near the top, unrelated near the bottom, whatever the seed: else vectors of a
    pretrained encoder would have to turn round before they say anything."""
    head = a_run(cache, seed=seed, **MODES["cosine"]).model.heads["sts"]
    one, other = torch.eye(64)[:2]
    with torch.no_grad():
        alike, between, unrelated = (
            float(head(torch.stack([one, second])[None])) for second in (one, one + other, other)
        )
    assert alike > 4.5 and unrelated < 0.5 and 2.5 < between < 4.5


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_cosine_head_gives_every_class_its_part_of_the_cosines(classes: int) -> None:
    """Equal lines for all classes would give the sentence vectors no gradient at all."""
    task = dataclasses.replace(TASKS["qqp"], loss="cross_entropy", classes=classes)
    middles = (torch.arange(classes) + 0.5) / classes  # (C,), cosines
    vectors = torch.zeros(classes, 2, 64)
    vectors[:, 0, 0] = 1.0
    vectors[:, 1, 0], vectors[:, 1, 1] = middles, torch.sqrt(1 - middles**2)
    vectors.requires_grad_()
    output = CosineHead(64, 2, task)(vectors)  # (C, C)
    assert output.argmax(dim=1).tolist() == list(range(classes))
    task_loss(task, output, torch.zeros(classes)).backward()
    assert (vectors.grad.abs().amax(dim=(1, 2)) > 1e-3).all()


def test_two_classes_of_a_cosine_head_begin_as_the_one_logit() -> None:
    two = CosineHead(64, 2, dataclasses.replace(TASKS["qqp"], loss="cross_entropy"))
    vectors = torch.randn(20, 2, 64)
    probability = torch.softmax(two(vectors), dim=1)[:, 1]
    one = torch.sigmoid(CosineHead(64, 2, TASKS["qqp"])(vectors)).squeeze(1)
    torch.testing.assert_close(probability, one)


def test_a_cosine_head_stays_within_the_labels_range(cache: Path) -> None:
    run = a_run(cache, **MODES["cosine"])
    head = run.model.heads["sts"]
    vectors = torch.randn(50, 2, 64)
    with torch.no_grad():
        head.linear.weight.fill_(100.0)
        output = head(vectors)
        same = head(torch.ones(1, 2, 64))
    assert output.min() >= 0 and output.max() <= 5 and same.item() == pytest.approx(5, abs=1e-3)


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        ({"head": "cosine"}, "head"),
        ({"head": {"sst": "cosine"}, "pair": "siamese"}, "head"),
        ({"pair": {"cola": "siamese"}}, "pair.cola"),
        ({"pair": "side_by_side"}, "pair"),
    ],
)
def test_what_does_not_fit_together_is_said(mapping: dict, key: str) -> None:
    _, problems = check(mapping)
    assert {problem.key for problem in problems} == {key}
