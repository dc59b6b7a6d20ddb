"""The config of one trial as a dataclass.  One error reports all mistakes.

A config is a JSON/YAML mapping.  `TrainConfig.from_dict` checks it completely before anything
starts.  Its `ConfigError` has every problem: the key, its value, and what is allowed.  `canonical`
is the mapping that identifies a trial.  It leaves out parameters that do not act (lambda without
ARRP, `reduction` without PCGrad, ...) and those that only say where the trial runs (`device`,
`threads`, folders).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from trainer.combiners.registry import COMBINERS
from trainer.config import acting
from trainer.config.checks import check_together
from trainer.config.choices import (
    DEFAULT_HEAD,
    DEFAULT_PAIR_FEATURES,
    DEFAULT_PAIR_MODE,
    DEFAULT_POOLING,
    EMULATED,
    HEADS,
    PAIR_FEATURES,
    PAIR_MODES,
    POOLINGS,
    PRECISIONS,
    SCHEDULES,
)
from trainer.config.data_config import LONG, SHORT, DataConfig
from trainer.config.fields import (
    ConfigError,
    Problem,
    born,
    by_task,
    check_fields,
    file_fields,
    in_range,
    one_of,
)
from trainer.config.task_choices import (
    CLASS_WEIGHTS,
    DEFAULT_CLASS_WEIGHTS,
    DEFAULT_PAIR_LOSS,
    PAIR_LOSSES,
)
from trainer.config.task_declaration import declared_tasks
from trainer.config.tasks import DEFAULT_TASKS, TASKS, Task
from trainer.samplers import registry as samplers


@dataclass(frozen=True)
class TrainConfig:
    """One trial: data, model, method, optimiser, seed."""

    data: DataConfig = field(default_factory=DataConfig)
    #: Names of declared tasks; `task_declarations` adds to them or changes them.
    tasks: tuple[str, ...] = DEFAULT_TASKS
    task_declarations: dict[str, Any] = field(default_factory=dict)
    #: A random preset (`tiny`, `mini`, `base`), `minilm` (extra `minilm`), a folder with a Hugging
    #: Face BERT checkpoint, or the name of one on the Hub (extra `hub`).
    encoder: str = "bert-base-uncased"
    #: Folder of an earlier trial or of an exported model: its weights instead of the encoder's own.
    #: Heads come along where task, head and shapes agree.  Their sha256 identifies the trial.
    start_from: str = ""
    #: How the encoder reads a pair of sentences; a mapping sets it for single tasks.
    pair: str | dict[str, str] = field(
        default=DEFAULT_PAIR_MODE, metadata=one_of(*PAIR_MODES) | by_task()
    )
    #: How a sentence's tokens become its vector; `mean` and `max` do not go through BERT's pooler.
    pooling: str | dict[str, str] = field(
        default=DEFAULT_POOLING, metadata=one_of(*POOLINGS) | by_task()
    )
    #: What a head sees of a pair's two sentence vectors; others than `both` need `pair: siamese`.
    pair_features: str | dict[str, str] = field(
        default=DEFAULT_PAIR_FEATURES, metadata=one_of(*PAIR_FEATURES) | by_task()
    )
    #: What turns sentence vectors into outputs; `cosine` needs `pair: siamese`.
    head: str | dict[str, str] = field(default=DEFAULT_HEAD, metadata=one_of(*HEADS) | by_task())
    #: One linear layer and a ReLU between the encoder and all heads (P2).
    shared_layer: bool = False
    #: The same for `qqp` and `sts` only (P4).
    relational_layer: bool = False

    sampler: str = field(
        default="round_robin", metadata=one_of(*samplers.SAMPLERS, more=samplers.installed)
    )
    #: Examples per epoch (`proportional`, `annealed`), or in its second phase (`arrp`, where a
    #: mapping names the tasks of that phase, each with its own B).
    B: int | dict[str, int] = field(default=24_000, metadata=in_range(1) | by_task())
    #: Steps per epoch of `proportional` and `annealed`; 0: B decides.
    steps_per_epoch: int = field(default=0, metadata=in_range(0))
    #: Task draws per step of `proportional` and `annealed`; 0: the number of tasks.
    draws_per_step: int = field(default=0, metadata=in_range(0, 1000))
    #: How far `annealed` flattens the tasks' shares: p_i is proportional to N_i^alpha, and alpha
    #: falls from 1 to 1 - `annealing` (P0: 0.8).
    annealing: float = field(default=0.8, metadata=in_range(0, 1))
    #: Loss penalty of ARRP's second phase (P0, section 4.2).  `lambda` in files.
    lambda_: float | dict[str, float] = field(
        default=1.0, metadata=in_range(0, 1, open_low=True) | by_task()
    )
    #: The task of `single_task`, or the data-rich task of `rr_pretrain` (empty: the largest).
    train_task: str = ""
    #: Order of the tasks in `sequential`; empty: the order of `tasks`.
    task_order: tuple[str, ...] = ()
    #: So many first epochs of `rr_pretrain` start with the data-rich task.
    pretrain_epochs: int = field(default=1, metadata=in_range(1))
    #: One of our combiners, or `torchjd.UPGrad`, `torchjd.CAGrad`, ... (extra `torchjd`).
    combiner: str = field(default="pcgrad", metadata=one_of(*COMBINERS))
    #: Arguments of a torchjd method, such as `{c: 0.5}` for CAGrad.
    combiner_options: dict[str, float] = field(default_factory=dict)
    #: Gradients of tasks with the same group name are summed before they are combined (P1's second
    #: way to use an auxiliary task).  A task without an entry is its own group.
    surgery_groups: dict[str, str] = field(default_factory=dict, metadata=by_task())
    #: Also keep task gradients apart under `sum` and `mean`, to record their conflicts.  It costs
    #: as much time as surgery.
    record_conflicts: bool = False
    #: How PCGrad adds the projected gradients: the paper's sum, or the mean of its ports.
    reduction: str = field(default="sum", metadata=one_of("sum", "mean"))
    #: Frozen parameters: in ARRP's second phase, or for the whole run with other samplers.
    freeze: str = "none"

    #: Factor on everything that a task adds to the joint loss; a mapping sets it for single tasks.
    task_weights: float | dict[str, float] = field(
        default=1.0, metadata=in_range(0, open_low=True) | by_task()
    )
    #: How much each class counts in the training loss; `balanced` makes rare classes count more.
    class_weights: str | dict[str, str] = field(
        default=DEFAULT_CLASS_WEIGHTS, metadata=one_of(*CLASS_WEIGHTS) | by_task()
    )
    #: A loss on the two sentence vectors of a `siamese` pair, added to the task's loss.
    pair_loss: str | dict[str, str] = field(
        default=DEFAULT_PAIR_LOSS, metadata=one_of(*PAIR_LOSSES) | by_task()
    )
    pair_loss_weight: float = field(default=1.0, metadata=in_range(0, open_low=True))

    #: SMART (P4): weight of the adversarial term (0 for none), size and norm of the perturbation,
    #: number and length of ascent steps, and the standard deviation of the random start.  With
    #: `smart_radius: relative` the sizes are fractions of each token's embedding, and the
    #: perturbation has its full size, as in Jiang et al.'s code.  With `absolute` they are numbers,
    #: and the perturbation is at most so large.
    smart_weight: float = field(default=0.0, metadata=in_range(0))
    smart_radius: str = field(
        default="relative", metadata=one_of("absolute", "relative") | born("absolute")
    )
    smart_epsilon: float = field(default=1.0, metadata=in_range(0, open_low=True) | born(1e-5))
    smart_norm: str = field(default="inf", metadata=one_of("inf", "l2"))
    smart_steps: int = field(default=1, metadata=in_range(1, 100))
    smart_step_size: float = field(default=1.0, metadata=in_range(0, open_low=True) | born(1e-3))
    smart_noise: float = field(default=0.01, metadata=in_range(0, open_low=True) | born(1e-5))
    #: SMART's Bregman proximal term: weight mu (0 for none) and momentum beta of the slow copy.
    bregman_weight: float = field(default=0.0, metadata=in_range(0))
    bregman_momentum: float = field(default=0.99, metadata=in_range(0, 1))

    epochs: int = field(default=10, metadata=in_range(1, 10_000))
    #: Examples per batch; a mapping sets it for each task.
    batch_size: int | dict[str, int] = field(default=8, metadata=in_range(1, 100_000))
    #: Steps that share an update: it uses the examples of so many consecutive steps of a phase, as
    #: if the batches were larger, in the memory of one step.
    accumulate: int = field(default=1, metadata=in_range(1, 1000))
    learning_rate: float = field(default=1e-5, metadata=in_range(0, 1, open_low=True))
    #: The heads' learning rate, because they start at random values.  0: `learning_rate`.
    head_learning_rate: float = field(default=0.0, metadata=in_range(0, 1))
    #: Layer-wise learning rates: each layer learns at this times the rate of the layer above it,
    #: and the embeddings at this times the rate of the first layer (Sun et al. 2019).
    layer_decay: float = field(default=1.0, metadata=in_range(0, 1, open_low=True))
    weight_decay: float = field(default=0.0, metadata=in_range(0, 1))
    #: AdamW's epsilon.  The course's AdamW has 1e-6.
    adam_epsilon: float = field(default=1e-8, metadata=in_range(0, 1, open_low=True))
    #: Longest gradient of an update, over all parameters that it moves; longer ones are scaled down
    #: to this length.  0: any length.
    clip_norm: float = field(default=0.0, metadata=in_range(0))
    #: `per_task` keeps separate AdamW moments for each task of `sequential` (P1).
    optimizer_state: str = field(default="shared", metadata=one_of("shared", "per_task"))
    #: How the learning rate goes on after the warm-up.
    schedule: str = field(default="constant", metadata=one_of(*SCHEDULES))
    #: So many updates with a rising rate come first.
    warmup_steps: int = field(default=0, metadata=in_range(0))
    #: Dropout of the vector that enters a head, which the papers call dropout.
    dropout: float = field(default=0.3, metadata=in_range(0, 0.9))
    #: Dropout inside the encoder: of the embeddings and of every layer's outputs, and of the
    #: attention weights.  The defaults are BERT's own.
    encoder_dropout: float = field(default=0.1, metadata=in_range(0, 0.9) | born(None))
    attention_dropout: float = field(default=0.1, metadata=in_range(0, 0.9))
    #: Number format of the encoder.  A format that the device does not multiply natively is an
    #: error.  `auto` is the first of bf16, fp16 and fp32 that it does, decided once for a whole
    #: sweep.  `bf16-emulated` and `fp16-emulated` are those formats on every device.
    precision: str = field(default="fp32", metadata=one_of(*PRECISIONS, *EMULATED, "auto"))
    eval_batch_size: int = field(default=64, metadata=in_range(1, 100_000) | {"runtime": True})
    #: Predict the whole test sets after the last epoch.
    predict_test: bool = field(default=True, metadata={"runtime": True})

    #: Checkpoints that a trial keeps: the newest two to resume from (`last`), at its end only the
    #: weights of its best epoch (`best`), or the newest two and those weights (`both`).
    keep: str = field(default="both", metadata=one_of("best", "last", "both") | {"runtime": True})
    #: The epoch that counts: the `last`, or the `best` on the dev sets of the epochs.  Scores, test
    #: predictions and the model are those of this epoch.
    score: str = field(default="last", metadata=one_of("last", "best") | {"runtime": True})
    #: At the end, score the epoch that counts on the whole dev sets (`all`), or only on those of
    #: the epochs (`dev`), which `data.dev_limit` may make smaller.
    evaluate_at_end: str = field(default="dev", metadata=one_of("dev", "all") | {"runtime": True})

    seed: int = field(default=0, metadata=in_range(0, 2**31))
    device: str = field(default="auto", metadata=one_of("auto", "cpu", "cuda") | {"runtime": True})
    #: CPU threads; 0: torch decides.  On a CPU a resume is exact to the bit for a fixed number.
    threads: int = field(default=0, metadata=in_range(0, 1024) | {"runtime": True})
    #: The same on a GPU: only kernels that give the same bits again, which are slower.
    deterministic: bool = field(default=False, metadata={"runtime": True})

    @classmethod
    def from_dict(cls, mapping: Any) -> TrainConfig:
        """Check `mapping` and build the config; raises `ConfigError` with every problem."""
        config, problems = check(mapping)
        if config is None:
            raise ConfigError(problems)
        return config

    def to_dict(self) -> dict[str, Any]:
        """The whole config as plain JSON values, with the keys of files."""
        plain: dict[str, Any] = acting.plain(self)
        return plain

    @property
    def task_list(self) -> list[Task]:
        """The declared tasks of this trial, in their order."""
        declared = declared_tasks(self.task_declarations)
        return [declared[name] for name in self.tasks]

    def generates(self, task: str) -> bool:
        """Whether a task's sentences are generated instead of read from files."""
        return self.data.source == "synthetic" and task in TASKS

    def batch_size_of(self, task: str) -> int:
        return self.batch_size if isinstance(self.batch_size, int) else self.batch_size[task]

    def pair_of(self, task: str) -> str:
        return str(self.for_task("pair", task))

    def head_of(self, task: str) -> str:
        return str(self.for_task("head", task))

    def class_weights_of(self, task: Task) -> str:
        """The class weights of a task; none if its labels are real numbers."""
        if not task.label_classes:
            return DEFAULT_CLASS_WEIGHTS
        return str(self.for_task("class_weights", task.name))

    def pair_loss_of(self, task: Task) -> str:
        """The pair loss of a task; none if it has no pairs."""
        return str(self.for_task("pair_loss", task.name)) if task.is_pair else DEFAULT_PAIR_LOSS

    def for_task(self, key: str, task: str) -> Any:
        """The value of a key for a task; the key's default where its mapping lacks the task."""
        value = getattr(self, key)
        if not isinstance(value, dict):
            return value
        return value.get(task, _BY_TASK_DEFAULTS[key])

    def max_length_of(self, task: Task) -> int:
        """The number of tokens at which the examples of a task are cut."""
        lengths = self.data.max_length
        length = lengths.get(task.name, 0) if isinstance(lengths, dict) else lengths
        return length or (LONG if task.long else SHORT)

    def vectors_of(self, task: Task) -> int:
        """How many vectors per example the head of a task gets."""
        return PAIR_MODES[self.pair_of(task.name)].vectors if task.is_pair else 1

    def inactive(self) -> dict[str, str]:
        """Keys that do not act in this config, each with the reason."""
        return acting.inactive(self)

    def bound_to_epochs(self) -> str:
        """Why this trial's first epochs depend on the number of all epochs; empty if not."""
        return acting.bound_to_epochs(self)

    def canonical(self, only: Container[str] | None = None) -> dict[str, Any]:
        """The mapping that identifies the trial (trainer.config.acting)."""
        return acting.canonical(self, only)


