"""Weights of classes in the training loss, for data in which some classes are rare.

Shapes: n training examples, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def equal(labels: np.ndarray, classes: int) -> None:
    """No weights: every example counts the same."""


def balanced(labels: np.ndarray, classes: int) -> Tensor:
    """n / (C n_c) for a class with n_c examples, (C,), as scikit-learn's `balanced`.

    C counts the classes that occur.  The weights' mean over the examples is 1.

    Args:
        labels: (n,), the training set's.
        classes: how many classes the task has.
    """
    counts = np.bincount(labels.astype(np.int64), minlength=classes).astype(np.float64)  # (C,)
    weights = np.zeros(len(counts))
    occurs = counts > 0
    weights[occurs] = counts.sum() / (occurs.sum() * counts[occurs])
    return torch.from_numpy(weights).float()
