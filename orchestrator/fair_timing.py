"""Chooses configurations of a sweep and times them in turn, alone on the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch

from orchestrator.errors import UserError
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.current import searched
from orchestrator.ledger.evaluations import counted_record, on_equal_examples
from orchestrator.ledger.labels import method_of
from orchestrator.ledger.timed_rounds import TimedConfig, TimedRound
from orchestrator.ledger.timing_sessions import FOLDER, Session
from orchestrator.ledger.trial_id import config_id
from trainer.combiners import registry as combiners
from trainer.combiners.base import CombinerError
from trainer.config import ConfigError, TrainConfig
from trainer.config.choices import EMULATED
from trainer.data.corpus import DataError
from trainer.data.sources import fingerprint
from trainer.loop.build import check_methods
from trainer.loop.device import PrecisionError, choose_device, resolve_precision
from trainer.model.freezing import FreezeError
from trainer.model.pretrained import EncoderError
from trainer.samplers import SamplerError
from trainer.samplers import registry as samplers
from trainer.step_timing import Contestant, build, in_turn
from trainer.storage.provenance import describe_run


@dataclass(frozen=True)
class Choice:
    """A configuration as one of its trials ran: with its data, encoder, precision and threads."""

    config_id: str
    label: str
    trial_ids: list[str]
    config: TrainConfig
    without_surgery_of: list[str] = field(default_factory=list)


def choose(trials: Sequence[TrialRecord], top: int = 1) -> list[list[TrialRecord]]:
    """The trials of the `top` best complete configurations of each method, best method first.

    A method is a sampler, combiner and frozen set. Its best configuration is the one with the
    highest mean dev_score over seeds, among those with most seeds. Trials that confirm do not
    count: their seeds would favour the configuration that was chosen before.
    """
    methods: dict[str, dict[str, list[TrialRecord]]] = {}
    for trial in on_equal_examples(searched(trials)):
        if trial.status == "complete" and trial.records:
            configurations = methods.setdefault(method_of(trial.train_config), {})
            configurations.setdefault(_config_id(trial), []).append(trial)
    chosen = [sorted(groups.values(), key=_rank, reverse=True)[:top] for groups in methods.values()]
    return [group for groups in sorted(chosen, key=lambda g: -_score(g[0])) for group in groups]


def group_of(trial: TrialRecord, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """A trial and the other seeds of its configuration."""
    same = [each for each in trials if _config_id(each) == _config_id(trial)]
    return [trial, *(each for each in same if each.trial_id != trial.trial_id)]


def _config_id(trial: TrialRecord) -> str:
    recorded = trial.identity.get("config_id")
    return str(recorded or config_id(trial.train_config, str(trial.identity.get("fingerprint"))))


def _score(group: Sequence[TrialRecord]) -> float:
    return statistics.fmean(counted_record(trial)["dev_score"] for trial in group)


def _rank(group: Sequence[TrialRecord]) -> tuple[int, float]:
    return len(group), _score(group)


def ready(
    groups: Sequence[Sequence[TrialRecord]],
    data: Mapping[str, Any],
    *,
    threads: int | None = None,
    device: str | None = None,
    surgery: bool = False,
) -> list[Choice]:
    """The configurations of groups of trials, after all checks; without those that do not train.

    Args:
        data: where the data are today (`root`, `cache`); other keys are the trials'.
        threads: instead of the trials'.
        device: `cpu` or `cuda` instead of the trials'.
        surgery: add each configuration's twin with the plain sum, where that differs.
    """
    by_id = {
        _config_id(group[0]): group
        for group in groups
        if samplers.entry_of(group[0].train_config.sampler).trains  # the others take no time
    }
    if not by_id:
        raise UserError("none of the configurations takes a step, so there is nothing to time")
    try:
        choices = {key: _as_it_ran(group, data, threads, device) for key, group in by_id.items()}
        _check_alike(choices.values())
        if surgery:
            for key, group in by_id.items():
                _add_twin(choices, choices[key], group[0])
    except (ConfigError, DataError, EncoderError, CombinerError, FreezeError, OSError) as error:
        raise UserError(str(error)) from error
    return list(choices.values())


def _as_it_ran(
    group: Sequence[TrialRecord], data: Mapping[str, Any], threads: int | None, device: str | None
) -> Choice:
    """The configuration of a group with its first trial's device kind, threads and precision."""
    trial = group[0]
    kind = str(trial.identity.get("device", "")).partition(":")[0]
    recorded = {
        "data": {**trial.config["data"], **data},
        "device": device or (kind if kind in ("cpu", "cuda") else "auto"),
        "threads": threads or trial.identity.get("threads") or trial.config["threads"],
    }
    if trial.config["precision"] not in EMULATED:
        recorded["precision"] = trial.identity.get("precision") or trial.config["precision"]
    config = TrainConfig.from_dict({**trial.config, **recorded})
    if fingerprint(config) != trial.identity.get("fingerprint"):
        raise UserError(
            f"{trial.trial_id}: the data or the encoder have changed since it was trained; "
            "restore them, or choose other trials with --trials"
        )
    _check_precision(config, trial)
    check_methods(config)
    ids = sorted(each.trial_id for each in group)
    return Choice(_config_id(trial), method_of(config), ids, config)


