"""The sweep file: what is resolved, and that every mistake is reported, once, at its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec import SweepSpec, load_spec
from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.models import ResourcesSpec
from tests.support.paths import ROOT
from trainer.config import ConfigError

STUDY = str(ROOT / "search_spaces" / "study.yaml")
ARRP = str(ROOT / "search_spaces" / "arrp.yaml")

GOOD = """\
name: good
base: {data: {source: synthetic}, encoder: tiny, epochs: 2, learning_rate: 1e-3}
space:
  sampler: {choices: [round_robin, annealed, arrp]}
  B: {choices: [320, 640], when: {sampler: [annealed, arrp]}}
  lambda: {low: 0.1, high: 1, when: {sampler: arrp}}
  reduction: {choices: [sum, mean], when: {combiner: pcgrad}}
search: {num_trials: 5, seeds: [1, 2]}
profiles:
  small:
    base: {data: {size: 32}}
    space: {B: {choices: [100]}, reduction: null}
    search: {seeds: [7]}
"""


def load(tmp_path: Path, text: str, *overrides: str, profile: str | None = None) -> SweepSpec:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    return load_spec(str(file), profile, overrides)


def problems(tmp_path: Path, text: str, *overrides: str, profile: str | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides, profile=profile)
    return [line.replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()]


def test_numbers_and_words_are_read_as_a_reader_expects(tmp_path: Path) -> None:
    spec = load(tmp_path, GOOD, "base.B=24_000", "question=no")
    assert spec.base["learning_rate"] == 0.001
    assert spec.base["B"] == 24000
    assert spec.question == "no"


def test_every_mistake_is_reported_at_its_line_with_what_is_allowed(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """\
name: Bad Name
base:
  data: {sorce: cs224n}
  epochs: 0
  seed: 1
space:
  sampler: {choices: [arpp]}
  lambda: {low: 0.1, high: 1.5}
  dropot: {low: 0, high: 1}
  device: {choices: [cpu]}
  dropout: {low: 0.5, high: 0.1}
