"""What one trial is: plain dataclasses, every mistake reported at once.

A config is a JSON/YAML mapping.  `TrainConfig.from_dict` checks it completely before anything
starts and raises one `ConfigError` that carries every problem: the key, what was found, what is
allowed.  `canonical` is the mapping that identifies a trial: parameters that do not act (lambda
without ARRP, `reduction` without PCGrad, ...) and those that say only where or on what the trial
runs (`device`, `threads`, folders) are not part of it.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Container
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from trainer import known_samplers
from trainer.config.fields import (
    ConfigError,
    Problem,
    check_fields,
    describe,
    file_fields,
    in_range,
    one_of,
    unknown_key,
)
from trainer.config.tasks import DEFAULT_TASKS, TASKS, Task, TaskError, declared_tasks
from trainer.known_samplers import OURS, SAMPLER_KEYS

__all__ = [
    "ConfigError",
    "DataConfig",
    "Problem",
    "TrainConfig",
    "check",
    "describe",
    "field_at",
    "fields_of",
    "unknown_key",
]

COMBINERS = ("sum", "mean", "pcgrad", "sequential_step")
#: Prefix of combiners that the torchjd package brings (extra of that name).
TORCHJD = "torchjd."
#: bf16 on every device, also where its products are emulated.  It names the same trial as `bf16`,
#: because both compute the same: only `bf16` refuses a device that would take so long.
EMULATED_BF16 = "bf16-emulated"
PAIR_MODES = ("cross", "concat", "concat_sep", "siamese")
HEADS = ("linear", "cosine")
_FREEZE_WORDS = "none, encoder, embeddings, pooler, layers:3, layers:0-5, several joined by +"
_FREEZE_PART = re.compile(r"encoder|embeddings|pooler|layers:(\d+)(-(\d+))?")


@dataclass(frozen=True)
class DataConfig:
    """Where the sentences come from and how many of them are used."""

    #: `cs224n` are the course's file names below `root`; `files` takes every path from the tasks'
    #: declarations (relative ones below `root`); `synthetic` generates the tasks that are ours from
    #: `seed`, and reads the others as `files` does.
    source: str = field(default="cs224n", metadata=one_of("synthetic", "cs224n", "files"))
    root: str = "data"
    #: Folder of the tokenised corpus; empty: `~/.cache/orch-mtl`.
    cache: str = field(default="", metadata={"runtime": True})
    #: Tokens of a sentence or pair, special tokens included; longer ones are cut.
    max_length: int = field(default=128, metadata=in_range(8, 512))
    #: At most so many training examples of a task (a fixed draw, the same for every seed).
    limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: The same for dev examples.
    dev_limit: dict[str, int] = field(default_factory=dict, metadata=in_range(1))
    #: Seed and size of the synthetic corpus: `size` training examples of its smallest task.
    seed: int = field(default=0, metadata=in_range(0, 2**31))
    size: int = field(default=700, metadata=in_range(16, 100_000))


@dataclass(frozen=True)
class TrainConfig:
    """One trial: data, model, method, optimiser, seed."""

    data: DataConfig = field(default_factory=DataConfig)
    #: Names of declared tasks; `task_declarations` adds to them or changes them.
    tasks: tuple[str, ...] = DEFAULT_TASKS
    task_declarations: dict[str, Any] = field(default_factory=dict)
    #: A random preset (`tiny`, `mini`, `base`), `minilm` (extra of that name), a folder with a
    #: Hugging Face BERT checkpoint, or the name of one on the Hub (extra `hub`).
    encoder: str = "bert-base-uncased"
    #: How a pair of sentences meets the encoder; a mapping gives single tasks their own.
    pair: str | dict[str, str] = field(default="cross", metadata=one_of(*PAIR_MODES))
    #: What stands on the sentence vectors; `cosine` needs `pair: siamese`.
    head: str | dict[str, str] = field(default="linear", metadata=one_of(*HEADS))
    #: One linear layer and a ReLU between the encoder and all heads (P2).
    shared_layer: bool = False
    #: The same for `qqp` and `sts` alone (P4).
    relational_layer: bool = False

    sampler: str = field(default="round_robin", metadata=one_of(*OURS, more=known_samplers.names))
    #: Examples an epoch (`proportional`, `annealed`) or in the epoch's second phase (`arrp`, where
    #: a mapping names the tasks that the phase visits, each with its own B).
    B: int | dict[str, int] = field(default=24_000, metadata=in_range(1))
    #: Steps an epoch of `proportional` and `annealed` instead of B examples; 0: B decides.
    steps_per_epoch: int = field(default=0, metadata=in_range(0))
    #: Task draws a step of `proportional` and `annealed`; 0: as many as there are tasks.
    draws_per_step: int = field(default=0, metadata=in_range(0, 1000))
    #: Loss penalty of ARRP's second phase (P0, section 4.2).  `lambda` in files.
    lambda_: float | dict[str, float] = field(default=1.0, metadata=in_range(0, 1, open_low=True))
    #: The task of `single_task`, the data-rich one of `rr_pretrain` (empty: the largest).
    train_task: str = ""
    #: Order of the tasks in `sequential`; empty: that of `tasks`.
    task_order: tuple[str, ...] = ()
    #: How many epochs, from the first, `rr_pretrain` opens with the data-rich task.
    pretrain_epochs: int = field(default=1, metadata=in_range(1))
    #: A name of ours, or `torchjd.UPGrad`, `torchjd.CAGrad`, ... (extra `torchjd`).
    combiner: str = "pcgrad"
    #: Arguments of a torchjd method, such as `{c: 0.5}` for CAGrad.
    combiner_options: dict[str, float] = field(default_factory=dict)
    #: Tasks with the same group name have their gradients summed before they are combined (P1's
    #: second way with an auxiliary task); a task without an entry is a group of its own.
    surgery_groups: dict[str, str] = field(default_factory=dict)
    #: Keep task gradients apart under `sum` and `mean` too, so that their conflicts are recorded;
    #: it costs what surgery costs.
    record_conflicts: bool = False
    #: What PCGrad does with the projected gradients: the paper's sum, or the ports' mean.
    reduction: str = field(default="sum", metadata=one_of("sum", "mean"))
    #: Frozen parameters: in ARRP's second phase, or for the whole run under other samplers.
    freeze: str = "none"

    #: SMART (P4): weight of the adversarial term, 0 for none; size and norm of the perturbation,
    #: ascent steps, their length, and the deviation of its random start.
    smart_weight: float = field(default=0.0, metadata=in_range(0))
    smart_epsilon: float = field(default=1e-5, metadata=in_range(0, open_low=True))
    smart_norm: str = field(default="inf", metadata=one_of("inf", "l2"))
    smart_steps: int = field(default=1, metadata=in_range(1, 100))
    smart_step_size: float = field(default=1e-3, metadata=in_range(0, open_low=True))
    smart_noise: float = field(default=1e-5, metadata=in_range(0, open_low=True))
    #: SMART's Bregman proximal term: weight mu (0 for none) and momentum beta of the slow copy.
    bregman_weight: float = field(default=0.0, metadata=in_range(0))
    bregman_momentum: float = field(default=0.99, metadata=in_range(0, 1))

    epochs: int = field(default=10, metadata=in_range(1, 10_000))
    #: Examples of a task's batch; a mapping gives each task its own.
    batch_size: int | dict[str, int] = field(default=8, metadata=in_range(1, 100_000))
    learning_rate: float = field(default=1e-5, metadata=in_range(0, 1, open_low=True))
    #: The heads' own rate: they begin at random, the encoder does not.  0: `learning_rate`.
    head_learning_rate: float = field(default=0.0, metadata=in_range(0, 1))
    weight_decay: float = field(default=0.0, metadata=in_range(0, 1))
    #: `per_task` keeps AdamW's moments for each task of `sequential` apart (P1).
    optimizer_state: str = field(default="shared", metadata=one_of("shared", "per_task"))
    schedule: str = field(default="constant", metadata=one_of("constant", "linear"))
    warmup_steps: int = field(default=0, metadata=in_range(0))
    dropout: float = field(default=0.3, metadata=in_range(0, 0.9))
    attention_dropout: float = field(default=0.1, metadata=in_range(0, 0.9))
    #: Number format of the encoder.  `bf16` is refused where the device does not multiply it
    #: natively; `auto` is bf16 where it does and fp32 elsewhere, decided once for a whole sweep;
    #: `bf16-emulated` is bf16 on every device.
    precision: str = field(default="fp32", metadata=one_of("fp32", "bf16", EMULATED_BF16, "auto"))
    eval_batch_size: int = field(default=64, metadata=in_range(1, 100_000) | {"runtime": True})
    #: Predict the test sets behind the last epoch, whole as they are.
    predict_test: bool = field(default=True, metadata={"runtime": True})

    seed: int = field(default=0, metadata=in_range(0, 2**31))
    device: str = field(default="auto", metadata=one_of("auto", "cpu", "cuda") | {"runtime": True})
    #: CPU threads; 0 leaves torch's choice.  Resume is bit-exact for a fixed number.
    threads: int = field(default=0, metadata=in_range(0, 1024) | {"runtime": True})

    @classmethod
    def from_dict(cls, mapping: Any) -> TrainConfig:
        """Check `mapping` and build the config; raises `ConfigError` with every problem."""
        config, problems = check(mapping)
        if config is None:
            raise ConfigError(problems)
        return config

    def to_dict(self) -> dict[str, Any]:
        """The whole config as plain JSON values, under the names that files use."""
        return _plain(self)

    @property
    def task_list(self) -> list[Task]:
        """The declarations of this trial's tasks, in their order."""
        declared = declared_tasks(self.task_declarations)
        return [declared[name] for name in self.tasks]

    def generates(self, task: str) -> bool:
        """Whether a task's sentences are generated; the others' are read from files."""
        return self.data.source == "synthetic" and task in TASKS

    def batch_size_of(self, task: str) -> int:
        return self.batch_size if isinstance(self.batch_size, int) else self.batch_size[task]

    def pair_of(self, task: str) -> str:
        return self.pair if isinstance(self.pair, str) else self.pair.get(task, "cross")

    def head_of(self, task: str) -> str:
        return self.head if isinstance(self.head, str) else self.head.get(task, "linear")

    def inactive(self) -> dict[str, str]:
        """Keys that do not act in this config, each with the reason."""
        reasons: dict[str, str] = {}
        read = known_samplers.keys(self.sampler)
        for key in SAMPLER_KEYS:
            if key not in read:
                reasons[key] = f"sampler {self.sampler} reads no {key}"
        if "steps_per_epoch" in read and self.steps_per_epoch:
            reasons["B"] = "steps_per_epoch is given"
        if self.combiner != "pcgrad":
            reasons["reduction"] = f"combiner {self.combiner} has no reduction"
        if self.combiner not in ("sum", "mean"):
            reasons["record_conflicts"] = f"combiner {self.combiner} decides that itself"
        if not self.combiner.startswith(TORCHJD):
            reasons["combiner_options"] = f"combiner {self.combiner} has no options"
        if self.combiner in ("sum", "mean", "sequential_step"):
            reasons["surgery_groups"] = f"combiner {self.combiner} does no surgery"
        if not self.head_learning_rate:
            reasons["head_learning_rate"] = "it is 0: the heads learn at learning_rate"
        if not self.smart_weight:
            for name in ("epsilon", "norm", "steps", "step_size", "noise"):
                reasons[f"smart_{name}"] = "smart_weight is 0"
        if not self.bregman_weight:
            reasons["bregman_momentum"] = "bregman_weight is 0"
        if self.data.source != "synthetic":
            reasons["data.seed"] = reasons["data.size"] = "data are read, not generated"
        if all(map(self.generates, self.tasks)):
            reasons["data.root"] = "data are generated, not read"
        return reasons

    def bound_to_epochs(self) -> str:
        """Why this trial's first epochs would differ if it had more of them; empty if not."""
        if self.sampler == "annealed":
            return "annealed: alpha falls from 1 to 0.2 over all epochs"
        if self.schedule == "linear":
            return "schedule linear: the rate falls to 0 over all epochs"
        return ""

    def canonical(self, only: Container[str] | None = None) -> dict[str, Any]:
        """The identifying mapping: acting parameters only, no run-time ones.

        Folders are left out because the data's fingerprint stands for them.

        Args:
            only: these keys of the first level, where the others are of no interest.
        """
        cls: Any = type(self)
        plain = {
            key: _plain(getattr(self, name), runtime=False)
            for key, name in _names(cls, False)
            if only is None or key in only
        }
        if plain.get("precision") == EMULATED_BF16:
            plain["precision"] = "bf16"
        for key in (*self.inactive(), "data.root"):
            group, _, inner = key.rpartition(".")
            (plain.get(group, {}) if group else plain).pop(inner, None)
        return plain


