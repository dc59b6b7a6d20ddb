"""Heads: from the encoder's sentence vectors to the outputs of each task.

Shapes: n examples, W the encoder's width, V vectors of an example (2 in pair mode `siamese`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config.choices import DEFAULT_HEAD, HEADS
from trainer.config.tasks import Task
from trainer.model.dropout import Dropout
from trainer.model.encoder import Encoder
from trainer.model.packing import Packed, Span
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
    """The head of a task: its name in `HEADS`, and how many vectors V of each example it gets."""

    task: Task
    head: str = DEFAULT_HEAD
    vectors: int = 1


class LinearHead(nn.Module):
    """A linear layer on one vector, or on two side by side (P1; `siamese`: P1, P3)."""

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
    """

    def __init__(self, width: int, vectors: int, task: Task):
        super().__init__()
        self.linear = nn.Linear(1, task.outputs)
        nn.init.constant_(self.linear.weight, 6.0)
        nn.init.constant_(self.linear.bias, -3.0)
        self.range = None if task.integer_labels else task.label_range

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, 2, W) -> (n, outputs)."""
        first, second = vectors.unbind(1)  # (n, W), (n, W)
        logit = self.linear(F.cosine_similarity(first, second, dim=-1)[:, None])  # (n, outputs)
        if self.range is None:
            return logit
        low, high = self.range
        return low + (high - low) * torch.sigmoid(logit)


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
        self.vectors = {spec.task.name: spec.vectors for spec in heads}
        self.heads = nn.ModuleDict()
        for spec in heads:
            head = HEADS[spec.head].load()
            self.heads[spec.task.name] = head(width, spec.vectors, spec.task)
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
        pooled = self.encoder(packed, shift)  # (sentences of all parts, W)
        if self.shared_layer is not None:
            pooled = torch.relu(linear(self.shared_layer, pooled, packed.sentence_spans))
        outputs = []
        for task, row, part in zip(tasks, packed.rows, pooled.split(packed.counts), strict=True):
            if self.relational_layer is not None and task in RELATED:
                spans = [Span(row, 0, len(part))]
                part = torch.relu(linear(self.relational_layer, part, spans))  # (n V, W)
            vectors = part.unflatten(0, (-1, self.vectors[task]))  # (n, V, W)
            output = self.heads[task](self.dropout(vectors)).squeeze(-1)  # (n, classes) or (n,)
            outputs.append(TaskOutput(output, vectors))
        return outputs
