"""What an epoch of a trial sees, from its config and the sizes of its training sets alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.config import TrainConfig
from trainer.samplers.base import Epoch, Phase
from trainer.samplers.epoch_phases import phases_of

#: The phase of ARRP that does not count towards its B.
BEFORE_B = "round_robin"


def planned_phases(config: TrainConfig, sizes: Mapping[str, int], number: int) -> list[Phase]:
    """The sampler's phases of epoch `number` (from 1).

    Raises:
        SamplerError: the sampler cannot work with these sizes.
    """
    epoch = Epoch(
        sizes=dict(sizes),
        batch_sizes={task: config.batch_size_of(task) for task in sizes},
        number=number,
        epochs=config.epochs,
        seed=config.seed,
        B=config.B,
        steps_per_epoch=config.steps_per_epoch,
        draws_per_step=config.draws_per_step,
        annealing=config.annealing,
        loss_penalty=config.lambda_,
        frozen=config.freeze,
        train_task=config.train_task,
        task_order=config.task_order,
        pretrain_epochs=config.pretrain_epochs,
        optimizer_per_task=config.optimizer_state == "per_task",
    )
    return phases_of(config.sampler, epoch)


def drawn_of_B(phases: Sequence[Phase]) -> int:
    """The examples that count towards B."""
    return sum(phase.examples for phase in phases if phase.name != BEFORE_B)
