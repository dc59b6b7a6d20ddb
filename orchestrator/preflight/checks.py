"""Checks before a sweep starts; each failure is one `SweepError` message."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from orchestrator.errors import SweepError
from orchestrator.ledger import RESOLVED, Ledger, TrialRecord
from orchestrator.ledger.current import confirming
from orchestrator.ledger.labels import flatten
from orchestrator.ledger.trial_id import config_id, trial_id
from orchestrator.spec import SweepSpec
from orchestrator.spec.yaml_lines import YamlError, read
from trainer.combiners.base import CombinerError
from trainer.config import ConfigError, TrainConfig
from trainer.config.choices import EMULATED
from trainer.config.formats import FIRST_FORMAT
from trainer.data import left_out
from trainer.data.corpus import DataError, prepare
from trainer.data.sources import fingerprint
from trainer.loop.build import check_methods
from trainer.metrics import CLOCK, EPOCH, clock_of
from trainer.model.freezing import FreezeError
from trainer.model.pretrained import EncoderError
from trainer.storage.folder import Folder, StoreError, is_uri
from trainer.storage.open import open_folder

#: May change from one run of a sweep to the next.
_FREE = ("question", "published", "resources", "budget", "tracking")
#: Written by the sweep itself (orchestrator.preflight.precision).
_RECORDED = ("resolved",)
#: Where and on what a sweep runs, not what it trains.
_WHERE = (
    "base.data.root", "base.data.cache", "base.device", "base.threads", "base.eval_batch_size",
    "base.predict_test", "base.evaluate_at_end", "base.keep",
)  # fmt: skip
#: May only grow: more configurations, more seeds, more entries at the end, more epochs.
_GROWING = ("search.num_trials", "search.seeds", "enqueue", "base.epochs")
#: May change until the first confirming trial, from which they are fixed, as `_GROWING` are.
_QUESTION = "decide"
#: The parts of a config that decide its fingerprint.
_DATA = ("data", "tasks", "task_declarations", "encoder", "start_from")

Identify = Callable[[TrainConfig], dict[str, Any]]


def check_out(out: str) -> Folder:
    """The folder of all sweeps; checks that it is writable."""
    probe = f".orch-{uuid.uuid4()}"
    try:
        folder = open_folder(out if is_uri(out) else Path(out).expanduser().resolve())
        folder.write(probe, b"")
        folder.delete(probe)
    except StoreError as error:
        raise SweepError(f"--out {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise SweepError(f"--out {out}: {reason}; choose a folder that you can write") from error
    return folder


def check_machine(spec: SweepSpec, address: str | None) -> None:
    """Check that this machine has room for a trial; a cluster is checked later."""
    if address is not None:
        return
    wanted, cpus = spec.resources.cpu, os.cpu_count() or 1
    if wanted > max(1, cpus):
        raise SweepError(
            f"resources.cpu: a trial needs {wanted:g} CPUs, but this machine has {cpus}; use "
            f"another machine or --set resources.cpu={cpus} (and --set base.threads={wanted:g} for "
            "trials that were begun with so many threads)"
        )
    if spec.resources.gpu > torch.cuda.device_count():
        raise SweepError(
            f"resources.gpu: a trial needs {spec.resources.gpu:g}, but this machine has "
            f"{torch.cuda.device_count()}; use another machine or --set resources.gpu=0"
        )


def identifier() -> Identify:
    """Config -> trial_id, config_id and fingerprint; it reads each data set once."""
    known: dict[str, str] = {}

    def identify(config: TrainConfig) -> dict[str, Any]:
        plain = config.to_dict()
        key = json.dumps([plain[part] for part in _DATA])
        if key not in known:
            known[key] = fingerprint(config)
        data = known[key]
        ids = {"trial_id": trial_id(config, data), "config_id": config_id(config, data)}
        return {**ids, "fingerprint": data}

    return identify


def prepare_data(spec: SweepSpec, identify: Identify) -> list[str]:
    """Find every encoder and read every corpus of the sweep, which also builds the caches.

    Returns the lines that say which rows are not used.
    """
    lines: dict[str, None] = {}
    try:
        configs = list(examples(spec))
        for config in configs:
            identify(config)  # reports missing files first
            check_methods(config)
        for config in with_other_data(configs):
            corpus = prepare(config)
            lines |= dict.fromkeys(left_out.lines(left_out.of_rows(corpus.about())))
        return list(lines)
    except (ConfigError, DataError, EncoderError, CombinerError, FreezeError) as error:
        raise SweepError(str(error)) from error
    except OSError as error:
        raise SweepError(f"the corpus cannot be prepared: {error}") from error


def with_other_data(configs: Iterable[TrainConfig]) -> list[TrainConfig]:
    """The first config of each corpus: one for all that read and tokenise the same."""
    first: dict[str, TrainConfig] = {}
    for config in configs:
        plain = config.to_dict()
        first.setdefault(json.dumps([plain[part] for part in (*_DATA, "pair")]), config)
    return list(first.values())


def check_same_data(
    ledger: Ledger, trials: Iterable[TrialRecord], spec: SweepSpec, identify: Identify
) -> None:
    """Check that the data of earlier trials have not changed, so that all trials compare.

    The data may have moved: this reads today's `data.root` and cache, not the recorded ones.
    """
    today = {key: spec.base_value(f"data.{key}") for key in ("root", "cache")}
    seen = set()
    for trial in trials:
        recorded = str(trial.identity.get("fingerprint")).partition("+")[0]
        key = json.dumps([recorded, *(trial.config.get(part) for part in _DATA)])
        if key in seen:
            continue
        seen.add(key)
        # What a trial started from may be gone: its id has the weights' sha256.
        config = {**trial.config, "data": {**trial.config["data"], **today}, "start_from": ""}
        try:
            present = identify(TrainConfig.from_dict(config))["fingerprint"]
        except DataError as error:
            raise SweepError(str(error)) from error
        if recorded != present:
            raise SweepError(
                f"{ledger.folder.path}: the data have changed since {trial.trial_id} was trained "
                f"(fingerprint {recorded[:12]}, now {present[:12]}); restore them, or give "
                "the sweep another name or another --out"
            )


def check_same_sweep(
    folder: str | os.PathLike[str] | Folder, spec: SweepSpec, trials: Iterable[TrialRecord] = ()
) -> None:
    """Write `sweep.yaml`; first check that an existing one is this sweep or a smaller version.

    Args:
        trials: the sweep's; those that confirm fix the question and the size of the search.
    """
    folder = open_folder(folder)
    path = f"{folder.path}: {RESOLVED}"
    content, resolved = folder.read(RESOLVED), spec.to_yaml().encode()
    if content == resolved:
        return
    before = resolved_before(folder, content)
    if before is not None:
        changes = list(_changes(before, spec.to_dict()))
        if changes:
            raise SweepError(
                f"{path}: another sweep has this name; these keys differ:\n"
                + "\n".join(f"  {change}" for change in changes)
                + "\nstart again with --fresh (the earlier sweep is kept under another name), or "
                "give this one another name (--set name=...); you may delete a damaged file; "
                f"{', '.join(_FREE)} may change, and {', '.join(_GROWING)} may grow"
            )
        _check_decision(path, before, spec, confirming(trials))
    folder.write(RESOLVED, resolved)


def resolved_before(folder: Folder, content: bytes | None) -> dict[str, Any] | None:
    """The sweep in the content of sweep.yaml, with the defaults of newer keys; None for None.

    Raises `SweepError` if it cannot be read.
    """
    if content is None:
        return None
    path = f"{folder.path}: {RESOLVED}"
    try:
        before = read(content.decode()).value
    except (YamlError, UnicodeDecodeError) as error:
        raise SweepError(f"{path}: cannot be read: {error}; restore or delete it") from error
    if not isinstance(before, dict):
        raise SweepError(f"{path}: is not a sweep; restore or delete it")
    return _with_defaults({"format": FIRST_FORMAT, **before})


def changes_of_decision(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs in the keys on which a decision depends."""
    return [
        f"{key}: {_short(was)} -> {_short(now)}"
        for key, was, now in _differences(before, after)
        if key.split(".")[0] == _QUESTION or key in _GROWING
    ]


