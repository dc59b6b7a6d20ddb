"""From the states of all tokens to one vector for each sentence.

BERT's own vector of a sentence is its pooler's output for the [CLS] token (Devlin et al. 2018).
Mean and maximum run over all tokens of the sentence, special ones included, as in Sentence-BERT
(Reimers & Gurevych 2019, section 3) and its library sentence-transformers.  They do not go through
BERT's pooler.

Shapes: T tokens, n sentences, m sentences where each span's fillers count as one more, W the
encoder's width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.config.choices import POOLINGS
from trainer.model.encoder import Encoder
from trainer.model.packing import Packed


def sentence_vectors(
    encoder: Encoder, poolings: Sequence[str], packed: Packed, shift: Tensor | None = None
) -> Tensor:
    """The vectors (n, W) of all sentences, fp32.

    If every part takes the [CLS] token, the last layer is computed for those tokens alone.

    Args:
        poolings: a name of `POOLINGS` for each part of `packed`.
        shift: (T, W), added to the embeddings.
    """
    if all(map(uses_pooler, poolings)):
        return encoder(packed, shift)
    states = encoder.states(packed, shift)  # (T, W)
    # Every pooling computes all sentences.  A part that does not use it sends it no gradient.
    vectors = {
        name: POOLINGS[name].load()(encoder, states, packed).split(packed.counts)
        for name in dict.fromkeys(poolings)
    }
    return torch.cat([vectors[name][part] for part, name in enumerate(poolings)])


def uses_pooler(pooling: str) -> bool:
    """Whether the vectors of a pooling go through BERT's pooler."""
    return not POOLINGS[pooling].every_token


def cls(encoder: Encoder, states: Tensor, packed: Packed) -> Tensor:
    """BERT's pooler on the state of each [CLS] token, (T, W) -> (n, W)."""
    return encoder.pool(states.index_select(0, packed.first), packed)


def mean(encoder: Encoder, states: Tensor, packed: Packed) -> Tensor:
    """The mean over the tokens of each sentence, (T, W) -> (n, W)."""
    return _without_fillers(_reduced(states, packed, "mean"), packed)


def largest(encoder: Encoder, states: Tensor, packed: Packed) -> Tensor:
    """The maximum over the tokens of each sentence, number by number, (T, W) -> (n, W).

    Of equal tokens the first one gets the gradient, as in `torch.max`.  The backward of
    `torch.segment_reduce` would give each of them the whole gradient where that is negative, and
    equal tokens are common in bf16.
    """
    with torch.no_grad():
        place = torch.arange(len(states), device=states.device)  # (T,)
        sentence = torch.bucketize(place, packed.bounds[1:], right=True)  # (T,)
        smaller = states < _reduced(states.detach(), packed, "max").index_select(0, sentence)
        candidates = torch.where(smaller, len(states), place[:, None]).double()  # (T, W)
        first = _reduced(candidates, packed, "min").long()  # (m, W)
    return _without_fillers(states.gather(0, first), packed)


def _reduced(values: Tensor, packed: Packed, how: str) -> Tensor:
    """Reduce the tokens of each sentence to one row, (T, W) -> (m, W)."""
    # `unsafe` leaves out a check of the bounds, for which a GPU would wait for the host.
    return torch.segment_reduce(values, how, offsets=packed.bounds, axis=0, unsafe=True)


def _without_fillers(rows: Tensor, packed: Packed) -> Tensor:
    """The rows of sentences, (m, W) -> (n, W).  A span's fillers stand behind its sentences."""
    spans = enumerate(packed.sentence_spans)
    return torch.cat([rows[span.start + k : span.end + k] for k, span in spans])
