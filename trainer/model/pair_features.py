"""What a head sees of a pair's two sentence vectors u, v (Reimers & Gurevych 2019, table 6).

|u - v| says how far apart they are, number by number, and u v (Conneau et al. 2017) where they
agree.  Neither depends on which sentence comes first.

Shapes: n pairs, W the encoder's width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def both(vectors: Tensor) -> Tensor:
    """u, v: (n, 2, W) as it is."""
    return vectors


def difference(vectors: Tensor) -> Tensor:
    """u, v, |u - v|: (n, 2, W) -> (n, 3, W)."""
    return torch.cat([vectors, _distance(vectors)], dim=1)


def product(vectors: Tensor) -> Tensor:
    """u, v, u v: (n, 2, W) -> (n, 3, W)."""
    return torch.cat([vectors, vectors[:, :1] * vectors[:, 1:]], dim=1)


def everything(vectors: Tensor) -> Tensor:
    """u, v, |u - v|, u v: (n, 2, W) -> (n, 4, W)."""
    return torch.cat([vectors, _distance(vectors), vectors[:, :1] * vectors[:, 1:]], dim=1)


def _distance(vectors: Tensor) -> Tensor:
    """|u - v|, (n, 1, W)."""
    return (vectors[:, :1] - vectors[:, 1:]).abs()
