"""What was really run for a published row, and where that is not what the paper ran."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.ledger.labels import label_value
from trainer.loop.plan import BEFORE_B

if TYPE_CHECKING:
    from orchestrator.compare.configurations import Row
    from orchestrator.ledger import TrialRecord
    from orchestrator.spec.published import PublishedSetup


@dataclass(frozen=True)
class Ran:
    """The set-up of our trials.

    Attributes:
        train: the number of training examples by task; empty where trials did not record it.
        generated: whether the sentences are generated.
        B: as the config asks for it; None if it does not act.
        drawn: what was drawn of B per epoch, on average; None if unknown.
    """

    encoder: str
    epochs: int
    batch_size: int | dict[str, int]
    learning_rate: float
    dropout: Any
    encoder_dropout: float
    train: dict[str, int]
    generated: bool
    hardware: str
    B: int | None = None
    drawn: int | None = None

    @property
    def text(self) -> str:
        """All but B, in one line."""
        parts = [
            f"encoder {self.encoder}", f"epochs {self.epochs}",
            f"batch_size {label_value(self.batch_size)}",
            f"learning_rate {self.learning_rate:g}", f"dropout {label_value(self.dropout)}",
            f"encoder_dropout {self.encoder_dropout:g}",
        ]  # fmt: skip
        if self.train:
            parts.append(f"training examples {_sizes(self.train)}")
        if self.generated:
            parts.append("generated sentences")
        return ", ".join([*parts, self.hardware])

    @property
    def B_text(self) -> str:
        """`24,000`, or `135,466 of 270,466` where fewer were drawn; empty if B does not act."""
        if self.B is None:
            return ""
        cut = self.drawn is not None and self.drawn != self.B
        return f"{self.drawn:,} of {self.B:,}" if cut else f"{self.B:,}"


def ran_by(parts: Mapping[str, tuple[Row, TrialRecord]]) -> Ran:
    """The set-up of one configuration, or of those of several tasks, by task.

    Keys other than data sizes are those of the first one.
    """
    (row, trial), *_ = parts.values()
    config = trial.config
    train = _train_sizes(trial)
    if len(parts) > 1:
        train = {
            task: sizes[task]
            for task, (_, own) in parts.items()
            if task in (sizes := _train_sizes(own))
        }
    devices = dict.fromkeys(device for each, _ in parts.values() for device in each.devices)
    return Ran(
        encoder=str(config["encoder"]),
        epochs=int(config["epochs"]),
        batch_size=_batch_size(parts),
        learning_rate=float(config["learning_rate"]),
        dropout=config["dropout"],
        encoder_dropout=float(config["encoder_dropout"]),
        train=train,
        generated=config["data"]["source"] == "synthetic",
        hardware=" and ".join(devices),
        B=_asked(trial),
        drawn=_drawn(row),
    )


def _batch_size(parts: Mapping[str, tuple[Row, TrialRecord]]) -> int | dict[str, int]:
    """That of the config; by task where several trials have different ones."""
    if len(parts) == 1:
        ((_, trial),) = parts.values()
        return trial.train_config.batch_size
    sizes = {task: trial.train_config.batch_size_of(task) for task, (_, trial) in parts.items()}
    return sizes if len(set(sizes.values())) > 1 else next(iter(sizes.values()))


def differences(ran: Ran, setup: PublishedSetup) -> list[str]:
    """Each key of the paper's set-up that ours does not have, with the paper's value.

    A B of which not all was drawn is one, too.
    """
    lines = []
    for key in ("encoder", "epochs", "learning_rate", "dropout", "hardware"):
        theirs = getattr(setup, key)
        if theirs is not None and theirs != getattr(ran, key):
            lines.append(f"{key} {label_value(theirs)}")
    if setup.batch_size is not None and _batches_differ(ran, setup.batch_size):
        lines.append(f"batch_size {label_value(setup.batch_size)}")
    sizes = {t: n for t, n in (setup.train or {}).items() if ran.train.get(t, n) != n}
    if sizes:
        lines.append(f"training examples {_sizes(sizes)}")
    if ran.generated:
        lines.append("real sentences")
    if setup.B is not None and ran.B is not None and ran.B != setup.B:
        lines.append(f"B {setup.B:,}")
    if ran.B is not None and ran.drawn not in (None, ran.B):
        lines.append(f"B {ran.B:,} in full")
    return lines


def _batches_differ(ran: Ran, theirs: int | Mapping[str, int]) -> bool:
    ours = ran.batch_size
    if isinstance(ours, int) and isinstance(theirs, int):
        return ours != theirs
    tasks = [
        *(ours if isinstance(ours, Mapping) else ()),
        *(theirs if isinstance(theirs, Mapping) else ()),
    ]
    pairs = [
        tuple(each if isinstance(each, int) else each.get(task) for each in (ours, theirs))
        for task in tasks
    ]
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _train_sizes(trial: TrialRecord) -> dict[str, int]:
    rows = trial.identity.get("rows")
    if not isinstance(rows, Mapping):
        return {}
    return {task: rows[task]["train"]["rows"] for task in trial.config["tasks"] if task in rows}


def _asked(trial: TrialRecord) -> int | None:
    B = trial.train_config.canonical({"B"}).get("B")
    return sum(B.values()) if isinstance(B, Mapping) else B


def _drawn(row: Row) -> int | None:
    """The examples of an epoch's phases, without that of ARRP before B."""
    epochs = [
        [phase["examples"] for phase in record.get("phases") or () if phase["name"] != BEFORE_B]
        for records in row.records
        for record in records
    ]
    if not any(epochs):
        return None
    return round(statistics.fmean(map(sum, epochs)))


def _sizes(sizes: Mapping[str, int]) -> str:
    return " ".join(f"{task} {count:,}" for task, count in sizes.items())
