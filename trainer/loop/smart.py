"""SMART regularisation (P4; Jiang et al. 2020): smoothness and a slow trust region.

Both terms compare the model with a neighbour of itself by the symmetric divergence l_s: the
adversarial term R_s with the model on embeddings moved by at most epsilon in the worst direction,
the Bregman term with a slow copy of the parameters.  Dropout is off in both (P4's customisation).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.config.tasks import Task
from trainer.model.heads import MultitaskModel
from trainer.model.losses import loss_of
from trainer.model.packing import Packed
from trainer.model.task_gradients import RowState


def divergence(task: Task, output: Tensor, other: Tensor) -> Tensor:
    """l_s: symmetric KL divergence of two predictions, squared difference for a regression."""
    return loss_of(task).divergence(output, other)


class Smart:
    """Adds lambda_s R_s + mu D_Breg to a task's loss; does nothing where both weights are 0.

    Both are computed in fp32 whatever the trial's precision: they measure differences of outputs
    that bf16 rounds away.
    """

    def __init__(self, config: TrainConfig, model: MultitaskModel, rows: RowState):
        self.config = config
        self.model = model
        self._rows = rows
        #: theta~, the slow copy; None without the Bregman term.
        self.slow = copy.deepcopy(model).requires_grad_(False) if config.bregman_weight else None
        if self.slow is not None:
            self.slow.encoder.dtype = torch.float32

    @property
    def acts(self) -> bool:
        """Whether there is anything to add to a loss."""
        return bool(self.config.smart_weight or self.slow)

    def penalty(self, task: Task, packed: Packed) -> Tensor:
        """The weighted sum of both terms for one batch."""
        config = self.config
        was_training = self.model.training
        self.model.eval()
        try:
            with self.model.encoder.computing_in(torch.float32):
                output = self.model(task.name, packed, None)
                terms: list[Tensor] = []
                if config.smart_weight:
                    with self._rows.kept():
                        shift = self._worst_shift(task, packed, output.detach())
                    moved = self.model(task.name, packed, shift)
                    terms.append(config.smart_weight * divergence(task, moved, output))
                if self.slow is not None:
                    with torch.no_grad():
                        slow = self.slow.eval()(task.name, packed, None)
                    terms.append(config.bregman_weight * divergence(task, output, slow))
        finally:
            self.model.train(was_training)
        return torch.stack(terms).sum()

    def _worst_shift(self, task: Task, packed: Packed, output: Tensor) -> Tensor:
        """Projected gradient ascent on l_s within the epsilon ball (per token), (T, hidden)."""
        config = self.config
        width = self.model.encoder.shape.hidden
        shift = torch.randn(len(packed.ids), width, device=packed.ids.device) * config.smart_noise
        for _ in range(config.smart_steps):
            shift.requires_grad_(True)
            moved = self.model(task.name, packed, shift)
            (gradient,) = torch.autograd.grad(divergence(task, moved, output), shift)
            with torch.no_grad():
                length = _norm(gradient, config.smart_norm).clamp(min=1e-12)
                shift = shift + config.smart_step_size * gradient / length
                size = _norm(shift, config.smart_norm).clamp(min=1e-12)
                shift = (shift * (config.smart_epsilon / size).clamp(max=1.0)).detach()
        return shift

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
    """Norm of every token's vector, (T, 1)."""
    order = torch.inf if kind == "inf" else 2
    return torch.linalg.vector_norm(x, ord=order, dim=-1, keepdim=True)
