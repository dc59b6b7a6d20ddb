"""SMART regularisation (Jiang et al. 2020; P4): smoothness, and a trust region that moves slowly.

Both terms compare the model with a neighbour of itself by the symmetric divergence l_s (equation
3).  For the adversarial term R_s the neighbour is the model on embeddings that are moved by at most
epsilon, in the worst direction.  For the Bregman term it is a slow copy of the parameters.  Dropout
is off in both (P4).

Shapes: T tokens, W the encoder's width, n examples.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.config.tasks import Task
from trainer.loop.device import exact_products
from trainer.model.heads import MultitaskModel
from trainer.model.losses import loss_of
from trainer.model.packing import Packed
from trainer.model.task_gradients import StepGradients

#: By `smart_radius`: a shift that is too long is scaled down, and one of `relative` also up.
_LARGEST_FACTOR = {"absolute": 1.0, "relative": math.inf}


class Smart:
    """Adds lambda_s R_s + mu D_Breg to a task's loss.  Does nothing if both weights are 0.

    Both terms are computed in fp32, whatever the trial's precision.  They measure differences of
    outputs that bf16 would round away.
    """

    def __init__(self, config: TrainConfig, model: MultitaskModel, step_gradients: StepGradients):
        self.config = config
        self.model = model
        self._step_gradients = step_gradients
        #: theta~, the slow copy; None without the Bregman term.
        self.slow = copy.deepcopy(model).requires_grad_(False) if config.bregman_weight else None
        if self.slow is not None:
            self.slow.encoder.dtype = torch.float32

    @property
    def acts(self) -> bool:
        """Whether there is a term to add to the losses."""
        return bool(self.config.smart_weight or self.slow)

    def penalty(self, task: Task, packed: Packed) -> Tensor:
        """The weighted sum () of both terms for one batch of a task."""
        config = self.config
        divergence = loss_of(task).divergence
        was_training = self.model.training
        self.model.eval()
        try:
            with self.model.encoder.computing_in(torch.float32), exact_products():
                output = self.model(task.name, packed, None)  # (n, classes) or (n,)
                terms: list[Tensor] = []
                if config.smart_weight:
                    with self._step_gradients.pause():
                        shift = self._worst_shift(task, packed, output.detach())  # (T, W)
                    moved = self.model(task.name, packed, shift)
                    terms.append(config.smart_weight * divergence(moved, output))
                if self.slow is not None:
                    with torch.no_grad():
                        slow = self.slow.eval()(task.name, packed, None)
                    terms.append(config.bregman_weight * divergence(output, slow))
        finally:
            self.model.train(was_training)
        return torch.stack(terms).sum()

    def _worst_shift(self, task: Task, packed: Packed, output: Tensor) -> Tensor:
        """Gradient ascent on l_s around every token, (T, W).

        With `smart_radius: absolute` the shift stays within a ball of size epsilon.  With
        `relative` it lies on the sphere: Jiang et al.'s code scales it there after every step.
        """
        config = self.config
        coordinate, unit = self._sizes(packed)  # (T, 1) each
        noise = torch.randn(len(unit), self.model.encoder.shape.hidden, device=unit.device)
        shift = config.smart_noise * coordinate * noise  # (T, W)
        for _ in range(config.smart_steps):
            shift.requires_grad_(True)
            moved = self.model(task.name, packed, shift)
            (gradient,) = torch.autograd.grad(loss_of(task).divergence(moved, output), shift)
            with torch.no_grad():
                length = _norm(gradient, config.smart_norm).clamp(min=1e-12)  # (T, 1)
                shift = shift + config.smart_step_size * unit * gradient / length  # (T, W)
                size = _norm(shift, config.smart_norm).clamp(min=1e-12)  # (T, 1)
                # As a product, which gives trials of the first format the bits that they had.
                factor = config.smart_epsilon * unit * size.reciprocal()  # (T, 1)
                shift = (shift * factor.clamp(max=_LARGEST_FACTOR[config.smart_radius])).detach()
        return shift

    def _sizes(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """What noise, step and epsilon are fractions of: of a coordinate, and in the norm; (T, 1).

        With `smart_radius: relative` that is the size of a token's embedding: the root mean square
        of its coordinates, or its length for the norm l2.
        """
        if self.config.smart_radius == "absolute":
            one = torch.ones(len(packed.ids), 1, device=packed.ids.device)
            return one, one
        with torch.no_grad():
            length = _norm(self.model.encoder.embeddings.sums(packed), "l2")  # (T, 1)
        coordinate = length / self.model.encoder.shape.hidden**0.5  # (T, 1)
        return coordinate, length if self.config.smart_norm == "l2" else coordinate

    def after_update(self) -> None:
        """theta~ <- (1 - beta) theta + beta theta~ (P4)."""
        if self.slow is not None:
            with torch.no_grad():
                for slow, fast in zip(self.slow.parameters(), self.model.parameters(), strict=True):
                    slow.lerp_(fast, 1 - self.config.bregman_momentum)

    def state(self) -> dict[str, Tensor]:
        """The slow copy's tensors, for a checkpoint."""
        return self.slow.state_dict() if self.slow is not None else {}

    def load(self, state: dict[str, Tensor]) -> None:
        if self.slow is not None:
            self.slow.load_state_dict(state)


def _norm(x: Tensor, kind: str) -> Tensor:
    """The norm of every token's vector, (T, W) -> (T, 1)."""
    order = torch.inf if kind == "inf" else 2
    return torch.linalg.vector_norm(x, ord=order, dim=-1, keepdim=True)