search: {algorithm: tpee, seeds: [1, 1], objectives: {dev_scor: max}}
search: {num_trials: 3}
resources: {gpu: 1.5, cpus: 1}
tracking: {uri: somewhere}
""",
    )
    expected = {
        "sweep.yaml:1: name: 'Bad Name'": "small letters",
        "sweep.yaml:3: base.data.sorce: unknown key (did you mean 'source'?)": "root",
        "sweep.yaml:4: base.epochs: 0 is outside its range": "1 <= value",
        "sweep.yaml:5: base.seed:": "",
        "sweep.yaml:7: space.sampler.choices[0]: unknown value 'arpp' (did you mean 'arrp'?)": (
            "round_robin"
        ),
        "sweep.yaml:8: space.lambda.high: 1.5 is outside its range": "0 < value <= 1",
        "sweep.yaml:9: space.dropot: unknown key (did you mean 'dropout'?)": "sampler",
        "sweep.yaml:10: space.device:": "",
        "sweep.yaml:11: space.dropout: low 0.5 is above high 0.1": "",
        "sweep.yaml:12: search.algorithm: unknown value 'tpee' (did you mean 'tpe'?)": "random",
        "sweep.yaml:12: search.seeds: a seed appears twice": "",
        "sweep.yaml:12: search.objectives.dev_scor: unknown value 'dev_scor'": "dev_score",
        "sweep.yaml:13: search: appears twice (first in line 12)": "",
        "sweep.yaml:14: resources.gpu: must be a whole number if it is above 1": "",
        "sweep.yaml:14: resources.cpus: unknown key (did you mean 'cpu'?)": "max_concurrent",
        "sweep.yaml:15: tracking.uri:": "sqlite",
    }
    for start, allowed in expected.items():
        matching = [line for line in found if line.startswith(start)]
        assert len(matching) == 1, (start, found)
        assert allowed in matching[0].partition("; allowed: ")[2]
    # Of a key that appears twice the first is read on, so that its mistakes are found too.
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{algorithm: tpee}", "algorithm: unknown value 'tpee' (did you mean 'tpe'?)"),
        ("{seeds: [1, 1]}", "seeds: a seed appears twice"),
        ("{seeds: []}", "seeds: is empty"),
        ("{num_trials: many}", "num_trials: 'many' is not a whole number"),
        ("{objectives: {dev_scor: max}}", "objectives.dev_scor: unknown value 'dev_scor'"),
        ("{algorithm: list}", "algorithm: a list search runs the entries of enqueue"),
        ("{algorithm: grid}", "space.lambda: a grid needs choices or a step"),
    ],
)
def test_a_wrong_search_is_refused(tmp_path: Path, search: str, message: str) -> None:
    text = GOOD.replace("{num_trials: 5, seeds: [1, 2]}", search)
    assert any(message in line for line in problems(tmp_path, text))


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        (
            "{choices: [1], when: {samplr: arrp}}",
            "when.samplr: unknown key (did you mean 'sampler'",
        ),
        ("{choices: [1], when: {sampler: single}}", "when.sampler: sampler is never 'single'"),
        (
            "{choices: [1], when: {lambda: 0.5}}",
            "when.lambda: must come before what depends on it",
        ),
        ("{choices: [1], when: {combiner: [pcgrd]}}", "when.combiner[0]: unknown value 'pcgrd'"),
        ("{choices: [1], low: 3}", "choices and low exclude each other"),
        ("{low: 1}", "needs choices, or low and high"),
        ("{low: 1.5, high: 3}", "low must be a whole number"),
        ("{low: 1, high: 10, step: 4}", "step 4 does not lead from low to high"),
        ("{low: 0, high: 10}", "low: 0 is outside its range"),
        ("{choices: [1, 1]}", "a choice appears twice"),
        ("[1, 2]", "is not a mapping"),
    ],
)
def test_a_wrong_dimension_is_refused(tmp_path: Path, dimension: str, message: str) -> None:
    text = GOOD.replace("{choices: [320, 640], when: {sampler: [annealed, arrp]}}", dimension)
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith("sweep.yaml:5: space.B") and message in found[0]


def test_a_combination_that_no_trial_could_have_is_reported_before_the_start(
    tmp_path: Path,
) -> None:
    text = GOOD.replace(
        "sampler: {choices: [round",
        "tasks: {choices: [[sst], [sst, nope]]}\n  sampler: {choices: [round",
    )
    assert "space.tasks.choices[1]: unknown task 'nope'" in "\n".join(problems(tmp_path, text))
    found = problems(
        tmp_path, GOOD + "enqueue:\n- {sampler: arpp}\n- {B: 1, data: {limit: {x: 1}}}\n"
    )
    assert [line.split(": ")[:2] for line in found] == [
        ["sweep.yaml:15", "enqueue[0].sampler"],
        ["sweep.yaml:16", "enqueue[1].data.limit.x"],
    ]


def test_the_same_configuration_twice_is_refused(tmp_path: Path) -> None:
    entries = "enqueue: [{sampler: round_robin}, {sampler: round_robin, B: 5}]\n"
    assert "same configuration as enqueue[0]" in problems(tmp_path, GOOD + entries)[0]


def test_a_profile_merges_mappings_replaces_dimensions_and_removes_null(tmp_path: Path) -> None:
    spec = load(tmp_path, GOOD, profile="small")
    assert spec.name == "good-small"
    assert spec.base["data"] == {"source": "synthetic", "size": 32}
    assert spec.space["B"].choices == [100] and spec.space["B"].when == {}
    assert "reduction" not in spec.space
    assert (spec.search.num_trials, spec.search.seeds) == (5, [7])


def test_a_mistake_in_a_profile_is_shown_where_it_stands(tmp_path: Path) -> None:
    text = GOOD.replace("{choices: [100]}", "{choices: [0]}")
    found = problems(tmp_path, text, profile="small")
    assert found == [
        "sweep.yaml:12: space.B.choices[0]: 0 is outside its range; allowed: 1 <= value"
    ]
    load(tmp_path, text)  # a profile that is not chosen does not matter


def test_an_unknown_profile_names_the_known_ones(tmp_path: Path) -> None:
    [found] = problems(tmp_path, GOOD, profile="smal")
    assert "did you mean 'small'" in found and found.endswith("allowed: small")


def test_set_reaches_every_level_and_wins_over_the_profile(tmp_path: Path) -> None:
    spec = load(
        tmp_path,
        GOOD.replace("space:\n", "space:\n  data.limit.qqp: {choices: [5, 6]}\n"),
        "base.data.root=../x", "search.num_trials=4", "space.lambda.low=0.2", "base.data.size=64",
        "space.data.limit.qqp.choices=[7]", "budget.hours=1.5", "space.reduction=null",
        profile="small",
    )  # fmt: skip
    assert spec.base["data"] == {"source": "synthetic", "size": 64, "root": "../x"}
    assert (spec.search.num_trials, spec.budget.hours) == (4, 1.5)
    assert (spec.space["lambda"].low, spec.space["lambda"].high) == (0.2, 1)
    assert spec.space["data.limit.qqp"].choices == [7]
    assert "reduction" not in spec.space


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space.lambda.low=-1", "--set: space.lambda.low: -1.0 is outside its range"),
        ("base.epochs=many", "--set: base.epochs: 'many' is not a whole number"),
        ("serch.num_trials=3", "--set: serch: unknown key (did you mean 'search'?)"),
        ("epochs", "--set: epochs: not of the form key=value"),
        ("base.epochs=[", "--set: base.epochs: '[':"),
        ("base.epochs.x=1", "--set: base.epochs.x: base.epochs is not a mapping"),
    ],
)
def test_a_wrong_set_is_reported_like_the_file(tmp_path: Path, override: str, message: str) -> None:
    [found] = problems(tmp_path, GOOD, override)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "sweep.yaml:1:"),
        ("- 1\n", "sweep.yaml:1: not a mapping"),
        ("", "sweep.yaml:1: not a mapping"),
        ("a: &x [*x]\n", "an alias refers to what contains it"),
        ("a: !!python/object:os.system x\n", "the tag !!python/object:os.system is"),
    ],
)
def test_what_is_not_a_sweep_file_is_refused_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    [found] = problems(tmp_path, text)
    assert message in found


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^nowhere\.yaml: cannot be read: No such file"):
        load_spec("nowhere.yaml")


def test_a_dimension_acts_where_its_condition_holds(tmp_path: Path) -> None:
    spec = load(tmp_path, GOOD)
    assert not spec.acts("lambda", {"sampler": "round_robin"})
    assert spec.acts("lambda", {"sampler": "arrp"})
    assert spec.acts("reduction", {})
    no_surgery = load(tmp_path, GOOD, "base.combiner=sum")
    assert not no_surgery.acts("reduction", {})  # `when` on a key of base


def test_what_an_entry_sets_explicitly_is_kept_whatever_is_searched(tmp_path: Path) -> None:
    spec = load(tmp_path, GOOD)
    config = spec.config_for({"sampler": "round_robin", "freeze": "encoder", "lambda": 0.5}, 2)
    assert (config.freeze, config.lambda_, config.seed) == ("encoder", 0.5, 2)


def test_a_nested_entry_may_not_hide_a_searched_key(tmp_path: Path) -> None:
    space = "{batch_size.sst: {choices: [2, 4]}}"
    base = "base.batch_size={sst: 2, qqp: 8, sts: 8}"
    entry = "enqueue=[{batch_size: {sst: 8, qqp: 24, sts: 8}}]"
    with pytest.raises(ConfigError, match=r"sets the searched key batch_size.sst inside a mapping"):
        load(tmp_path, GOOD, f"space={space}", base, entry)


def test_a_choice_is_tried_with_what_it_enables(tmp_path: Path) -> None:
    space = (
        "space={sampler: {choices: [round_robin, single_task]}, "
        "train_task: {choices: [sst, qqp], when: {sampler: single_task}}}"
    )
    assert load(tmp_path, GOOD, space, "enqueue=[]").space["train_task"].choices == ["sst", "qqp"]


def test_a_grid_with_an_impossible_point_is_one_message(tmp_path: Path) -> None:
    space = (
        "space={tasks: {choices: [[sst, qqp, sts], [sst]]}, "
        "pair: {choices: [cross, {sts: siamese}]}}"
    )
    with pytest.raises(ConfigError, match="is not a valid config: pair.sts"):
        load(tmp_path, GOOD, space, "search={algorithm: grid}", "enqueue=[]")


def test_dotted_params_reach_nested_keys_and_leave_the_base_alone(tmp_path: Path) -> None:
    spec = load(tmp_path, GOOD)
    config = spec.config_for({"data.limit.qqp": 9, "data.size": 20}, seed=1)
    assert config.data.limit == {"qqp": 9} and config.data.size == 20
    assert spec.base["data"] == {"source": "synthetic"}


def test_a_grid_becomes_the_list_of_its_points_without_repetition(tmp_path: Path) -> None:
    text = GOOD.replace("{num_trials: 5, seeds: [1, 2]}", "{algorithm: grid}")
    text = text.replace("{low: 0.1, high: 1, when", "{low: 0.5, high: 1, step: 0.5, when")
    spec = load(tmp_path, text)
    # (round_robin + 2 annealed + 2 x 2 arrp) x 2 reductions
    assert spec.search.algorithm == "list" and spec.space == {}
    assert len(spec.enqueue) == spec.search.num_trials == (1 + 2 + 4) * 2
    assert load(tmp_path, text, "search.num_trials=3").search.num_trials == 3


def test_an_integer_key_gives_an_integer_dimension(tmp_path: Path) -> None:
    text = GOOD.replace("space:\n", "space:\n  epochs: {low: 1, high: 4}\n")
    space = load(tmp_path, text).space
    assert {key: space[key].kind for key in ("epochs", "lambda", "B")} == {
        "epochs": "int", "lambda": "float", "B": "categorical",
    }  # fmt: skip


@pytest.mark.parametrize("profile", [None, "embedded", "cpu"])
def test_the_resolved_spec_reads_back_as_itself(tmp_path: Path, profile: str | None) -> None:
    spec = load_spec(ARRP, profile)
    assert load(tmp_path, spec.to_yaml()) == spec


def test_the_embedded_profile_tries_every_sampler_in_at_least_12_trials() -> None:
    spec = load_spec(ARRP, "embedded")
    samplers: list[Any] = [entry["sampler"] for entry in spec.enqueue]
    assert set(samplers) == {"annealed", "arrp", "proportional", "round_robin"}
    frozen = {entry["freeze"] for entry in spec.enqueue if entry["sampler"] == "arrp"}
    assert frozen == {"none", "encoder"}
    assert spec.search.num_trials * len(spec.search.seeds) >= 12
    assert spec.search.num_trials > len(spec.enqueue)
    assert spec.resources.gpu == 0


def test_the_embedded_profile_has_the_proportions_of_the_paper() -> None:
    """P0's Table 4: 6040 examples in the smallest task, B = 56000 for annealed, 24000 for ARRP."""
    spec = load_spec(ARRP, "embedded")
    epoch = 3 * spec.base["data"]["size"]  # of round robin
    shares = {entry["sampler"]: entry["B"] / epoch for entry in spec.enqueue if "B" in entry}
    assert shares["annealed"] == pytest.approx(56000 / (3 * 6040), rel=0.01)
    assert shares["arrp"] == pytest.approx(24000 / (3 * 6040), rel=0.01)
    assert spec.decide is not None
    assert spec.decide.looks == [3, 5]
    assert spec.decide.compare == ["arrp", "annealed"]


