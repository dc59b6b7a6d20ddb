"""`decide` in a sweep file: every mistake has its line, and only questions with an answer pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec import SweepSpec, load_spec
from orchestrator.spec.decide_checks import possible_methods
from trainer.config import ConfigError

SWEEP = """\
name: s
base: {data: {source: synthetic}, encoder: tiny, epochs: 2}
space:
  sampler: {choices: [round_robin, annealed, arrp]}
  B: {choices: [320, 640], when: {sampler: [annealed, arrp]}}
  freeze: {choices: [none, encoder], when: {sampler: arrp}}
search: {num_trials: 5, seeds: [1, 2]}
enqueue:
  - {sampler: round_robin, combiner: sum}
"""
DECIDE = "decide:\n  compare: [arrp, annealed]\n"
PROFILES = """\
profiles:
  without: {decide: null}
  short: {decide: {looks: [2, 4], budget: {hours: 1}}}
"""


def load(tmp_path: Path, text: str, *overrides: str, profile: str | None = None) -> SweepSpec:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    return load_spec(str(file), profile, overrides)


def problems(tmp_path: Path, decide: str, sweep: str = SWEEP, *overrides: str) -> list[str]:
    """What is wrong with a block; its first line is line 10 of the file."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{sweep}{decide}", *overrides)
    return [line.replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()]


def test_a_sweep_without_the_block_decides_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, SWEEP).decide is None
    assert "decide" not in load(tmp_path, SWEEP).to_dict()


def test_a_profile_changes_or_removes_the_block(tmp_path: Path) -> None:
    text = f"{SWEEP}{DECIDE}  margin: 0.02\n{PROFILES}"
    assert load(tmp_path, text, profile="without").decide is None
    assert load(tmp_path, text, "decide=null").decide is None
    short = load(tmp_path, text, profile="short").decide
    assert short is not None
    assert (short.looks, short.margin, short.budget.hours) == ([2, 4], 0.02, 1)
    assert short.budget.share == 0.25


