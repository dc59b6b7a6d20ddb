"""Packing, against sentences laid out one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.model.packing import GPU_ALIGNMENT, Packed, Part, filled, pack

VOCABULARY = 50
ALIGN = 8
#: Parts and the row of J of each.
ROWS = [[0, 1, 2], [0, 0, 1], [0, 0, 0], [0]]


def a_part(generator: np.random.Generator, *, pairs: bool, restart: bool) -> Part:
    """Up to six sentences of 2 to 20 tokens, or as many pairs of them."""
    lengths = generator.integers(2, 21, generator.integers(1, 7))
    first = generator.integers(1, lengths) if pairs else lengths
    ids = generator.integers(1, VOCABULARY, lengths.sum())
    return Part(ids, lengths, first, restart)


def some_parts(seed: int, count: int) -> list[Part]:
    generator = np.random.default_rng(seed)
    kinds = [(False, False), (True, False), (True, True)]
    return [
        a_part(generator, pairs=pairs, restart=restart)
        for pairs, restart in (kinds[(seed + number) % 3] for number in range(count))
    ]


def sentences_of(part: Part) -> list[tuple[list[int], list[int], list[int]]]:
    """Ids, positions and token types of every sentence, token by token."""
    found, ids = [], iter(part.ids.tolist())
    for length, first in zip(part.lengths, part.first_lengths, strict=True):
        words, positions, types = [], [], []
        for place in range(length):
            again = place >= first
            words.append(next(ids))
            positions.append(place - first if again and part.restart else place)
            types.append(int(again and not part.restart))
        found.append((words, positions, types))
    return found


def cases() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("seed", "rows"), [(seed, rows) for seed in range(2) for rows in ROWS]
    )


@cases()
def test_sentences_keep_their_tokens_wherever_they_lie(seed: int, rows: list[int]) -> None:
    parts = some_parts(seed, len(rows))
    packed = pack(parts, rows, align=ALIGN)
    sentences = [sentence for part in parts for sentence in sentences_of(part)]
    assert packed.sentences == len(sentences)
    assert packed.first.tolist() == packed.starts.tolist()
    for start, length, (ids, positions, types) in zip(
        packed.starts, packed.lengths, sentences, strict=True
    ):
        here = slice(start, start + length)
        assert packed.ids[here].tolist() == ids
        assert packed.positions[here].tolist() == positions
        assert packed.token_types[here].tolist() == types
    assert packed.counts == tuple(len(part.lengths) for part in parts)


@cases()
def test_sentences_and_fillers_follow_each_other_without_a_gap(seed: int, rows: list[int]) -> None:
    packed = pack(some_parts(seed, len(rows)), rows, align=ALIGN)
    real = list(zip(packed.starts, packed.starts + packed.lengths, strict=True))
    end = 0
    for begin, stop in sorted([*real, *packed.fillers]):
        assert begin == end
        end = stop
    assert end == packed.tokens


@cases()
def test_spans_take_all_tokens_and_all_sentences_once(seed: int, rows: list[int]) -> None:
    packed = pack(some_parts(seed, len(rows)), rows, align=ALIGN)
    distinct = sorted(set(rows))
    for spans, total in (
        (packed.spans, packed.tokens),
        (packed.sentence_spans, packed.sentences),
    ):
        assert [span.row for span in spans] == distinct  # neighbours of a row share one
        assert [span.start for span in spans] == [0, *(span.end for span in spans[:-1])]
        assert spans[-1].end == total
    for span, sentences, filler in zip(
        packed.spans, packed.sentence_spans, packed.fillers, strict=True
    ):
        starts = packed.starts[sentences.start : sentences.end]
        assert (span.start <= starts).all() and (starts < span.end).all()
        number = sum(
            count for count, row in zip(packed.counts, rows, strict=True) if row == span.row
        )
        assert len(starts) == number
        assert (span.end - span.start) % ALIGN == 0
        assert span.start < filler[0] < filler[1] == span.end


def check_words(packed: Packed) -> None:
    count = len(packed.words)
    assert torch.equal(packed.words[packed.word_rows % count], packed.ids)
    row_of = torch.full((packed.tokens,), -1)
    for span in packed.spans:
        row_of[span.start : span.end] = span.row
    assert torch.equal(packed.word_rows // count, row_of)


@cases()
def test_every_token_finds_its_word_in_its_row(seed: int, rows: list[int]) -> None:
    packed = pack(some_parts(seed, len(rows)), rows, align=ALIGN)
    check_words(packed)
    assert packed.words.unique().tolist() == sorted(set(packed.ids.tolist()))
    assert len(packed.words) % ALIGN == 0


@cases()
def test_a_part_of_a_step_finds_its_words_among_the_steps(seed: int, rows: list[int]) -> None:
    parts = some_parts(seed, len(rows))
    step = pack(parts, rows, align=ALIGN)
    for part, row in zip(parts, rows, strict=True):
        alone = pack([part], [row], step.words, ALIGN)
        check_words(alone)
        assert torch.equal(alone.words, step.words)


@cases()
def test_bounds_are_lengths_with_fillers_as_sentences(seed: int, rows: list[int]) -> None:
    packed = pack(some_parts(seed, len(rows)), rows, align=ALIGN)
    stretches = [
        (start, length, 1) for start, length in zip(packed.starts, packed.lengths, strict=True)
    ]
    stretches += [(begin, end - begin, 0) for begin, end in packed.fillers]
    stretches.sort()
    assert packed.bounds[0] == packed.first_bounds[0] == 0
    assert packed.bounds.diff().tolist() == [length for _, length, _ in stretches]
    assert packed.first_bounds.diff().tolist() == [asks for _, _, asks in stretches]
    assert packed.bounds.dtype == packed.first_bounds.dtype == torch.int32  # the kernels want it


def test_other_tensors_come_without_what_was_derived_from_the_old_ones() -> None:
    packed = pack(some_parts(0, 2), [0, 1])
    packed.layouts["key"] = "derived"
    tensors = {name: tensor + 1 for name, tensor in packed.tensors().items()}
    changed = packed.with_tensors(tensors)
    assert changed.layouts == {} and packed.layouts == {"key": "derived"}
    for name, tensor in changed.tensors().items():
        assert tensor is tensors[name]
    assert (changed.spans, changed.counts) == (packed.spans, packed.counts)


def test_coarse_sizes_are_few_and_waste_little() -> None:
    counts = range(1, 20_000)
    sizes = [filled(count, GPU_ALIGNMENT) for count in counts]
    assert all(count <= size for count, size in zip(counts, sizes, strict=True))
    assert all(
        size - count < max(GPU_ALIGNMENT, count / 8)
        for count, size in zip(counts, sizes, strict=True)
    )
    assert sizes == sorted(sizes) and len(set(sizes)) < 80
    assert [filled(count, 16) for count in (1, 16, 17, 5000)] == [16, 16, 32, 5008]