def _plain(value: Any, *, runtime: bool = True) -> Any:
    if isinstance(value, str | int | float | None):
        return value  # most are, and ledgers have thousands of configs
    if isinstance(value, dict):
        return {str(k): _plain(v, runtime=runtime) for k, v in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [_plain(v, runtime=runtime) for v in value]
    cls: Any = type(value)
    return {
        key: _plain(getattr(value, name), runtime=runtime) for key, name in _names(cls, runtime)
    }


@functools.cache
def _names(cls: type, runtime: bool) -> tuple[tuple[str, str], ...]:
    """What a dataclass's fields are called in files and in Python."""
    found = [f for f in dataclasses.fields(cls) if runtime or not f.metadata.get("runtime")]
    return tuple((f.name.rstrip("_"), f.name) for f in found)


def fields_of(cls: type = TrainConfig) -> dict[str, dataclasses.Field[Any]]:
    """File name -> dataclass field, one level."""
    return file_fields(cls)


def field_at(key: str) -> dataclasses.Field[Any] | None:
    """The field a dotted key names (`lambda`, `data.size`, `data.limit.qqp`), or None."""
    head, _, rest = key.partition(".")
    found = fields_of().get(head)
    if found is None or not rest:
        return found
    if head == "data":
        inner, _, tail = rest.partition(".")
        nested = fields_of(DataConfig).get(inner)
        return nested if nested is not None and (not tail or "dict" in str(nested.type)) else None
    return found if "dict" in str(found.type) else None


def check(mapping: Any) -> tuple[TrainConfig | None, list[Problem]]:
    """Build a config or list every problem; never both."""
    problems: list[Problem] = []
    values = check_fields(TrainConfig, mapping, "", problems)
    wrong = {problem.key.partition(".")[0] for problem in problems}
    if not wrong & {"config", "tasks", "task_declarations"}:
        right = values
        if wrong:
            right = {k: v for k, v in values.items() if k.rstrip("_") not in wrong}
        _check_tasks(right, problems)
    if problems:
        return None, problems
    return TrainConfig(**values), []


def _check_tasks(values: dict[str, Any], problems: list[Problem]) -> None:
    """Task names must be declared; per-task mappings must name tasks of this trial."""
    names = values.get("tasks", DEFAULT_TASKS)
    try:
        declared = declared_tasks(values.get("task_declarations", {}))
    except TaskError as error:
        problems.append(Problem(f"task_declarations.{error.key}", error.message, error.allowed))
        return
    if not names:
        problems.append(Problem("tasks", "no task is named", ", ".join(sorted(declared))))
    if not any(declared[name].scored for name in names if name in declared):
        problems.append(Problem("tasks", "no task of them is scored"))
    for name in names:
        if name not in declared:
            problems.append(Problem("tasks", f"unknown task {name!r}", ", ".join(sorted(declared))))
    if len(set(names)) != len(names):
        problems.append(Problem("tasks", "a task is named twice"))
    _check_per_task(values, names, problems)
    _check_methods(values, names, declared, problems)


def _check_per_task(values: dict[str, Any], names: Any, problems: list[Problem]) -> None:
    """Mappings by task must name tasks of this trial."""
    batch_size = values.get("batch_size")
    if isinstance(batch_size, dict) and set(batch_size) != set(names):
        allowed = "one entry each for " + ", ".join(names)
        problems.append(Problem("batch_size", "must give every task its size", allowed))
    data = values.get("data") or DataConfig()
    mappings = {"data.limit": data.limit, "data.dev_limit": data.dev_limit}
    for f in ("pair", "head", "B", "lambda_", "surgery_groups"):
        if isinstance(values.get(f), dict):
            mappings[f.rstrip("_")] = values[f]
    for key, mapping in mappings.items():
        problems += [unknown_key(task, f"{key}.", names) for task in mapping if task not in names]
    for key in ("task_order",):
        if values.get(key) and sorted(values[key]) != sorted(names):
            problems.append(Problem(key, "must name every task once", ", ".join(names)))


def _check_methods(
    values: dict[str, Any], names: Any, declared: dict[str, Task], problems: list[Problem]
) -> None:
    """What only makes sense together."""
    sampler, task = values.get("sampler", "round_robin"), values.get("train_task", "")
    if task and task not in names:
        problems.append(Problem("train_task", f"unknown task {task!r}", ", ".join(names)))
    if sampler == "single_task" and not task and len(names) > 1:
        problems.append(Problem("train_task", "single_task needs to know which", ", ".join(names)))
    try:
        unknown = sorted(set(known_samplers.keys(sampler)) - set(SAMPLER_KEYS))
    except known_samplers.NotLoadable as error:
        problems.append(Problem("sampler", str(error)))
    else:
        if unknown:
            message = f"{sampler} reads {', '.join(unknown)}, which are no keys of samplers"
            problems.append(Problem("sampler", message, ", ".join(SAMPLER_KEYS)))
    if sampler != "arrp":
        for key in ("B", "lambda_"):
            if isinstance(values.get(key), dict):
                message = f"a mapping by task is arrp's, not {sampler}'s"
                problems.append(Problem(key.rstrip("_"), message, "one number"))
    if isinstance(values.get("lambda_"), dict):
        phases = values.get("B")
        if not isinstance(phases, dict) or set(phases) != set(values["lambda_"]):
            problems.append(Problem("lambda", "as a mapping it goes with a B for the same tasks"))
    combiner = values.get("combiner", "pcgrad")
    if combiner not in COMBINERS and not combiner.startswith(TORCHJD):
        near = get_close_matches(combiner, COMBINERS, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        allowed = ", ".join(COMBINERS) + f", {TORCHJD}<method>"
        problems.append(Problem("combiner", f"unknown value {combiner!r}{hint}", allowed))
    freeze = values.get("freeze", "none")
    if freeze != "none" and not all(_freezable(part) for part in freeze.split("+")):
        problems.append(Problem("freeze", f"unknown set {freeze!r}", _FREEZE_WORDS))
    for name in names:
        if name in declared and _of(values.get("head", "linear"), name, "linear") == "cosine":
            pair = _of(values.get("pair", "cross"), name, "cross")
            if declared[name].is_pair and pair != "siamese":
                problems.append(
                    Problem("head", f"cosine compares two sentence vectors of {name}",
                            f"pair: siamese for {name}")
                )  # fmt: skip
            if isinstance(values.get("head"), dict) and not declared[name].is_pair:
                problems.append(Problem("head", f"{name} has one sentence, nothing to compare"))


def _freezable(part: str) -> bool:
    match = _FREEZE_PART.fullmatch(part)
    return match is not None and (not match[3] or int(match[1]) <= int(match[3]))


def _of(value: Any, task: str, default: str) -> Any:
    return value.get(task, default) if isinstance(value, dict) else value