def _check_decision(
    path: str, before: dict[str, Any], spec: SweepSpec, confirmed: list[TrialRecord]
) -> None:
    """Check that the question of a decision stays, and that its seeds stay fresh."""
    number = ((before.get("resolved") or {}).get("decision") or {}).get("number")
    own = [trial for trial in confirmed if trial.identity.get("decision") == number]
    if own and (changes := changes_of_decision(before, spec.to_dict())):
        raise SweepError(
            f"{path}: the sweep has {in_numbers(len(own), 'confirming trial')}, so its question "
            "and its search are fixed; these keys differ:\n"
            + "\n".join(f"  {change}" for change in changes)
            + "\nundo the changes, or add --reopen: it drops the decision and keeps the trials"
        )
    used = {int(trial.config["seed"]): trial.trial_id for trial in confirmed}
    new = set(spec.search.seeds) - set((before.get("search") or {}).get("seeds") or ())
    if taken := sorted(new & used.keys()):
        raise SweepError(
            f"search.seeds: {taken[0]} is the seed of a confirming trial ({used[taken[0]]}); "
            f"choose seeds above {max(used)}"
        )


def in_numbers(count: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def clocks_note(spec: SweepSpec, trials: Iterable[TrialRecord]) -> str:
    """One line if the search aims at minutes, and another version of the clock measured some of
    them; empty otherwise."""
    timed = [name for name in spec.search.objectives if EPOCH[name].is_speed]
    old = [t for t in trials if any(clock_of(record) != CLOCK for record in t.records)]
    if not timed or not old:
        return ""
    trials_were = "trial was" if len(old) == 1 else "trials were"
    return (
        f"objective {' and '.join(timed)}: {len(old)} {trials_were} measured with an earlier "
        "version of the clock, which charged the start of a process to its first epoch; the search "
        "mixes them with new ones"
    )


def examples(spec: SweepSpec) -> Iterator[TrainConfig]:
    """One config for each combination of data and encoder that the sweep can have."""
    seed = spec.search.seeds[0]
    if spec.search.algorithm != "list":
        yield spec.config_for({}, seed)
    for key in ("encoder", "data.source", "data.root", "tasks", "pair", "combiner", "freeze"):
        for choice in spec.space[key].choices or [] if key in spec.space else []:
            yield spec.config_for({key: choice}, seed)
    for entry in spec.enqueue:
        yield spec.config_for(entry, seed)


def _with_defaults(before: dict[str, Any]) -> dict[str, Any]:
    """A resolved sweep with the default values of newer keys."""
    try:
        return SweepSpec.model_validate(before).to_dict()
    except ValidationError:
        return before  # somebody edited it: the differences are reported


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key, was, now in _differences(before, after):
        free = key.split(".")[0] in (*_FREE, *_RECORDED, _QUESTION) or key in _WHERE
        same_trials = key == "base.precision" and _plain(was) == _plain(now)
        if free or same_trials or _grew(key, was, now):
            continue
        yield f"{key}: {_short(was)} -> {_short(now)}"


def _plain(precision: Any) -> Any:
    """The precision whose trials these are: `bf16` for `bf16-emulated`."""
    return EMULATED.get(str(precision), precision)


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted key, old and new value, where these differ; None where a key is absent."""
    old, new = (dict(flatten(each, keep_empty=True)) for each in (before, after))
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key), new.get(key)
        if was != now:
            yield key, was, now


def _grew(key: str, was: Any, now: Any) -> bool:
    try:
        if key == "base.epochs":
            was = TrainConfig().epochs if was is None else was
        if key in ("search.num_trials", "base.epochs"):
            return bool(now >= was)
        if key == "search.seeds":
            return set(was) <= set(now)
        return key == "enqueue" and list(now or [])[: len(was or [])] == list(was or [])
    except TypeError:  # somebody edited sweep.yaml
        return False


def _short(value: Any) -> str:
    if value is None:
        return "(absent)"
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