def test_the_question_is_written_out_where_it_is_asked() -> None:
    for file, profile in ((ARRP, None), (ARRP, "cpu"), (STUDY, None), (STUDY, "cpu")):
        decide = load_spec(file, profile).decide
        assert decide is not None
        assert decide == DecideSpec(), "the written keys are those of the reference"
        written = {"compare", "ask", "metric", "margin", "looks", "budget"}
        assert decide.model_fields_set == written


@pytest.mark.parametrize(
    ("wanted", "machine", "places"),
    [
        ({"cpu": 2}, (7, 0), 3),
        ({"cpu": 0.1}, (1, 0), 10),
        ({"cpu": 1, "gpu": 0.2}, (16, 1), 5),
        ({"cpu": 1, "gpu": 0.1}, (16, 1), 10),
        ({"cpu": 1, "gpu": 0.4}, (16, 2), 4),  # a share lies on a single device
        ({"cpu": 1, "gpu": 2}, (16, 7), 3),
        ({"cpu": 8, "gpu": 0.1}, (16, 1), 2),
    ],
)
def test_as_many_trials_fit_as_whole_shares(
    wanted: dict[str, Any], machine: tuple[int, int], places: int
) -> None:
    assert ResourcesSpec(**wanted).places(*machine) == places


@pytest.mark.parametrize(
    ("resources", "device", "meant"),
    [
        ({"gpu": 0}, None, "cpu"),
        ({"gpu": 0}, "auto", "cpu"),
        ({"gpu": 0}, "cuda", "cuda"),  # asked for by name
        ({}, None, "auto"),
        ({"gpu": 1}, None, "auto"),
        ({"cpu": 2}, "cpu", "cpu"),
    ],
)
def test_no_gpu_means_the_cpu_whatever_the_machine_has(
    resources: dict[str, Any], device: str | None, meant: str
) -> None:
    base = {"data": {"source": "synthetic"}} | ({"device": device} if device else {})
    search = {"algorithm": "list", "seeds": [1]}
    spec = SweepSpec.model_validate(
        {"name": "s", "base": base, "search": search, "enqueue": [{}], "resources": resources}
    )
    assert spec.device == meant
    assert SweepSpec.model_validate(spec.to_dict()).device == meant
