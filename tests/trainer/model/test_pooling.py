"""Sentence vectors of packed tokens against sentence-transformers' pooling of BertModel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from tests.support.small import small_config
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.encoder import Encoder, from_hugging_face_names
from trainer.model.encoder_shape import EncoderShape
from trainer.model.packing import Packed, Part, pack
from trainer.model.pooling import largest, sentence_vectors

LENGTHS = [3, 17, 9, 24]
POOLINGS = ("cls", "mean", "max")


@pytest.fixture(scope="module")
def bert() -> BertModel:
    torch.manual_seed(0)
    return BertModel(
        BertConfig(
            vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=48, max_position_embeddings=40, initializer_range=0.3,
        )
    ).eval()  # fmt: skip


def ours(bert: BertModel) -> Encoder:
    encoder = Encoder(EncoderShape.from_hugging_face(bert.config.to_dict()))
    encoder.load_state_dict(from_hugging_face_names(bert.state_dict(), 2))
    return encoder.eval()


def sentences() -> list[np.ndarray]:
    draw = np.random.default_rng(1)
    return [draw.integers(5, 99, length) for length in LENGTHS]


def part(chosen: list[np.ndarray]) -> Part:
    lengths = np.array([len(ids) for ids in chosen])
    return Part(np.concatenate(chosen), lengths, lengths)


def theirs(bert: BertModel, pooling: str) -> Tensor:
    """sentence-transformers' vectors of a padded batch, (n, W)."""
    modules = pytest.importorskip("sentence_transformers.models", reason="the test extra has it")
    grid, mask = (torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long) for _ in range(2))
    for row, ids in enumerate(sentences()):
        grid[row, : len(ids)], mask[row, : len(ids)] = torch.from_numpy(ids), 1
    answer = bert(input_ids=grid, attention_mask=mask)
    if pooling == "cls":  # BERT's own vector goes through its pooler
        return answer.pooler_output
    pool = modules.Pooling(32, pooling_mode=pooling)
    features = {"token_embeddings": answer.last_hidden_state, "attention_mask": mask}
    return pool(features)["sentence_embedding"]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("parts", [1, 2], ids=["one span", "two spans"])
def test_vectors_are_sentence_transformers(bert: BertModel, pooling: str, parts: int) -> None:
    """Fillers stand behind every span, and count in no mean and no maximum."""
    chosen = sentences()
    packed = (
        pack([part(chosen)]) if parts == 1 else pack([part(chosen[:1]), part(chosen[1:])], [0, 1])
    )
    with torch.no_grad():
        vectors = sentence_vectors(ours(bert), [pooling] * parts, packed)
        assert torch.allclose(vectors, theirs(bert, pooling), atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_are_sentence_transformers(bert: BertModel, pooling: str) -> None:
    encoder = ours(bert)
    weights = torch.randn(len(LENGTHS), 32, generator=torch.Generator().manual_seed(0))
    (sentence_vectors(encoder, [pooling], pack([part(sentences())])) * weights).sum().backward()
    bert.zero_grad()
    (theirs(bert, pooling) * weights).sum().backward()
    assert bert.embeddings.word_embeddings.weight.grad is not None
    expected = bert.embeddings.word_embeddings.weight.grad
    assert torch.allclose(encoder.embeddings.word.weight.grad, expected, atol=1e-4, rtol=1e-4)
    expected = bert.encoder.layer[1].output.dense.weight.grad
    assert torch.allclose(encoder.layers[1].output.weight.grad, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_of_equal_tokens_the_first_one_gets_the_gradient(bert: BertModel, sign: float) -> None:
    """As in torch.max, which sentence-transformers calls."""
    packed = pack([part(sentences())])
    draw = torch.Generator().manual_seed(0)
    states = torch.randint(3, (packed.tokens, 32), generator=draw).float().requires_grad_()
    vectors = largest(ours(bert), states, packed)
    (vectors.sum() * sign).backward()
    found, states.grad = states.grad, None
    each = states[: sum(LENGTHS)].split(LENGTHS)
    expected = torch.stack([one.max(dim=0).values for one in each])
    assert torch.equal(vectors, expected)
    (expected.sum() * sign).backward()
    assert found is not None and torch.equal(found, states.grad)


def test_every_part_of_a_step_has_its_own_pooling(bert: BertModel) -> None:
    encoder, chosen = ours(bert), sentences()
    for rows in ([0, 1, 2], [0, 0, 1]):
        parts = [part(chosen[:2]), part(chosen[2:3]), part(chosen[3:])]
        with torch.no_grad():
            together = sentence_vectors(encoder, POOLINGS, pack(parts, rows))
            alone = [
                sentence_vectors(encoder, [name], pack([one]))
                for name, one in zip(POOLINGS, parts, strict=True)
            ]
        assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_a_step_of_cls_alone_computes_no_other_token_in_the_last_layer(
    bert: BertModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, packed = ours(bert), pack([part(sentences())])
    assert torch.equal(sentence_vectors(encoder, ["cls"], packed), encoder(packed))
    seen: list[bool] = []
    states = Encoder.states

    def watched(
        self: Encoder, packed: Packed, shift: object, *, first_only: bool = False
    ) -> Tensor:
        seen.append(first_only)
        return states(self, packed, None, first_only=first_only)

    monkeypatch.setattr(Encoder, "states", watched)
    for names in (["cls", "cls"], ["cls", "mean"]):
        chosen = sentences()
        sentence_vectors(encoder, names, pack([part(chosen[:1]), part(chosen[1:])], [0, 1]))
    assert seen == [True, False]


@pytest.mark.parametrize(
    ("changes", "moves"),
    [
        ({"pooling": "mean"}, False),
        ({"pooling": {"sst": "max"}, "sampler": "single_task", "train_task": "sst"}, False),
        ({"pooling": {"sst": "max"}, "sampler": "single_task", "train_task": "sts"}, True),
        ({"pooling": {"sst": "mean"}, "sampler": "round_robin"}, True),
        ({}, True),
    ],
)
def test_a_pooler_that_no_drawn_task_uses_does_not_move(
    cache: Path, changes: dict[str, object], moves: bool
) -> None:
    run = Run(small_config(cache, weight_decay=0.5, **changes))
    before = run.model.encoder.pooler.weight.clone()
    phase = run.plan(1)[0]
    for step in phase.steps:
        run.step(phase, step, EpochMetrics(list(run.tasks.values()), run.corpus.sizes()))
    assert torch.equal(run.model.encoder.pooler.weight, before) is not moves
    assert not torch.equal(run.model.heads["sts"].linear.weight, torch.zeros(1))
