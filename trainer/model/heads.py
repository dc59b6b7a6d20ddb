"""Heads: from the encoder's sentence vectors to the outputs of each task.

Shapes: n examples, W the encoder's width, V vectors of an example (2 in pair mode `siamese`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


class LinearHead(nn.Module):
    """Linear layer on one vector, or on two side by side (P1; `siamese`: P1, P3)."""

    def __init__(self, width: int, vectors: int, task: Task):
        super().__init__()
        self.linear = nn.Linear(width * vectors, task.outputs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, V, W) -> (n, outputs)."""
        return self.linear(vectors.flatten(1))


class CosineHead(nn.Module):
    """Cosine of two sentence vectors -> linear -> scaled to the label's range (P1, P3).

    A regression's logit goes through a sigmoid onto the range; a classification's stays a logit.
    It begins as 6 cos - 3 whatever the seed: a cosine of 0 is near the bottom of the range, 1 near
    its top.  Two numbers move by a learning rate a step, so where they begin is where they stay,
    and a flat or falling line would have the encoder turn its vectors round.
    """

    def __init__(self, width: int, vectors: int, task: Task):
        super().__init__()
        self.linear = nn.Linear(1, task.outputs)
        nn.init.constant_(self.linear.weight, 6.0)
        nn.init.constant_(self.linear.bias, -3.0)
        self.range = None if task.integer_labels else task.label_range

    def forward(self, vectors: Tensor) -> Tensor:
        """(n, 2, W) -> (n, outputs)."""
        first, second = vectors.unbind(1)
        logit = self.linear(F.cosine_similarity(first, second, dim=-1)[:, None])
        if self.range is None:
            return logit
        low, high = self.range
        return low + (high - low) * torch.sigmoid(logit)


class MultitaskModel(nn.Module):
    """One encoder, optional layers between it and the heads, one head a task.

    Args:
        vectors: vectors of an example by task, where it has more than one.
        heads: names of heads by task, where it is not the default one.
        shared_layer: a linear layer and a ReLU for all tasks (P2, Figure 3).
        relational_layer: the same for `qqp` and `sts` alone (P4, Figure 2).
    """

    def __init__(
        self,
        encoder: Encoder,
        tasks: Sequence[Task],
        dropout: float,
        *,
        vectors: Mapping[str, int] | None = None,
        heads: Mapping[str, str] | None = None,
        shared_layer: bool = False,
        relational_layer: bool = False,
    ):
        super().__init__()
        width = encoder.shape.hidden
        self.encoder = encoder
        self.dropout = Dropout(dropout, encoder.masks)
        self.vectors = {task.name: (vectors or {}).get(task.name, 1) for task in tasks}
        self.heads = nn.ModuleDict()
        for task in tasks:
            head = HEADS[(heads or {}).get(task.name, DEFAULT_HEAD)].load()
            self.heads[task.name] = head(width, self.vectors[task.name], task)
        self.shared_layer = nn.Linear(width, width) if shared_layer else None
        self.relational_layer = nn.Linear(width, width) if relational_layer else None

    def forward(self, task: str, packed: Packed, shift: Tensor | None = None) -> Tensor:
        """Outputs (n, classes) for cross-entropy, (n,) for one logit or one real value; fp32."""
        return self.outputs([task], packed, shift)[0]

    def outputs(
        self, tasks: Sequence[str], packed: Packed, shift: Tensor | None = None
    ) -> list[Tensor]:
        """The outputs of several tasks from one pass through the encoder.

        `packed` has the sentences of one part a task, in the order of `tasks`.
        """
        pooled = self.encoder(packed, shift)
        if self.shared_layer is not None:
            pooled = torch.relu(linear(self.shared_layer, pooled, packed.sentence_spans))
        found = []
        for task, row, part in zip(tasks, packed.rows, pooled.split(packed.counts), strict=True):
            if self.relational_layer is not None and task in RELATED:
                own = [Span(row, 0, len(part))]
                part = torch.relu(linear(self.relational_layer, part, own))
            vectors = self.dropout(part).unflatten(0, (-1, self.vectors[task]))
            found.append(self.heads[task](vectors).squeeze(-1))
        return found
