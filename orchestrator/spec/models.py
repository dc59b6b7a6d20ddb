"""The resolved sweep: a sweep file with its profile and `--set` applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from orchestrator.spec.decide import DecideSpec, ResolvedDecision
from orchestrator.spec.dimension import Dimension, Model, with_kind
from orchestrator.spec.published import PublishedSpec
from orchestrator.spec.tracking import TrackingSpec
from orchestrator.spec.yaml_lines import dump
from trainer.config import FORMAT, DataConfig, TrainConfig, fields_of, translate
from trainer.config.formats import FIRST_FORMAT
from trainer.metrics import objectives

Direction = Literal["max", "min"]

#: What a search can aim at, each with the direction that is better (`trainer.metrics`).
OBJECTIVES: dict[str, Direction] = objectives()
if TYPE_CHECKING:
    Metric = str
else:
    Metric = Literal[tuple(OBJECTIVES)]

#: Of a CPU or a GPU: Ray counts ten-thousandths.
SMALLEST_SHARE = 0.001
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**31)]


def _best_score() -> dict[Metric, Direction]:
    return {"dev_score": "max"}


class SearchSpec(Model):
    """How configurations are proposed.

    `num_trials` counts distinct configurations.  Each is trained once for every seed.
    """

    algorithm: Literal["tpe", "gp", "nsga2", "random", "grid", "list"] = "tpe"
    num_trials: Annotated[int, Field(ge=1, le=100_000)] = 20
    #: A dimension.  Each of its choices gets its own search with `num_trials` configurations, so
    #: that none looks better because it was tried more often.
    per: str | None = None
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=1_000)] = Field(
        default_factory=lambda: [0]
    )
    objectives: Annotated[dict[Metric, Direction], Field(min_length=1)] = Field(
        default_factory=_best_score
    )
    #: The seed of the proposals, not of the trials.
    seed: Seed = 0

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed appears twice")
        return seeds

    @property
    def population(self) -> int:
        """The size of NSGA-II's generations: a fifth of all trials, within sensible bounds."""
        return min(50, max(4, self.num_trials // 5))


class SchedulerSpec(Model):
    """What stops weak trials early: nothing, or ASHA.

    `rank: metric` compares trials by one metric, `fronts` by the non-dominated fronts of the
    search's objectives.
    """

    name: Literal["none", "asha"] = "none"
    metric: Metric = "dev_score"
    rank: Literal["metric", "fronts"] = "metric"
    grace_epochs: Count = 1
    reduction_factor: Annotated[int, Field(ge=2)] = 3


class ResourcesSpec(Model):
    """What a trial takes (CPU threads, a share of a GPU), and how many run at once."""

    cpu: Annotated[float, Field(ge=SMALLEST_SHARE, le=10_000)] = 1
    gpu: Annotated[float, Field(ge=0, le=10_000)] = 0
    max_concurrent: Annotated[int, Field(ge=1, le=10_000)] = 1
    max_failures: Annotated[int, Field(ge=0, le=10_000)] = 3
    #: After a signal, running trials have so many seconds to commit their epoch.
    grace_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60

    @field_validator("gpu", "cpu")
    @classmethod
    def _whole_above_one(cls, amount: float) -> float:
        if amount > 1 and amount != int(amount):
            raise ValueError("must be a whole number if it is above 1")
        return amount

    @field_validator("gpu")
    @classmethod
    def _not_too_small(cls, amount: float) -> float:
        if 0 < amount < SMALLEST_SHARE:
            raise ValueError(f"must be 0 or at least {SMALLEST_SHARE:g}")
        return amount

    def places(self, cpus: float, gpus: float) -> int:
        """How many trials fit so many CPUs and GPUs; a share of a GPU is on a single GPU."""
        held = [_times(cpus, self.cpu)]
        if self.gpu:
            shared = int(gpus) * _times(1, self.gpu)
            held.append(shared if self.gpu < 1 else _times(gpus, self.gpu))
        return min(held)


def _times(whole: float, part: float) -> int:
    """How often `part` fits into `whole`: 5 times for 0.2 and 1, although 1 // 0.2 is 4."""
    return int(whole / part + 1e-9)


class BudgetSpec(Model):
    """When to stop proposing configurations."""

    hours: Annotated[float, Field(gt=0, le=100_000)] | None = None


class ResolvedSpec(Model):
    """What a sweep's earlier runs decided.  Later runs keep it."""

    #: What `precision: auto` became.
    precision: Literal["fp32", "fp16", "bf16"] | None = None
    #: The configurations and seeds that confirm, fixed when the search was over.
    decision: ResolvedDecision | None = None


class SweepSpec(Model):
    """A whole sweep.  `load_spec` builds it from a file, and checks much more."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=100)]
    #: The format of the configs in this file (trainer.config.formats).  A kept sweep keeps its own.
    format: Annotated[int, Field(ge=FIRST_FORMAT, le=FORMAT)] = FORMAT
    question: Annotated[str, Field(max_length=2_000)] = ""
    base: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Dimension] = Field(default_factory=dict)
    search: SearchSpec = Field(default_factory=SearchSpec)
    enqueue: Annotated[list[dict[str, Any]], Field(max_length=5_000)] = Field(default_factory=list)
    published: PublishedSpec | None = None
    #: Without it nothing is confirmed.
    decide: DecideSpec | None = None
    scheduler: SchedulerSpec = Field(default_factory=SchedulerSpec)
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec)
    budget: BudgetSpec = Field(default_factory=BudgetSpec)
    tracking: TrackingSpec = Field(default_factory=TrackingSpec)
    resolved: ResolvedSpec = Field(default_factory=ResolvedSpec)

    @field_validator("space", mode="before")
    @classmethod
    def _derive_kinds(cls, space: Any) -> Any:
        if not isinstance(space, dict):
            return space
        return {key: with_kind(str(key), dimension) for key, dimension in space.items()}

    def acts(self, key: str, params: Mapping[str, Any]) -> bool:
        """Whether dimension `key` is searched, given the params of the dimensions before it.

        A condition on a dimension that is itself not searched does not hold.
        """
        for name, allowed in self.space[key].when.items():
            if name not in params and name in self.space:
                return False
            if (params[name] if name in params else self.base_value(name)) not in allowed:
                return False
        return True

    def base_value(self, key: str) -> Any:
        """The value of a dotted key in `base`, or the trainer's default."""
        for source in (translate(self.base, self.format), TrainConfig().to_dict()):
            value: Any = source
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                return value
        return None

    def config_for(self, params: Mapping[str, Any], seed: int) -> TrainConfig:
        """The config of `base` with `params` and `seed`; raises `trainer.config.ConfigError`."""
        plain = {**nest(self.base, params.items()), "seed": seed}
        return TrainConfig.from_dict(translate(plain, self.format))

    @property
    def device(self) -> str:
        """The `device` of the trials: that of `base`, or the CPU if `resources.gpu` is set to 0."""
        device = str(self.base_value("device"))
        without = "gpu" in self.resources.model_fields_set and not self.resources.gpu
        return "cpu" if device == "auto" and without else device

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which `load_spec` reads as the same spec."""
        plain = self.model_dump(exclude_none=True)
        if not plain["resolved"]:
            del plain["resolved"]
        if "gpu" not in self.resources.model_fields_set:  # 0 would mean the CPU
            del plain["resources"]["gpu"]
        for dimension in plain["space"].values():
            for key, empty in (("when", {}), ("log", False)):
                if dimension[key] == empty:
                    del dimension[key]
        return plain

    def to_yaml(self) -> str:
        """`to_dict` as a sweep file."""
        return dump(self.to_dict())


def searchable() -> list[str]:
    """Keys that a space can have: all keys of a trial's identity, except its seed."""
    keys: list[str] = []
    for key, f in fields_of().items():
        if key == "data":
            inner = fields_of(DataConfig).items()
            keys += [f"data.{name}" for name, g in inner if not g.metadata.get("runtime")]
        elif key != "seed" and not f.metadata.get("runtime"):
            keys.append(key)
    return keys


def nest(base: Mapping[str, Any], params: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A copy of `base` with dotted keys set; creates mappings, also in place of other values."""
    result = dict(base)
    for key, value in params:
        node = result
        *path, last = key.split(".")
        for part in path:
            inner = node.get(part)
            node[part] = dict(inner) if isinstance(inner, dict) else {}
            node = node[part]
        old = node.get(last)
        if key == "data" and isinstance(old, dict) and isinstance(value, dict):
            value = nest(old, value.items())
        node[last] = value
    return result