def test_the_block_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = load(tmp_path, f"{SWEEP}{DECIDE}  choose: {{arrp: {{sampler: arrp, B: 320}}}}\n")
    (tmp_path / "again").mkdir()
    again = load(tmp_path / "again", spec.to_yaml())
    assert again == spec


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            "decide: {compare: [arrp, anealed]}\n",
            ["s.yaml:10: decide.compare[1]: no configuration of this sweep can be 'anealed' (did "
             "you mean 'annealed'?); allowed: round_robin, annealed, arrp, round_robin+sum, "
             "round_robin+pcgrad, annealed+pcgrad, arrp+pcgrad, arrp+pcgrad+freeze-encoder"],
        ),
        (
            "decide: {compare: [annealed+pcgrad+freeze-encoder, round_robin+sum]}\n",
            ["s.yaml:10: decide.compare[0]: no configuration of this sweep can be "
             "'annealed+pcgrad+freeze-encoder' (did you mean 'arrp+pcgrad+freeze-encoder'?); "
             "allowed: round_robin, annealed, arrp, round_robin+sum, round_robin+pcgrad, "
             "annealed+pcgrad, arrp+pcgrad, arrp+pcgrad+freeze-encoder"],
        ),
        (
            "decide: {compare: [arrp, arrp]}\n",
            ["s.yaml:10: decide.compare: a method appears twice"],
        ),
        (
            "decide:\n  metric: ssst\n",
            ["s.yaml:11: decide.metric: unknown metric 'ssst' (did you mean 'sst'?); allowed: "
             "dev_score, dev_mean, sst, qqp, sts"],
        ),
        (
            "decide:\n  metric: yelp\n",
            ["s.yaml:11: decide.metric: unknown metric 'yelp'; allowed: dev_score, dev_mean, sst, "
             "qqp, sts"],
        ),
        (
            "decide:\n  metrc: sst\n  budget: {shar: 1}\n",
            ["s.yaml:11: decide.metrc: unknown key (did you mean 'metric'?); allowed: ask, budget, "
             "choose, compare, looks, margin, metric, share_alpha",
             "s.yaml:12: decide.budget.shar: unknown key (did you mean 'share'?); allowed: hours, "
             "share"],
        ),
        ("decide:\n  looks: [5, 3]\n", ["s.yaml:11: decide.looks: must rise: 3, 5, 8"]),
        (
            "decide:\n  choose: fasttest\n",
            ["s.yaml:11: decide.choose: unknown value 'fasttest' (did you mean 'fastest'?); "
             "allowed: fastest, best"],
        ),
        (
            "decide:\n  choose:\n    arrp: 3\n",
            ["s.yaml:12: decide.choose.arrp: 3 is not a mapping of keys to values"],
        ),
        (
            "decide:\n  choose:\n    arp: {sampler: arrp}\n",
            ["s.yaml:12: decide.choose.arp: is not in decide.compare (did you mean 'arrp'?); "
             "allowed: arrp, annealed"],
        ),
        (
            "decide:\n  choose:\n    arrp: {sampler: arrp, B: -1, seed: 4}\n",
            ["s.yaml:12: decide.choose.arrp.seed: is not part of a configuration; has no effect",
             "s.yaml:12: decide.choose.arrp.B: -1 is outside its range; allowed: 1 <= value"],
        ),
        (
            "decide:\n  choose:\n    arrp: {B: 320}\n",
            ["s.yaml:12: decide.choose.arrp: is a configuration of round_robin+pcgrad, not of "
             "arrp; allowed: params with its sampler, combiner and freeze"],
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_at_its_line(tmp_path: Path, block: str, expected: list[str]) -> None:
    assert problems(tmp_path, block) == expected


def test_an_unknown_key_of_choose_is_named(tmp_path: Path) -> None:
    (only,) = problems(tmp_path, "decide:\n  choose:\n    arrp: {sampler: arrp, lamda: 0.5}\n")
    start = (
        "s.yaml:12: decide.choose.arrp.lamda: unknown key (did you mean 'lambda'?); allowed: B, "
    )
    assert only.startswith(start)


def test_a_list_has_the_methods_of_its_entries_alone(tmp_path: Path) -> None:
    text = SWEEP.replace("num_trials: 5", "algorithm: list")
    (one, other) = problems(tmp_path, DECIDE, text)
    assert one.endswith("can be 'arrp'; allowed: round_robin, round_robin+sum")
    assert "decide.compare[1]" in other


def test_conditions_and_the_base_limit_the_methods() -> None:
    space: dict[str, Any] = {
        "sampler": {"choices": ["annealed", "arrp"]},
        "combiner": {"choices": ["sum", "pcgrad"], "when": {"dropout": [0.1]}},
        "freeze": {"choices": ["encoder"], "when": {"combiner": "sum"}},
    }
    base = {"combiner": "mean"}
    spec = SweepSpec.model_validate({"name": "s", "base": base, "space": space})
    each = ["mean", "sum+freeze-encoder", "pcgrad"]
    assert possible_methods(spec) == [f"{s}+{c}" for s in ("annealed", "arrp") for c in each]
    # An entry fixes its own keys; the search adds the others.
    entry = {"sampler": "cycle", "combiner": "sum"}
    spec = SweepSpec.model_validate({"name": "s", "base": base, "space": space, "enqueue": [entry]})
    assert possible_methods(spec)[0] == "cycle+sum+freeze-encoder"


SEVERAL = (
    "decide compares trials with one number of epochs, and this sweep has several; allowed: epochs "
    "in base, the same epochs for every method in decide.choose, or no decide"
)


def test_a_search_over_epochs_has_no_single_answer(tmp_path: Path) -> None:
    searched = SWEEP.replace("space:\n", "space:\n  epochs: {choices: [1, 2]}\n")
    assert problems(tmp_path, DECIDE, searched) == [f"s.yaml:4: space.epochs: {SEVERAL}"]
    entries = SWEEP + "  - {sampler: arrp, epochs: 1}\n"
    assert problems(tmp_path, DECIDE, entries) == [f"s.yaml:11: decide: {SEVERAL}"]
    # Where the block says which configurations it compares, they may have equal epochs.
    chosen = "".join(f"    {s}: {{sampler: {s}, epochs: 2}}\n" for s in ("arrp", "annealed"))
    assert load(tmp_path, f"{searched}{DECIDE}  choose:\n{chosen}").decide is not None


def test_fresh_seeds_must_exist(tmp_path: Path) -> None:
    text = SWEEP.replace("[1, 2]", "[2147483640]")
    (only,) = problems(tmp_path, "decide: {looks: [3, 9]}\n", text)
    assert "decide.looks: no seeds are left above search.seeds for 9 pairs" in only
