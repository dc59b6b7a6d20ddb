"""Losses on the two sentence vectors of a `siamese` pair, added to the loss of its task.

They compare vectors, where the task's own loss compares the head's output with the label.  A pair
is positive if its label lies above the middle of its range: a paraphrase, or sentences with more
than half of the points of similarity.

Shapes: n pairs of a batch, W the width of a vector.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Factor on the cosines before the softmax, the default of sentence-transformers.
SCALE = 20.0


def nothing(vectors: Tensor, positive: Tensor) -> None:
    """No loss."""


def cosine_embedding(vectors: Tensor, positive: Tensor) -> Tensor:
    """Mean over the pairs of 1 - cos for a positive pair and max(0, cos) for another, ().

    Args:
        vectors: (n, 2, W).
        positive: bool (n,).
    """
    first, second = vectors.float().unbind(1)  # (n, W), (n, W)
    return F.cosine_embedding_loss(first, second, torch.where(positive, 1.0, -1.0))


def multiple_negatives(vectors: Tensor, positive: Tensor) -> Tensor:
    """Multiple negatives ranking loss (Henderson et al. 2017, section 4.4), ().

    The first sentence of a positive pair has to find its own second sentence among those of the
    whole batch: cross-entropy of 20 times the cosines, averaged over the positive pairs.  The
    second sentences of all other pairs, positive or not, are its negatives.  0 without a positive
    pair.

    Args:
        vectors: (n, 2, W).
        positive: bool (n,).
    """
    first, second = F.normalize(vectors.float(), dim=-1).unbind(1)  # (n, W), (n, W)
    own = torch.arange(len(vectors), device=vectors.device)  # (n,)
    losses = F.cross_entropy(SCALE * first @ second.T, own, reduction="none")  # (n,)
    return (losses * positive).sum() / positive.sum().clamp(min=1)
