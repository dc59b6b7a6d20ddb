"""What a config may name besides samplers and combiners: one list for each concept.

Samplers are listed in trainer/samplers/registry.py, combiners in trainer/combiners/registry.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trainer.registry import CodeEntry, Entry, Registry

#: What a trial can compute in.
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
#: A precision on every device, also where its products are emulated.  It names the same trial as
#: the plain name, because both compute the same; the plain name refuses a device that would
#: emulate it.
EMULATED = {"fp16-emulated": "fp16", "bf16-emulated": "bf16"}


@dataclass(frozen=True, kw_only=True)
class PairMode(Entry):
    """How the two sentences of a pair go through the encoder."""

    #: `1` and `2` are the sentences, C is [CLS], S is [SEP].  The second sentence begins at `|`.
    layout: str
    #: Vectors of each pair that the heads get.
    vectors: int = 1
    #: Whether the positions of the second sentence begin at 0 again.
    restarts_positions: bool = False

    @property
    def marks_second(self) -> bool:
        """Whether the tokens of the second sentence have token type 1."""
        return self.vectors == 1 and not self.restarts_positions


PAIR_MODES = Registry(
    "pair mode",
    PairMode(
        name="cross",
        layout="C 1 S | 2 S",
        summary=(
            "[CLS] s1 [SEP] s2 [SEP] with token types 0 and 1. One forward pass, then a linear "
            "layer on the pooled vector."
        ),
        paper="P1 4.2",
    ),
    PairMode(
        name="concat",
        layout="C 1 | 2 S",
        restarts_positions=True,
        summary=(
            "[CLS] s1 s2 [SEP]. Each sentence is embedded as if it stood alone (positions from 0, "
            "token type 0), then both are joined."
        ),
        paper="P3 4.2.1",
    ),
    PairMode(
        name="concat_sep",
        layout="C 1 S | 2 S",
        restarts_positions=True,
        summary="The same with a [SEP] after s1.",
        paper="P3 4.3",
    ),
    PairMode(
        name="siamese",
        layout="C 1 S | C 2 S",
        vectors=2,
        summary=(
            "Each sentence goes through the encoder alone. A linear layer sees the two pooled "
            "vectors side by side."
        ),
        paper="P1 4.2, P3",
    ),
)
#: The pair mode of a task for which the config names none.
DEFAULT_PAIR_MODE = "cross"


@dataclass(frozen=True, kw_only=True)
class Pooling(CodeEntry):
    """How a sentence's tokens become its vector.

    Its path leads to a function of the encoder, the tokens' states and their packing.
    """

    #: Whether it reads the last layer's states of all tokens.  Otherwise those of [CLS] suffice.
    every_token: bool = False


POOLINGS = Registry(
    "pooling",
    Pooling(
        name="cls",
        path="trainer.model.pooling:cls",
        summary="The pooler's output (a linear layer and tanh) for the [CLS] token.",
        paper="BERT; all papers",
    ),
    Pooling(
        name="mean",
        path="trainer.model.pooling:mean",
        every_token=True,
        summary=(
            "The mean of the last layer over all tokens of the sentence, special ones included. It "
            "does not go through the pooler."
        ),
        paper="P1 4.2 (its cosine); Sentence-BERT",
    ),
    Pooling(
        name="max",
        path="trainer.model.pooling:largest",
        every_token=True,
        summary="The largest value of each number over the same tokens, without the pooler.",
        paper="Sentence-BERT",
    ),
)
#: The pooling of a task for which the config names none.
DEFAULT_POOLING = "cls"


@dataclass(frozen=True, kw_only=True)
class PairFeatures(CodeEntry):
    """What a head sees of the two sentence vectors of a pair.

    Its path leads to a function from (n, 2, W) to (n, `vectors`, W).
    """

    vectors: int


PAIR_FEATURES = Registry(
    "pair features",
    PairFeatures(
        name="both",
        path="trainer.model.pair_features:both",
        vectors=2,
        summary="Both vectors side by side: u, v.",
        paper="P3 6.2",
    ),
    PairFeatures(
        name="difference",
        path="trainer.model.pair_features:difference",
        vectors=3,
        summary="u, v and |u − v|.",
        paper="Sentence-BERT, section 3",
    ),
    PairFeatures(
        name="product",
        path="trainer.model.pair_features:product",
        vectors=3,
        summary="u, v and u · v, number by number.",
        paper="Sentence-BERT, table 6",
    ),
    PairFeatures(
        name="all",
        path="trainer.model.pair_features:everything",
        vectors=4,
        summary="u, v, |u − v| and u · v.",
        paper="InferSent; Sentence-BERT, table 6",
    ),
)
#: The pair features of a task for which the config names none.
DEFAULT_PAIR_FEATURES = "both"


@dataclass(frozen=True, kw_only=True)
class HeadEntry(CodeEntry):
    """A head.  Its path leads to a class: `Head(width, vectors, task)`."""

    #: Vectors of an example that it needs, 0 for any number.
    needs_vectors: int = 0


HEADS = Registry(
    "head",
    HeadEntry(
        name="linear",
        path="trainer.model.heads:LinearHead",
        summary="One linear layer on the pooled vector, or on both vectors of a `siamese` pair.",
        paper="P1; `siamese`: P1, P3",
    ),
    HeadEntry(
        name="cosine",
        path="trainer.model.heads:CosineHead",
        needs_vectors=2,
        summary=(
            "Cosine of the two sentence vectors → linear layer with one weight and one bias. For "
            "`sts` the result is 5 · sigmoid, which fits its range. For `qqp` it is a logit. Needs "
            "`pair: siamese`."
        ),
        paper="P1 4.2, P3 4.2.1",
    ),
    HeadEntry(
        name="mlp",
        path="trainer.model.heads:MlpHead",
        summary="One hidden layer as wide as the encoder, with a ReLU, then a linear layer.",
    ),
)
#: The head of a task for which the config names none, or one that needs more vectors.
DEFAULT_HEAD = "linear"


@dataclass(frozen=True, kw_only=True)
class ScheduleEntry(CodeEntry):
    """A schedule.  Its path leads to a function of the share of updates that is left."""

    #: Why a trial's first epochs depend on how many follow; empty if they do not.
    depends_on_epochs: str = ""


SCHEDULES = Registry(
    "schedule",
    ScheduleEntry(
        name="constant",
        path="trainer.loop.schedules:constant",
        summary="The rate stays as it is after the warm-up.",
        paper="P0 to P4",
    ),
    ScheduleEntry(
        name="linear",
        path="trainer.loop.schedules:linear",
        summary="The rate falls to 0 in a straight line.",
        paper="P1 finetune-seq, with `optimizer_state: per_task`",
        depends_on_epochs="schedule linear: the rate falls to 0 over all epochs",
    ),
    ScheduleEntry(
        name="cosine",
        path="trainer.loop.schedules:cosine",
        summary="The rate falls to 0 along half a period of the cosine.",
        paper="Loshchilov and Hutter 2017",
        depends_on_epochs="schedule cosine: the rate falls to 0 over all epochs",
    ),
)


@dataclass(frozen=True, kw_only=True)
class FrozenSet(CodeEntry):
    """A set of parameters that a phase may freeze.

    Its path leads to a function of the model's segments and the match of the pattern.
    """

    #: The names in a config that mean this set.
    pattern: str

    def match(self, name: str) -> re.Match[str] | None:
        return re.fullmatch(self.pattern, name)


FROZEN_SETS = Registry(
    "frozen set",
    FrozenSet(
        name="none",
        path="trainer.model.freezing:nothing",
        pattern="none",
        summary="Freezes nothing.",
        paper="P0 F = 0",
    ),
    FrozenSet(
        name="encoder",
        path="trainer.model.freezing:all_but_heads",
        pattern="encoder",
        summary="Freezes everything except the heads.",
        paper='P0 F = 1; P1 and P4 "pretrain"',
    ),
    FrozenSet(
        name="bert",
        path="trainer.model.freezing:bert",
        pattern="bert",
        summary=(
            "Freezes embeddings, layers and pooler. The heads, the shared layer and the relational "
            "layer train."
        ),
        paper="P2 Figure 3",
    ),
    FrozenSet(
        name="embeddings",
        path="trainer.model.freezing:segment",
        pattern="embeddings",
        summary="Freezes the embeddings.",
    ),
    FrozenSet(
        name="pooler",
        path="trainer.model.freezing:segment",
        pattern="pooler",
        summary="Freezes the pooler, the last layer before the heads.",
    ),
    FrozenSet(
        name="layers:3",
        path="trainer.model.freezing:layer",
        pattern=r"layers:(?P<first>\d+)",
        summary="Freezes one layer. Layers count from 0.",
    ),
    FrozenSet(
        name="layers:0-5",
        path="trainer.model.freezing:layers",
        pattern=r"layers:(?P<first>\d+)-(?P<last>\d+)",
        summary="Freezes a range of layers.",
    ),
)
#: Joins several sets in a config.
JOINED_BY = "+"


def frozen_set(name: str) -> tuple[FrozenSet, re.Match[str]] | None:
    """The frozen set that one part of `freeze` names, and the match; None if there is none."""
    for entry in FROZEN_SETS.values():
        if match := entry.match(name):
            return entry, match
    return None