#: For a task that a mapping by task lacks.
_BY_TASK_DEFAULTS = {
    f.name: f.default for f in dataclasses.fields(TrainConfig) if f.metadata.get("by_task")
}


def fields_of(cls: type = TrainConfig) -> dict[str, dataclasses.Field[Any]]:
    """File name -> dataclass field, one level."""
    return file_fields(cls)


def field_at(key: str) -> dataclasses.Field[Any] | None:
    """The field of a dotted key (`lambda`, `data.size`, `data.limit.qqp`), or None."""
    head, _, rest = key.partition(".")
    top = fields_of().get(head)
    if top is None or not rest:
        return top
    if head == "data":
        inner, _, tail = rest.partition(".")
        nested = fields_of(DataConfig).get(inner)
        return nested if nested is not None and (not tail or "dict" in str(nested.type)) else None
    return top if "dict" in str(top.type) else None


def check(mapping: Any) -> tuple[TrainConfig | None, list[Problem]]:
    """A config, or all its problems; never both."""
    problems: list[Problem] = []
    values = check_fields(TrainConfig, mapping, "", problems)
    wrong = {problem.key.partition(".")[0] for problem in problems}
    if not wrong & {"config", "tasks", "task_declarations"}:
        right = values
        if wrong:
            right = {k: v for k, v in values.items() if k.rstrip("_") not in wrong}
        check_together(right, _BY_TASK_DEFAULTS, problems)
    if problems:
        return None, problems
    return TrainConfig(**values), []
