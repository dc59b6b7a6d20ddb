"""What a step minimises: weights of tasks and classes, and losses on pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from tests.support.small import small_config
from trainer.config import ConfigError, TrainConfig
from trainer.loop.build import build_model
from trainer.loop.run import Run

STILL = {
    "sampler": "round_robin",
    "combiner": "sum",
    "dropout": 0.0,
    "encoder_dropout": 0.0,
    "attention_dropout": 0.0,
}


@dataclass
class FirstStep:
    """A trial's first step, without its update."""

    run: Run
    #: By task.
    losses: dict[str, float]
    #: By the parameter's name.
    gradients: dict[str, Tensor]
    rows: dict[str, np.ndarray]


def first_step(cache: Path, **changes: Any) -> FirstStep:
    run = Run(small_config(cache, **STILL | changes))
    phase = run.plan(1)[0]
    step = phase.steps[0]
    layout, generator = run.stepper.layout(phase, step), torch.Generator().manual_seed(0)
    inputs = run.stepper.inputs(layout, step, generator)
    made = run.stepper.compute(layout, inputs, None, generator)
    losses = {n: float(loss) for n, loss in zip(layout.tasks, made.losses, strict=True)}
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in run.model.named_parameters()
        if parameter.grad is not None and "embeddings" not in name
    }
    return FirstStep(run, losses, gradients, {draw.task: draw.rows for draw in step})


def test_a_task_weight_scales_all_that_the_task_adds(cache: Path) -> None:
    whole, half, double = (
        first_step(cache, task_weights={"qqp": weight}) for weight in (1.0, 0.5, 2.0)
    )
    assert half.losses["qqp"] == pytest.approx(whole.losses["qqp"] / 2)
    assert half.losses["sst"] == whole.losses["sst"]
    for name, gradient in whole.gradients.items():
        once = double.gradients[name] - gradient  # what qqp adds at weight 1
        assert torch.allclose(once, 2 * (gradient - half.gradients[name]), atol=1e-6)
        assert (once.abs().max() > 0) == ("sst" not in name and "sts" not in name)


def test_a_task_weight_of_all_tasks_is_one_number(cache: Path) -> None:
    whole, third = first_step(cache), first_step(cache, task_weights=3)
    assert third.losses == pytest.approx({n: 3 * loss for n, loss in whole.losses.items()})


def test_balanced_classes_weigh_as_scikit_learn_says_and_only_in_training(cache: Path) -> None:
    plain = first_step(cache)
    weighted = first_step(cache, class_weights={"sst": "balanced", "qqp": "balanced"})
    for task in ("sst", "qqp"):
        split = weighted.run.corpus.splits[task]["train"]
        classes = np.unique(split.labels)
        weights = compute_class_weight("balanced", classes=classes, y=split.labels)
        rows = weighted.rows[task]
        labels = torch.from_numpy(split.labels_of(rows))
        output = weighted.run.model(task, split.packed(rows))
        each = (
            F.cross_entropy(output, labels.long(), reduction="none")
            if task == "sst"
            else F.binary_cross_entropy_with_logits(output, labels, reduction="none")
        )
        expected = (each * torch.from_numpy(weights)[labels.long()]).mean()
        assert weighted.losses[task] == pytest.approx(expected.item(), rel=1e-5)
        assert weighted.losses[task] != pytest.approx(plain.losses[task], rel=1e-3)
    assert weighted.losses["sts"] == plain.losses["sts"]
    dev, unweighted = weighted.run.evaluate("dev"), plain.run.evaluate("dev")
    assert {n: d.loss for n, d in dev.items()} == {n: d.loss for n, d in unweighted.items()}


def test_class_weights_of_all_tasks_leave_real_labels_alone(cache: Path) -> None:
    everywhere = first_step(cache, class_weights="balanced")
    named = first_step(cache, class_weights={"sst": "balanced", "qqp": "balanced"})
    assert everywhere.losses == named.losses
    config = TrainConfig.from_dict({"class_weights": "balanced"})
    chosen = {task.name: config.class_weights_of(task) for task in config.task_list}
    assert chosen == {"sst": "balanced", "qqp": "balanced", "sts": "none"}


