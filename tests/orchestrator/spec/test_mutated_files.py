"""Mutants of real sweep files and configs: a value, or one clear error, in bounded time."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.ledger.labels import labels
from orchestrator.ledger.trial_id import trial_id
from orchestrator.spec import dry_run, load_spec
from orchestrator.spec.yaml_lines import read
from tests.support.limits import Beyond, limits
from tests.support.paths import ROOT
from tests.support.text_mutants import as_json, as_yaml, mutated_text, mutated_value
from trainer.__main__ import _read
from trainer.config import ConfigError, TrainConfig, config_in_file

#: The longest message, in characters and in lines.
_LONGEST, _LINES = 110_000, 51


@cache
def sweep_files() -> dict[str, Any]:
    """The sweep files of the project: text -> values."""
    texts = [path.read_text() for path in sorted((ROOT / "search_spaces").glob("*.yaml"))]
    return {text: read(text).value for text in texts}


@cache
def configs() -> list[dict[str, Any]]:
    """A config of each kind of trial in these files, and one with every key."""
    entries: list[dict[str, Any]] = [TrainConfig().to_dict()]
    for value in sweep_files().values():
        base = value.get("base") or {}
        entries += [base, *(base | entry for entry in value.get("enqueue") or ())]
    return entries


def attack_sweep_file(path: Path, rng: random.Random) -> str:
    text, value = rng.choice(list(sweep_files().items()))
    if rng.random() < 0.5:
        path.write_bytes(mutated_text(text, rng))
    else:
        path.write_bytes(as_yaml(mutated_value(value, rng)))
    profile = rng.choice((None, *(value.get("profiles") or ())))

    def resolve() -> None:
        spec = load_spec(str(path), profile)
        dry_run.size(spec)
        dry_run.plan(spec)

    return _problem(resolve)


def attack_config(path: Path, rng: random.Random) -> str:
    config = rng.choice(configs())
    if rng.random() < 0.3:
        path.write_bytes(mutated_text(json.dumps(config, indent=1), rng))
    else:
        path.write_bytes(as_json(mutated_value(config, rng)))

    def resolve() -> None:
        found = TrainConfig.from_dict(config_in_file(_read(str(path))))
        trial_id(found, "fingerprint")
        labels({"a": found, "b": TrainConfig()})
        assert TrainConfig.from_dict(json.loads(json.dumps(found.to_dict()))) == found

    return _problem(resolve)


def _problem(resolve: Callable[[], None]) -> str:
    """What is wrong with how an input was taken; empty if nothing."""
    try:
        with limits():
            resolve()
    except (ConfigError, UserError) as error:
        said = str(error)
        if not said or len(said) > _LONGEST or len(said.splitlines()) > _LINES:
            return f"{len(said)} characters in {len(said.splitlines())} lines: {said[:200]}"
    except (Exception, Beyond) as error:
        return f"{type(error).__name__}: {str(error)[:500]}"
    return ""


ATTACKS = {"sweep file": attack_sweep_file, "config": attack_config}


def problems(what: str, path: Path, first: int, count: int) -> list[str]:
    found = []
    for seed in range(first, first + count):
        if problem := ATTACKS[what](path, random.Random(seed)):
            kept = path.with_name(f"{what}-{seed}")
            path.rename(kept)
            found.append(f"{what}, seed {seed}, {kept}: {problem}")
    return found


@pytest.mark.parametrize("what", ATTACKS)
def test_a_mutant_is_a_value_or_one_clear_error(what: str, tmp_path: Path) -> None:
    found = problems(what, tmp_path / "mutant.yaml", 0, 40)
    assert not found, "\n".join(found)


@pytest.mark.exhaustive(reason="10,000 mutants take minutes")
@pytest.mark.parametrize("what", ATTACKS)
def test_ten_thousand_mutants_are_values_or_clear_errors(what: str, tmp_path: Path) -> None:
    found = problems(what, tmp_path / "mutant.yaml", 1_000, 10_000)
    assert not found, "\n".join(found)
