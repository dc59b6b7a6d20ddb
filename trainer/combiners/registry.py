"""The list of all combiners, and the one that a config names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.registry import CodeEntry, Registry

if TYPE_CHECKING:
    from trainer.combiners.base import Combiner
    from trainer.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class CombinerEntry(CodeEntry):
    """A combiner.  Its path leads to a function that makes it from the trial's config."""

    #: `Combiner.needs_gramian`: whether each task's gradient is kept in a row of its own.
    needs_gramian: bool = True


def _torchjd(method: str, summary: str, paper: str) -> CombinerEntry:
    return CombinerEntry(
        name=f"torchjd.{method}",
        path="trainer.combiners.torchjd:torchjd",
        summary=summary,
        keys=("combiner_options", "surgery_groups"),
        paper=paper,
    )


COMBINERS = Registry(
    "combiner",
    CombinerEntry(
        name="sum",
        path="trainer.combiners.joint_loss:sum_of_losses",
        summary="w = 1 for every task: the plain joint loss, a sum of the task losses.",
        keys=("record_conflicts",),
        paper="P0, P1, P3 (baselines)",
        needs_gramian=False,
    ),
    CombinerEntry(
        name="mean",
        path="trainer.combiners.joint_loss:mean_of_losses",
        summary="w = 1/K: the mean of the task losses. It scales the heads' gradients too.",
        keys=("record_conflicts",),
        needs_gramian=False,
    ),
    CombinerEntry(
        name="pcgrad",
        path="trainer.combiners.pcgrad:pcgrad",
        summary=(
            "PCGrad. For each task i, go through the other tasks j in random order. Where the "
            "current version of g_i conflicts with the *original* g_j, subtract its part along "
            "g_j. Then add up the results."
        ),
        keys=("reduction", "surgery_groups"),
        paper="Yu et al. 2020 (Algorithm 1); P0 3.1, P1 4.3, P2, P3 4.2.2",
    ),
    CombinerEntry(
        name="sequential_step",
        path="trainer.combiners.joint_loss:sequential_steps",
        summary="An optimizer step of its own for each task's batch.",
        paper="P3 4.2, triple-batch baseline",
        needs_gramian=False,
    ),
    _torchjd(
        "UPGrad",
        "Project every gradient so that it conflicts with none, then average.",
        "Quinton and Rey 2024",
    ),
    _torchjd(
        "DualProj",
        "Average the gradients, then project the average so that it conflicts with none.",
        "Lopez-Paz and Ranzato 2017",
    ),
    _torchjd(
        "MGDA",
        "Of all weighted averages of the gradients, the shortest one.",
        "Désidéri 2012; Sener and Koltun 2018",
    ),
    _torchjd(
        "CAGrad",
        "Near the average gradient (radius `c`), the direction that helps the worst-off task most.",
        "Liu et al. 2021, Conflict-Averse Gradient Descent",
    ),
    _torchjd(
        "GradVac",
        "Raise the cosine of two gradients if it lies below their usual one.",
        "Wang et al. 2021, Gradient Vaccine",
    ),
    _torchjd("NashMTL", "Bargaining between the tasks (Nash's solution).", "Navon et al. 2022"),
    _torchjd(
        "FairGrad",
        "Fair division of the progress between the tasks. `alpha` chooses the kind of fairness and "
        "has nothing to do with the α above.",
        "Ban and Ji 2024",
    ),
    _torchjd(
        "IMTLG",
        "An update whose projections on the directions of all task gradients are equally long.",
        "Liu et al. 2021, Impartial Multi-task Learning",
    ),
    _torchjd(
        "AlignedMTL",
        "Make the principal directions of J equally long, so that none dominates.",
        "Senushkin et al. 2023",
    ),
    _torchjd("PCGrad", "torchjd's own version of PCGrad.", "Yu et al. 2020"),
)
COMBINER_KEYS = COMBINERS.keys_read


def build(config: TrainConfig) -> Combiner:
    """The combiner that a config names.

    Raises:
        CombinerError: it cannot be used here.
    """
    combiner: Combiner = COMBINERS[config.combiner].load()(config)
    return combiner