@pytest.mark.parametrize(("task", "middle"), [("qqp", 0.5), ("sts", 2.5)])
def test_a_pair_loss_acts_on_the_vectors_before_the_head(
    cache: Path, task: str, middle: float
) -> None:
    """Loss and gradients against a backward through a model of its own."""
    keys = {"pair": "siamese", "pair_loss": {task: "cosine_embedding"}, "pair_loss_weight": 0.3}
    found = first_step(cache, sampler="single_task", train_task=task, **keys)
    model = build_model(found.run.config, found.run.corpus)
    model.load_state_dict(found.run.model.state_dict())
    split = found.run.corpus.splits[task]["train"]
    labels = torch.from_numpy(split.labels_of(found.rows[task]))
    (made,) = model.outputs([task], split.packed(found.rows[task]))
    own = F.binary_cross_entropy_with_logits if task == "qqp" else F.mse_loss
    signs = torch.where(labels > middle, 1.0, -1.0)
    pair = torch.nn.CosineEmbeddingLoss()(made.vectors[:, 0], made.vectors[:, 1], signs)
    loss = own(made.output, labels) + 0.3 * pair
    loss.backward()
    assert len(set(signs.tolist())) == 2
    assert found.losses[task] == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in model.named_parameters():
        if name in found.gradients and parameter.grad is not None:
            assert torch.allclose(found.gradients[name], parameter.grad, atol=1e-5), name


def test_a_pair_loss_of_all_tasks_leaves_single_sentences_alone(cache: Path) -> None:
    plain = first_step(cache, pair="siamese")
    ranked = first_step(cache, pair="siamese", pair_loss="multiple_negatives")
    assert ranked.losses["sst"] == plain.losses["sst"]
    assert ranked.losses["qqp"] > plain.losses["qqp"]


SIAMESE = {"pair": "siamese"}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pair_loss": "cosine_embedding"},
         "pair_loss: cosine_embedding compares two sentence vectors of qqp; allowed: pair: siam"),
        ({**SIAMESE, "pair_loss": {"sst": "cosine_embedding"}},
         "pair_loss.sst: sst has no pairs of sentences; allowed: qqp, sts"),
        ({**SIAMESE, "pair_loss": "cosine_embedding", "tasks": ["sst"]},
         "pair_loss: no task has pairs of sentences; allowed: none"),
        ({**SIAMESE, "pair_loss": {"qqp": "cosine"}},
         "pair_loss.qqp: unknown value 'cosine'.*none, cosine_embedding, multiple_negatives"),
        ({**SIAMESE, "pair_loss": {"qqp": "multiple_negatives"},
          "task_declarations": {"qqp": {"loss": "cross_entropy", "classes": 3}}},
         "pair_loss: multiple_negatives needs positive and other pairs, and qqp has 3 classes; "
         "allowed: none for qqp"),
        ({"pair_loss": {"qpp": "none"}}, "pair_loss.qpp: unknown key .did you mean 'qqp'"),
        ({"pair_loss_weight": 0}, "pair_loss_weight: 0.* is outside its range"),
        ({"class_weights": {"sts": "balanced"}},
         "class_weights.sts: sts has no labels that are classes; allowed: sst, qqp"),
        ({"class_weights": "balanced", "tasks": ["sts"]},
         "class_weights: no task has labels that are classes"),
        ({"class_weights": "even"}, "class_weights: unknown value 'even'.*none, balanced"),
        ({"task_weights": {"sst": 0}}, "task_weights.sst: 0.* is outside its range"),
        ({"task_weights": {"yelp": 1}}, "task_weights.yelp: unknown key"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        TrainConfig.from_dict(keys)
    assert all(p.key.startswith(message.split(":")[0]) for p in error.value.problems)


def test_the_weight_of_pair_losses_identifies_only_where_there_are_any() -> None:
    assert "pair_loss_weight" not in TrainConfig.from_dict({}).canonical()
    keys = {**SIAMESE, "pair_loss": {"qqp": "multiple_negatives"}}
    assert TrainConfig.from_dict(keys).canonical()["pair_loss_weight"] == 1.0
