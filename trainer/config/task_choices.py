"""What a task may name: its loss, its dev metric, and what is added to its loss.

Each concept has one list, as in trainer/config/choices.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.registry import CodeEntry, Registry


@dataclass(frozen=True, kw_only=True)
class LossEntry(CodeEntry):
    """A loss.  Its path leads to a class with the methods of `trainer.model.losses.Loss`."""

    #: Whether the head has an output for each class.  Otherwise it has a single one.
    output_per_class: bool = False
    #: Whether labels are classes 0, 1, ...  Otherwise they are real numbers in the task's range.
    integer_labels: bool = True


LOSSES = Registry(
    "loss",
    LossEntry(
        name="cross_entropy",
        path="trainer.model.losses:CrossEntropy",
        output_per_class=True,
        summary="Softmax over `classes` outputs. Labels are whole numbers from 0 to `classes` − 1.",
    ),
    LossEntry(
        name="bce",
        path="trainer.model.losses:BinaryCrossEntropy",
        summary="Binary cross-entropy on one logit. Labels are 0 or 1.",
    ),
    LossEntry(
        name="mse",
        path="trainer.model.losses:SquaredError",
        integer_labels=False,
        summary="Squared error of one real output. Labels lie within `label_range`.",
    ),
    LossEntry(
        name="pearson",
        path="trainer.model.losses:PearsonDistance",
        integer_labels=False,
        summary=(
            "1 − Pearson's r of the batch, from one real output. Labels lie within `label_range`. "
            "Predictions have no scale of their own, so only metrics of order and proportion fit."
        ),
        paper="P2",
    ),
)


@dataclass(frozen=True, kw_only=True)
class PairLossEntry(CodeEntry):
    """A loss on the sentence vectors of pairs.

    Its path leads to a function of vectors (n, 2, W) and of which pairs are positive (n,).
    """

    #: Vectors of an example that it needs, 0 for any number.
    needs_vectors: int = 2


PAIR_LOSSES = Registry(
    "pair loss",
    PairLossEntry(
        name="none",
        path="trainer.model.pair_losses:nothing",
        needs_vectors=0,
        summary="No loss on the vectors.",
    ),
    PairLossEntry(
        name="cosine_embedding",
        path="trainer.model.pair_losses:cosine_embedding",
        summary="1 − cos for a positive pair and max(0, cos) for another, averaged over the batch.",
        paper="torch's `CosineEmbeddingLoss`",
    ),
    PairLossEntry(
        name="multiple_negatives",
        path="trainer.model.pair_losses:multiple_negatives",
        summary=(
            "The first sentence of a positive pair has to find its second sentence among those of "
            "the whole batch: cross-entropy of 20 · cos, averaged over the positive pairs."
        ),
        paper="Henderson et al. 2017, section 4.4",
    ),
)
#: The pair loss of a task for which the config names none, or that has no pairs.
DEFAULT_PAIR_LOSS = "none"

CLASS_WEIGHTS = Registry(
    "class weights",
    CodeEntry(
        name="none",
        path="trainer.model.class_weights:equal",
        summary="Every example counts the same.",
    ),
    CodeEntry(
        name="balanced",
        path="trainer.model.class_weights:balanced",
        summary=(
            "An example of class c counts n / (C n_c) times (scikit-learn's `balanced`): all "
            "classes that occur weigh the same in total."
        ),
        paper="P0 6.1, P3 6.3.1 (future work)",
    ),
)
#: The class weights of a task for which the config names none, or that has no classes.
DEFAULT_CLASS_WEIGHTS = "none"


@dataclass(frozen=True, kw_only=True)
class MetricEntry(CodeEntry):
    """A task's dev metric.  Its path leads to a `TaskMetric` (trainer/loop/task_metrics.py)."""

    #: Its name in the narrow column of a table.
    short: str
    #: Whether labels and predictions must be classes.
    needs_classes: bool = False
    #: Whether its range is -1 to 1.  It then enters `dev_score` as (value + 1) / 2.
    signed: bool = False


METRICS = Registry(
    "metric",
    MetricEntry(
        name="accuracy",
        path="trainer.loop.task_metrics:Accuracy",
        short="acc",
        summary=(
            "Share of examples whose prediction is their label. Real predictions and labels are "
            "rounded to whole numbers first."
        ),
        paper="P0 section 5; rounded: P2, P3",
    ),
    MetricEntry(
        name="f1",
        path="trainer.loop.f1:F1",
        short="F1",
        needs_classes=True,
        summary=(
            "Harmonic mean of precision and recall: of class 1 if there are two classes, otherwise "
            "the mean over classes (scikit-learn's `macro`)."
        ),
    ),
    MetricEntry(
        name="pearson",
        path="trainer.loop.correlations:PearsonCorrelation",
        short="r",
        signed=True,
        summary="Pearson's correlation r; enters `dev_score` as (r + 1) / 2.",
        paper="P0 section 5",
    ),
    MetricEntry(
        name="spearman",
        path="trainer.loop.correlations:SpearmanCorrelation",
        short="rho",
        signed=True,
        summary=(
            "Spearman's rank correlation ρ; equal values share their mean rank; enters `dev_score` "
            "as (ρ + 1) / 2."
        ),
    ),
)
