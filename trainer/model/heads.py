"""Heads: from the encoder's sentence vectors to the outputs of each task.

Shapes: n examples, W the encoder's width, V vectors of an example (2 in pair mode
`siamese`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config.choices import (
    DEFAULT_HEAD,
    DEFAULT_PAIR_FEATURES,
    DEFAULT_POOLING,
    HEADS,
    PAIR_FEATURES,
)
from trainer.config.tasks import Task
from trainer.model.dropout import Dropout
from trainer.model.encoder import Encoder
from trainer.model.packing import Packed
from trainer.model.pooling import sentence_vectors
from trainer.model.spans import Span, Spans
from trainer.model.task_gradients import linear

#: The tasks that P4's relational layer serves.
RELATED = ("qqp", "sts")


@dataclass(frozen=True)
class TaskOutput:
    """What the model computes for one task of a step.

    `output` is (n, classes), or (n,) for one logit or one real value.  `vectors` (n, V, W) are the
    examples' vectors before the head's dropout.
    """

    output: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class HeadSpec:
    """The head of a task, and what it sees of the sentences."""

    task: Task
    #: A name of `HEADS`.
    head: str = DEFAULT_HEAD
    #: V, the vectors of each example.
    vectors: int = 1
    #: A name of `PAIR_FEATURES`, for two vectors.
    features: str = DEFAULT_PAIR_FEATURES
    #: A name of `POOLINGS`.
    pooling: str = DEFAULT_POOLING

    @property
    def inputs(self) -> int:
        """F, the vectors that enter the head."""
        return PAIR_FEATURES[self.features].vectors if self.vectors == 2 else self.vectors


class LinearHead(nn.Module):
    """A linear layer on one vector, or on two side by side (P1; `siamese`: P1, P3)."""

    #: Input, output and name of each linear layer, for the example of an exported model.
    layers = (("vector", "output", "linear"),)

    def __init__(self, width: int, vectors: int, task: Task):
        super().__init__()
        self.linear = nn.Linear(width * vectors, task.outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, V, W) -> (n, outputs)."""
        return self.linear(vectors.flatten(1))


class CosineHead(nn.Module):
    """Cosine of two sentence vectors -> linear -> scaled to the label's range (P1, P3).

    A regression's logit goes through a sigmoid onto the range.  A classification's stays a logit.

    The logit starts as 6 cos - 3, whatever the seed: a cosine of 0 is near the bottom of the range
    and a cosine of 1 near its top.  In a step, weight and bias move by about a learning rate, so
    they stay where they start.  With a flat or falling line the encoder would have to turn its
    vectors around.

    Of several classes, class c is the likeliest between the cosines c / C and (c + 1) / C at the
    start.  Equal lines for all classes would give the encoder no gradient.
    """

    def __init__(self, width: int, vectors: int, task: Task):
        super().__init__()
        self.linear = nn.Linear(1, task.outputs)
        classes = torch.arange(max(task.outputs, 2))  # (C,), of which one logit stands for the last
        lines = 6.0 * torch.stack([classes, -torch.cumsum(classes / len(classes), 0)])  # (2, C)
        with torch.no_grad():
            self.linear.weight.copy_(lines[0, -task.outputs :, None])
            self.linear.bias.copy_(lines[1, -task.outputs :])
        self.range = None if task.integer_labels else task.label_range

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, 2, W) -> (n, outputs)."""
        first, second = vectors.unbind(1)  # (n, W), (n, W)
        logit = self.linear(F.cosine_similarity(first, second, dim=-1)[:, None])  # (n, outputs)
        if self.range is None:
            return logit
        low, high = self.range
        return low + (high - low) * torch.sigmoid(logit)


class MlpHead(nn.Module):
    """One hidden layer as wide as the encoder, with a ReLU, then a linear layer."""

    layers = (("vector", "hidden", "hidden"), ("torch.relu(hidden)", "output", "output"))

    def __init__(self, width: int, vectors: int, task: Task):
        super().__init__()
        self.hidden = nn.Linear(width * vectors, width)
        self.output = nn.Linear(width, task.outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, V, W) -> (n, outputs)."""
        return self.output(torch.relu(self.hidden(vectors.flatten(1))))


class MultitaskModel(nn.Module):
    """One encoder, optional layers between it and the heads, and one head per task.

    Args:
        heads: one for every task.
        shared_layer: a linear layer and a ReLU for all tasks (P2, Figure 3).
        relational_layer: the same for `qqp` and `sts` alone (P4, Figure 2).
    """

    def __init__(
        self,
        encoder: Encoder,
        heads: Sequence[HeadSpec],
        dropout: float,
        *,
        shared_layer: bool = False,
        relational_layer: bool = False,
    ):
        super().__init__()
        width = encoder.shape.hidden
        self.encoder = encoder
        self.dropout = Dropout(dropout, encoder.masks)
        self.specs = {spec.task.name: spec for spec in heads}
        self.heads = nn.ModuleDict()
        for spec in heads:
            head = HEADS[spec.head].load()
            self.heads[spec.task.name] = head(width, spec.inputs, spec.task)
        self.shared_layer = nn.Linear(width, width) if shared_layer else None
        self.relational_layer = nn.Linear(width, width) if relational_layer else None

    def forward(self, task: str, packed: Packed, shift: Tensor | None = None) -> Tensor:
        """Outputs (n, classes) for cross-entropy, (n,) for one logit or one real value; fp32."""
        return self.outputs([task], packed, shift)[0].output

    def outputs(
        self, tasks: Sequence[str], packed: Packed, shift: Tensor | None = None
    ) -> list[TaskOutput]:
        """The outputs of several tasks from one pass through the encoder.

        Args:
            tasks: the task of each part of `packed`.
            shift: (T, W), added to the embeddings.
        """
        specs = [self.specs[task] for task in tasks]
        pooled = sentence_vectors(
            self.encoder, [spec.pooling for spec in specs], packed, shift
        )  # (sentences of all parts, W)
        if self.shared_layer is not None:
            pooled = torch.relu(linear(self.shared_layer, pooled, packed.sentence_spans))
        outputs = []
        for spec, row, part in zip(specs, packed.rows, pooled.split(packed.counts), strict=True):
            task = spec.task.name
            if self.relational_layer is not None and task in RELATED:
                spans = Spans([Span(row, 0, len(part))])
                part = torch.relu(linear(self.relational_layer, part, spans))  # (n V, W)
            vectors = part.unflatten(0, (-1, spec.vectors))  # (n, V, W)
            features = (
                PAIR_FEATURES[spec.features].load()(vectors) if spec.vectors == 2 else vectors
            )
            output = self.heads[task](self.dropout(features)).squeeze(-1)  # (n, classes) or (n,)
            outputs.append(TaskOutput(output, vectors))
        return outputs