def _check_precision(config: TrainConfig, trial: TrialRecord) -> None:
    """Emulated products would take other minutes than the trial's."""
    try:
        resolve_precision(config.precision, choose_device(config.device))
    except PrecisionError as error:
        raise UserError(
            f"{trial.trial_id}: was trained in {config.precision}; {error.problem}; time it on a "
            "host that multiplies it natively"
        ) from error


def _check_alike(choices: Iterable[Choice]) -> None:
    """Check that all have one kind of device and one number of threads."""
    for key, option in (("device", "--device cpu or cuda"), ("threads", "--threads N")):
        trials = {str(getattr(each.config, key)): each.trial_ids[0] for each in choices}
        if len(trials) > 1:
            values = ", ".join(f"{value} ({trial})" for value, trial in trials.items())
            raise UserError(
                f"{key}: the trials had different ones: {values}; their times do not compare; "
                f"choose with {option}"
            )


def _add_twin(choices: dict[str, Choice], choice: Choice, trial: TrialRecord) -> None:
    """Add the same configuration with the plain sum, unless it needs no surgery."""
    config = choice.config
    if not combiners.build(config).needs_gramian:
        return
    recorded = replace(trial.train_config, combiner="sum", record_conflicts=False)
    identity = config_id(recorded, trial.identity["fingerprint"])
    twin = replace(config, combiner="sum", record_conflicts=False)
    timed = choices.setdefault(identity, Choice(identity, method_of(twin), [], twin))
    timed.without_surgery_of.append(choice.config_id)


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: turns of every configuration.
        steps: of each phase per turn.
        patience_s: a contended round is repeated when the device is quiet, or after this time.
        seconds: if given, as many rounds as fit into this time, between `FEWEST` and `MOST`.
    """

    rounds: int = 10
    steps: int = 8
    patience_s: float = 0.0
    seconds: float | None = None


#: Bounds for the rounds of a session that is limited by its time.
FEWEST, MOST = 6, 40


def time_in_turn(
    ledger: Ledger,
    choices: Sequence[Choice],
    effort: Effort,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[str, Session]:
    """Time the configurations and write the session; return the file's path and the session.

    If something else used the device during a round, the round is repeated.  There are at most as
    many repetitions as rounds, or half as many if the session is limited by its time.  The file is
    written after the last round, so an interrupted session writes nothing.
    """
    started = datetime.now(UTC)
    seed = int(started.timestamp() * 1000)
    start = time.monotonic()
    timed: list[TimedRound] = []
    say(f"building and warming up {len(choices)} configurations")
    try:
        rounds, steps = effort.rounds, effort.steps
        contestants = build({each.config_id: each.config for each in choices}, rounds, steps)
        if effort.seconds is not None:
            rounds = _rounds_within(effort.seconds, contestants.values(), steps)
        repeats = rounds if effort.seconds is None else rounds // 2
        for each in in_turn(contestants, rounds, repeats, effort.patience_s, seed):
            timed.append(TimedRound.model_validate(asdict(each)))
            say(f"{time.monotonic() - start:6.0f} s  {_line(timed[-1], rounds)}")
    except (DataError, EncoderError, SamplerError) as error:
        raise UserError(str(error)) from error
    except torch.OutOfMemoryError as error:
        raise UserError(f"out of memory: {str(error).partition('. ')[0]}") from error
    session = Session(
        started_at=_stamp(started),
        finished_at=_stamp(datetime.now(UTC)),
        rounds_wanted=rounds,
        steps=steps,
        seed=seed,
        configs=[_described(each, contestants[each.config_id]) for each in choices],
        rounds=timed,
        **describe_run(next(iter(contestants.values())).device),
    )
    folder, name = ledger.folder.child(FOLDER), f"{session.started_at.replace(':', '-')}.json"
    folder.write(name, session.model_dump_json(indent=1).encode() + b"\n")
    return f"{folder.path}/{name}", session


def _rounds_within(seconds: float, contestants: Iterable[Contestant], steps: int) -> int:
    """How many rounds fit into a time, from the time that one round takes; spreads their steps."""
    contestants = list(contestants)
    begun = time.monotonic()
    for each in contestants:
        each.turn(0)
    rounds = int(seconds / max(time.monotonic() - begun, 1e-3))
    rounds = min(MOST, max(FEWEST, rounds))
    for each in contestants:
        each.spread(rounds, steps)
    return rounds


def _described(choice: Choice, contestant: Contestant) -> TimedConfig:
    return TimedConfig.model_validate(
        {
            **{key: value for key, value in vars(choice).items() if key != "config"},
            "precision": contestant.precision,
            "phases": [asdict(size) for size in contestant.sizes],
        }
    )


def _line(timed: TimedRound, rounds: int) -> str:
    load = "" if timed.foreign_load is None else f", foreign load {timed.foreign_load:.0%}"
    state = {None: "unknown whether alone", True: "something else was running", False: "alone"}[
        timed.contended
    ]
    return f"round {timed.number + 1} of {rounds}: {state}{load}"


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
