"""Who takes part in step.py and gpu.py, and who is left out by name and why.

Imported, not run.

Legend: P parameters of the encoder, W of them word embeddings, K tasks in the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from contestants import Ours, Usual
from tuned import Tuned, compiles

from trainer.data.corpus import Corpus
from trainer.loop.device import hardware_of
from trainer.loop.run import Run
from trainer.model.encoder_shape import EncoderShape
from trainer.samplers import Step
from trainer.step_timing import free_memory

#: The share of the free memory that the contestants may fill together.
_FILL = 0.85
GIB = 2**30


@dataclass(frozen=True)
class Entry:
    """A contestant that can take part.  `standard`: it does so unless others are asked for."""

    name: str
    kind: type[Ours] | type[Usual]
    precision: str = "fp32"
    options: dict[str, Any] = field(default_factory=dict)
    standard: bool = True

    def create(
        self, of: Callable[..., Run], reference: Run | None, beside: Usual | None
    ) -> Ours | Usual:
        """The contestant.

        Args:
            of: makes a trial with changes of its config.
            reference: the trial whose corpus and tasks the others use; None for the trial itself.
            beside: a contestant that shares its model.
        """
        if self.kind is Ours or reference is None:
            # "bf16-emulated" is bf16 that every device accepts, with native products or without.
            name = "bf16-emulated" if self.precision == "bf16" else self.precision
            return Ours(of(precision=name, **self.options))
        return self.kind(reference, **self.options, precision=self.precision, beside=beside)


def entries(precisions: Sequence[str]) -> dict[str, Entry]:
    """All contestants in these precisions.  The first one sets the steps, and always takes part."""
    listed = []
    for precision in precisions:
        # The default has what README and speed.md claim, and the strongest of the others.
        listed += [
            Entry(f"ours_{precision}", Ours, precision),
            Entry(f"ours_sum_{precision}", Ours, precision, {"combiner": "sum"}),
            Entry(f"ours_frozen_{precision}", Ours, precision, {"freeze": "encoder"}),
            Entry(f"tuned_pcgrad_{precision}", Tuned, precision),
            Entry(
                f"compiled_pcgrad_{precision}", Tuned, precision, {"compiled": True},
                precision == "fp32",
            ),
            Entry(f"tuned_sum_{precision}", Tuned, precision, {"surgery": "none"}, False),
            Entry(
                f"usual_pcgrad_{precision}", Usual, precision, {"surgery": "mtl_backward"},
                precision == "fp32",
            ),
            Entry(f"usual_rows_{precision}", Usual, precision, {"surgery": "rows"}, False),
            Entry(f"usual_sum_{precision}", Usual, precision, {"surgery": "none"}, False),
        ]  # fmt: skip
    # Compiling takes long, and must not take the time of the others.
    listed.sort(key=lambda entry: "compiled" in entry.options)
    return {entry.name: entry for entry in listed}


@dataclass(frozen=True)
class Need:
    """Bytes of a contestant, reckoned: what it holds, and what only a step of it needs."""

    holds: float
    step: float


def parameters(shape: EncoderShape) -> tuple[int, int]:
    """P and W."""
    h, m = shape.hidden, shape.intermediate
    words = shape.vocabulary * h
    layer = 4 * h * h + 2 * h * m + 9 * h + m
    pooler = h * h + h
    return words + (
        shape.positions + shape.token_types + 2
    ) * h + shape.layers * layer + pooler, words


def need(entry: Entry, shape: EncoderShape, tokens: Tokens, shares_model: bool) -> Need:
    """Reckon a contestant's memory in fp32; it is at most a third less in bf16 and fp16.

    A layer keeps about sixteen vectors of the hidden size (with those of attention) and two of the
    intermediate size for each token until backward.
    """
    total, words = parameters(shape)
    tasks = tokens.tasks
    layer = 4 * (16 * shape.hidden + 2 * shape.intermediate)
    model = 4 * total * 4.0  # values, gradients, two moments
    if entry.kind is Ours:
        # All tasks go through one pass, without padding; J has no columns for word embeddings.
        rows = tasks * 4.0 * (total - words)
        return Need(model + rows, tokens.packed * shape.layers * layer)
    activations = tokens.padded * shape.layers * layer
    surgery = entry.options.get("surgery", "gramian")
    held = 0.0 if shares_model else model
    if surgery == "gramian":
        return Need(held + 4.0 * total * (tasks + 1), activations + 2 * 4.0 * total)
    passing = {"rows": 2 * tasks + 1, "mtl_backward": 3 * tasks, "none": 0}[surgery] * 4.0 * total
    graphs = tasks if surgery == "mtl_backward" else 1  # one for each task at the same time
    return Need(held, graphs * activations + passing)


@dataclass(frozen=True)
class Tokens:
    """Sizes of the longest step: tasks, real tokens, and slots of its largest padded batch."""

    tasks: int
    packed: int
    padded: int

    @classmethod
    def of(cls, corpus: Corpus, steps: Iterable[Step]) -> Tokens:
        packed = padded = tasks = 0
        for step in steps:
            lengths = [corpus.splits[d.task]["train"].lengths[d.rows] for d in step]
            packed = max(packed, sum(int(each.sum()) for each in lengths))
            padded = max(padded, *(int(each.max()) * len(each) for each in lengths))
            tasks = max(tasks, len(step))
        return cls(tasks, packed, padded)


class Field:
    """The contestants of one table, and why others are left out.

    Args:
        asked: the entries that shall take part, the reference first.
        shape: the encoder's sizes.
        steps: how many steps of the first epoch they will take.
        emulated: let a device emulate products of a precision.
        reserved: bytes that others will hold beside this field.

    Raises `MemoryError` if the reference itself does not fit.
    """

    def __init__(
        self, asked: Sequence[Entry], shape: EncoderShape, of: Callable[..., Run], steps: int,
        emulated: bool = False, *, reserved: float = 0.0,
    ):  # fmt: skip
        self.taking_part: dict[str, Ours | Usual] = {}
        self.left_out: dict[str, str] = {}
        #: Bytes that all of them hold, and the most that a step of one needs.
        self.holds, self.step = reserved, 0.0
        self._shape, self._of, self._emulated = shape, of, emulated
        self._free = _FILL * free_memory(torch.device("cpu"))
        self._reference: Run | None = None
        self._beside: Usual | None = None
        self._tokens = Tokens(3, 0, 0)  # unknown before the reference is there
        for entry in asked:
            reason = self._refused(entry)
            if reason and self._reference is None:
                raise MemoryError(f"{entry.name}: {reason}")
            if reason:
                self.left_out[entry.name] = reason
                continue
            self._admit(entry)
            if self._reference is None:
                first = self.taking_part[entry.name]
                assert isinstance(first, Ours)
                #: The trial whose corpus and steps all of them use.
                self.reference = self._reference = first.run
                self.steps = list(first.phase.steps[:steps])
                self._tokens = Tokens.of(self._reference.corpus, self.steps)
                self.step = self._need(entry).step  # its longest step is known now
                self._free = _FILL * free_memory(self._reference.device) + self.holds

    def _need(self, entry: Entry) -> Need:
        shares = self._beside is not None and not entry.options.get("compiled")
        return need(entry, self._shape, self._tokens, shares)

    def _refused(self, entry: Entry) -> str:
        """Why it cannot take part; empty if it can."""
        if self._reference is not None and not self._emulated:
            here = hardware_of(self._reference.device)
            if entry.precision not in here.native:
                return f"{here.multiplies(entry.precision)}, and emulated products take far longer"
        if entry.options.get("compiled") and (reason := compiles()):
            return reason
        more = self._need(entry)
        total = self.holds + more.holds + max(self.step, more.step)
        if total > self._free:
            return (
                f"with those before it, it needs about {total / GIB:.1f} GiB, and "
                f"{self._free / GIB:.1f} GiB are free for them"
            )
        return ""

    def _admit(self, entry: Entry) -> None:
        more = self._need(entry)
        contestant = entry.create(self._of, self._reference, self._beside)
        if isinstance(contestant, Usual) and not entry.options.get("compiled"):
            self._beside = self._beside or contestant
        self.taking_part[entry.name] = contestant
        self.holds += more.holds
        self.step = max(self.step, more.step)

    def leave_out(self, name: str, reason: str) -> None:
        """Take a contestant out of the field."""
        del self.taking_part[name]
        self.left_out[name] = reason
