"""Rows of J, against ordinary autograd on one task's batch at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.small import small_config
from trainer.loop.build import build_model
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.loop.smart import Smart
from trainer.model.heads import MultitaskModel
from trainer.model.losses import task_loss
from trainer.model.task_gradients import StepGradients, task_gradients_of

LAYERS = {"shared_layer": True, "relational_layer": True}
CASES = {
    "plain": {},
    "layers between": LAYERS,
    "siamese": {"pair": "siamese", "head": "cosine"},
    "batches of unlike sizes": {"sampler": "annealed", "draws_per_step": 6, "B": 480, **LAYERS},
    "two tasks in one row": {"surgery_groups": {"sst": "main", "sts": "main"}, **LAYERS},
    "poolings": {"pooling": {"sst": "mean", "qqp": "max"}, **LAYERS},
    "pooled without the pooler": {
        "pooling": "mean", "pair": "siamese", "pair_features": "all", "head": "mlp",
    },
    "poolings in one row": {
        "surgery_groups": {"sst": "main", "sts": "main"}, "pooling": {"sst": "mean"}, **LAYERS,
    },
    "poolings, batches of unlike sizes": {
        "sampler": "annealed", "draws_per_step": 6, "B": 480, "pooling": {"qqp": "mean"},
    },
    "poolings, smart": {
        "smart_weight": 1.0, "smart_epsilon": 0.3, "smart_noise": 0.1, "smart_step_size": 0.2,
        "pooling": {"sts": "mean", "sst": "max"},
    },
    "smart": {
        "smart_weight": 1.0, "smart_epsilon": 0.3, "smart_noise": 0.1, "smart_step_size": 0.2,
        "smart_steps": 2, **LAYERS,
    },
}  # fmt: skip
WORD = "encoder.embeddings.word.weight"
Gradients = dict[str, Tensor]


def shared_of(model: MultitaskModel) -> dict[str, nn.Parameter]:
    return {n: p for n, p in model.named_parameters() if not n.startswith("heads.")}


class Joint:
    """A step of many tasks up to its backward, and the same draws by ordinary autograd."""

    def __init__(self, cache: Path, **changes: object):
        options = {"sampler": "round_robin", "combiner": "pcgrad", **changes}
        config = small_config(
            cache, dropout=0.0, encoder_dropout=0.0, attention_dropout=0.0, **options
        )
        self.run = Run(config)
        self.parameters = self.run.parameters
        phase = self.run.plan(2)[0]
        step = max(phase.steps, key=lambda step: len({draw.task for draw in step}))
        self.layout = self.run.stepper.layout(phase, step)
        self.inputs = self.run.stepper.inputs(self.layout, step, torch.Generator().manual_seed(0))
        self.draws = [step[place] for place in self.layout.places]
        self.count = max(self.layout.rows) + 1

    def backward(self) -> None:
        """Gradients into the rows, as the trainer does it."""
        self.parameters.begin_step(
            self.count,
            self.layout.tasks,
            self.inputs.passes[0].packed.words,
            accumulates=self.run.smart.acts,
        )
        self.losses().sum().backward()
        self.parameters.step_gradients.end_pass(self.layout.rows)

    def losses(self) -> Tensor:
        torch.manual_seed(0)  # SMART's noise
        tasks = self.run.model.outputs(self.layout.tasks, self.inputs.passes[0].packed)
        outputs = [task.output for task in tasks]
        found = []
        for number, (name, output) in enumerate(zip(self.layout.tasks, outputs, strict=True)):
            loss = task_loss(self.run.tasks[name], output, self.inputs.labels[number])
            if self.run.smart.acts:
                loss = loss + self.run.smart.penalty(
                    self.run.tasks[name], self.inputs.passes[0].single[number]
                )
            found.append(loss)
        return torch.stack(found)

    def rows(self) -> list[Gradients]:
        """What stands in the rows, those of the word table as wide as the table."""
        words, of_words = self.inputs.passes[0].packed.words, self.parameters.step_gradients.words
        found = []
        for row in range(self.count):
            gradients = {}
            for name, parameter in shared_of(self.run.model).items():
                rows = task_gradients_of(parameter)
                assert rows is not None
                if not rows.sparse:
                    gradients[name] = rows[row].clone()
                elif of_words is not None:
                    table = torch.zeros_like(parameter)
                    gradients[name] = table.index_add_(0, words, of_words[row])
            found.append(gradients)
        return found

    def update(self) -> Gradients:
        found = {}
        names = {id(p): name for name, p in self.run.model.named_parameters()}
        for segment in self.parameters.shared:
            sizes = [parameter.numel() for parameter in segment.parameters]
            for parameter, part in zip(
                segment.parameters, segment.update.split(sizes), strict=True
            ):
                found[names[id(parameter)]] = part.view_as(parameter)
        return found

    def expected(self) -> list[Gradients]:
        """Rows from a model without any: a backward of every draw by itself."""
        model = build_model(self.run.config, self.run.corpus)
        model.load_state_dict(self.run.model.state_dict())
        assert all(task_gradients_of(parameter) is None for parameter in model.parameters())
        smart = Smart(self.run.config, model, StepGradients())
        torch.manual_seed(0)
        found = []
        for row in range(self.count):
            model.zero_grad()
            for number, draw in enumerate(self.draws):
                if self.layout.rows[number] == row:
                    task = self.run.tasks[draw.task]
                    split = self.run.corpus.splits[draw.task]["train"]
                    labels = torch.from_numpy(split.labels_of(draw.rows))
                    loss = task_loss(task, model(draw.task, split.packed(draw.rows)), labels)
                    if smart.acts:
                        loss = loss + smart.penalty(task, self.inputs.passes[0].single[number])
                    loss.backward()
            found.append(
                {
                    name: torch.zeros_like(p) if p.grad is None else p.grad
                    for name, p in shared_of(model).items()
                }
            )
        return found


def assert_close(found: Gradients, expected: Gradients) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name] - value).abs().max().item()
        assert error <= 1e-4 * value.abs().max().item() + 1e-8, name


def flat(gradients: Gradients) -> Tensor:
    return torch.cat([value.flatten() for _, value in sorted(gradients.items())]).double()


@pytest.mark.parametrize("case", CASES)
def test_a_row_is_the_gradient_of_its_tasks_losses_alone(cache: Path, case: str) -> None:
    joint = Joint(cache, **CASES[case])
    for _ in range(2):  # the second finds the rows full
        joint.backward()
    expected = joint.expected()
    assert joint.count == len(set(joint.layout.groups)) > 1
    for found, wanted in zip(joint.rows(), expected, strict=True):
        assert flat(wanted).norm() > 0
        assert_close(found, wanted)


def test_the_steps_of_these_tests_are_as_their_names_say(cache: Path) -> None:
    unlike = Joint(cache, **CASES["batches of unlike sizes"])
    assert len({len(draw.rows) for draw in unlike.draws}) > 1
    grouped = Joint(cache, **CASES["two tasks in one row"])
    rows = dict(zip(grouped.layout.tasks, grouped.layout.rows, strict=True))
    assert rows["sst"] == rows["sts"] != rows["qqp"]


@pytest.mark.parametrize("case", CASES)
def test_the_gramian_is_that_of_the_tasks_whole_gradients(cache: Path, case: str) -> None:
    joint = Joint(cache, **CASES[case])
    joint.backward()
    J = torch.stack([flat(gradients) for gradients in joint.expected()])
    gramian = joint.parameters.gramian(joint.count).double()
    scale = J.norm(dim=1)[:, None] * J.norm(dim=1)
    assert ((gramian - J @ J.T).abs() <= 1e-4 * scale).all()


@pytest.mark.parametrize("case", CASES)
def test_the_update_is_the_weighted_sum_of_the_rows(cache: Path, case: str) -> None:
    joint = Joint(cache, **CASES[case])
    words = joint.inputs.passes[0].packed.words
    joint.backward()
    weights = torch.randn(joint.count, dtype=torch.float64)
    joint.parameters.combine(weights, words)
    expected = [flat(gradients) for gradients in joint.expected()]
    update, wanted = flat(joint.update()), weights @ torch.stack(expected)
    assert (update - wanted).norm() <= 1e-4 * wanted.norm()
    others = torch.ones(len(joint.update()[WORD]), dtype=torch.bool)
    others[words] = False
    assert others.any() and (joint.update()[WORD][others] == 0).all()
    joint.parameters.end_step(words)
    assert (joint.update()[WORD] == 0).all()


def test_without_rows_the_update_is_the_sum_of_the_tasks_gradients(cache: Path) -> None:
    joint = Joint(cache, combiner="sum", **LAYERS)
    assert joint.count == 1 and not joint.layout.groups
    joint.backward()
    joint.parameters.combine(None, joint.inputs.passes[0].packed.words)
    assert_close(joint.update(), joint.expected()[0])


@pytest.mark.parametrize("combiner", ["pcgrad", "sum"])
def test_kept_rows_stay_as_they_are(cache: Path, combiner: str) -> None:
    joint = Joint(cache, combiner=combiner, **LAYERS)
    joint.backward()
    before = joint.rows()
    with joint.parameters.step_gradients.pause():
        (joint.losses() * 3).sum().backward()
    for found, wanted in zip(joint.rows(), before, strict=True):
        assert all(torch.equal(found[name], value) for name, value in wanted.items())


@pytest.mark.parametrize("frozen", ["embeddings", "layers.0", "layers.1", "pooler", "shared_layer"])
def test_what_is_frozen_has_no_gradient_left_from_before(cache: Path, frozen: str) -> None:
    joint = Joint(cache, **LAYERS)
    prefix = frozen if frozen == "shared_layer" else f"encoder.{frozen}."
    joint.backward()
    written = joint.rows()
    joint.parameters.end_step(joint.inputs.passes[0].packed.words)
    joint.parameters.freeze([frozen])
    joint.backward()
    expected = joint.expected()
    for before, after, wanted in zip(written, joint.rows(), expected, strict=True):
        for name, value in after.items():
            assert before[name].any() or name.startswith("relational_layer")
            if name.startswith(prefix):
                assert not value.any(), name
                wanted[name] = value
        wanted = {name: value for name, value in wanted.items() if name in after}
        assert_close(after, wanted)
    assert (joint.parameters.step_gradients.words is None) == (frozen == "embeddings")


def test_bf16_steps_go_where_fp32_steps_go(cache: Path) -> None:
    updates = []
    for precision in ("fp32", "bf16-emulated"):
        joint = Joint(cache, precision=precision)
        joint.backward()
        combiner, orders = joint.run.combiner, joint.inputs.orders
        assert combiner.project is not None and orders is not None
        weights = combiner.project(joint.parameters.gramian(joint.count), orders)
        joint.parameters.combine(weights, joint.inputs.passes[0].packed.words)
        updates.append(flat(joint.update()))
    assert not torch.equal(*updates)
    assert torch.cosine_similarity(*updates, dim=0) > 0.99


def test_bf16_copies_are_the_rounded_weights(cache: Path) -> None:
    run = Run(small_config(cache, precision="bf16-emulated", sampler="round_robin"))
    phase = run.plan(1)[0]
    shared = shared_of(run.model)
    del shared[WORD]
    before = [parameter.detach().clone() for parameter in shared.values()]
    run.step(phase, phase.steps[0], EpochMetrics(list(run.tasks.values()), run.corpus.sizes()))
    run.parameters.refresh()
    for old, (name, parameter) in zip(before, shared.items(), strict=True):
        assert not torch.equal(parameter, old), name
        assert torch.equal(parameter.low_precision, parameter.bfloat16()), name
