"""Class weights against scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from trainer.model.class_weights import balanced


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.random.default_rng(0).choice(5, 300, p=[0.1, 0.3, 0.2, 0.35, 0.05]).astype(float)
    expected = compute_class_weight("balanced", classes=np.arange(5), y=labels)
    found = balanced(labels, 5)
    assert found.dtype == torch.float32
    assert np.allclose(found, expected, rtol=1e-6)
    assert np.isclose(found[labels.astype(int)].mean(), 1)


def test_a_class_without_examples_has_no_weight() -> None:
    labels = np.array([0.0, 0, 0, 2])
    expected = compute_class_weight("balanced", classes=np.array([0, 2]), y=labels)
    assert np.allclose(balanced(labels, 4), [expected[0], 0, expected[1], 0])
