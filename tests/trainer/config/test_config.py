"""Configs: every mistake at once, identity made of what acts."""

from __future__ import annotations

import pytest

from trainer.config import ConfigError, TrainConfig, check, field_at


def problems(**mapping: object) -> dict[str, str]:
    config, found = check(mapping)
    assert config is None
    return {problem.key: str(problem) for problem in found}


def test_every_mistake_is_reported_at_once_with_what_is_allowed() -> None:
    found = problems(
        samplr="arrp", sampler="arp", B=1.5, data={"sauce": 1, "max_length": 4}, **{"lambda": 2}
    )
    assert set(found) == {"samplr", "sampler", "B", "data.sauce", "data.max_length", "lambda"}
    assert "did you mean 'sampler'?" in found["samplr"]
    assert "allowed: proportional, annealed, round_robin, arrp, cycle" in found["sampler"]
    assert found["lambda"].endswith("allowed: 0 < value <= 1")
    assert "not a whole number" in found["B"]
    assert "did you mean 'source'?" in found["data.sauce"]


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        ({"sampler": "single_task"}, "train_task"),
        ({"sampler": "single_task", "train_task": "cola"}, "train_task"),
        ({"sampler": "annealed", "B": {"qqp": 5}}, "B"),
        ({"sampler": "arrp", "B": {"cola": 5}}, "B.cola"),
        ({"sampler": "arrp", "B": 5, "lambda": {"qqp": 0.5}}, "lambda"),
        ({"task_order": ["sst"]}, "task_order"),
        ({"combiner": "pcgradd"}, "combiner"),
        ({"surgery_groups": {"cola": "main"}}, "surgery_groups.cola"),
        ({"tasks": ["yelp"]}, "tasks"),
        ({"shared_layer": 1}, "shared_layer"),
        ({"lambda": 0}, "lambda"),
        ({"epochs": True}, "epochs"),
        ({"epochs": "3"}, "epochs"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"dropout": -0.1}, "dropout"),
        ({"tasks": []}, "tasks"),
        ({"tasks": ["sst", "sst"]}, "tasks"),
        ({"tasks": ["sst", "cola"]}, "tasks"),
        ({"tasks": "sst"}, "tasks"),
        ({"batch_size": {"sst": 2}}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"data": {"limit": {"cola": 5}}}, "data.limit.cola"),
        ({"data": {"limit": {"sst": 0}}}, "data.limit.sst"),
        ({"data": 3}, "data"),
        ({"task_declarations": {"mine": {"columns": ["a"]}}}, "task_declarations.mine"),
        ({"task_declarations": {"sst": {"loss": "hinge"}}}, "task_declarations.sst.loss"),
        ({"task_declarations": {"sst": {"colour": 1}}}, "task_declarations.sst.colour"),
    ],
)
def test_a_wrong_value_is_named_by_its_key(mapping: dict[str, object], key: str) -> None:
    assert list(problems(**mapping)) == [key]


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    assert TrainConfig.from_dict({"learning_rate": "1e-5"}).learning_rate == 1e-5


def test_files_round_trip() -> None:
    config = TrainConfig.from_dict(
        {
            "lambda": 0.3,
            "batch_size": {"sst": 2, "qqp": 24, "sts": 2},
            "data": {"limit": {"qqp": 9}},
        }
    )
    assert config.to_dict()["lambda"] == 0.3
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({"sampler": "round_robin"}, {"lambda": 0.5}),
        ({"sampler": "round_robin"}, {"B": 5}),
        ({"sampler": "arrp"}, {"draws_per_step": 5}),
        ({"combiner": "sum"}, {"reduction": "mean"}),
        ({}, {"threads": 2, "device": "cpu", "eval_batch_size": 3}),
        ({}, {"data": {"root": "elsewhere", "cache": "/tmp/x", "seed": 3}}),
    ],
)
def test_what_does_not_act_is_not_part_of_the_identity(base: dict, change: dict) -> None:
    one, other = TrainConfig.from_dict(base), TrainConfig.from_dict(base | change)
    assert one != other and one.canonical() == other.canonical()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"head_learning_rate": 0.1},
        {"lambda": 0.5},
        {"B": 5},
        {"freeze": "encoder"},
        {"precision": "bf16"},
    ],
)
def test_what_acts_is_part_of_the_identity(change: dict) -> None:
    base = {"sampler": "arrp"}
    assert (
        TrainConfig.from_dict(base).canonical() != TrainConfig.from_dict(base | change).canonical()
    )


def test_emulated_bf16_is_the_same_trial_as_bf16() -> None:
    ids = [
        TrainConfig.from_dict({"precision": name}).canonical() for name in ("bf16", "bf16-emulated")
    ]
    assert ids[0] == ids[1] and ids[0]["precision"] == "bf16"
    assert TrainConfig.from_dict({"precision": "auto"}).canonical()["precision"] == "auto"


def test_inactive_keys_have_reasons() -> None:
    reasons = TrainConfig.from_dict({"sampler": "round_robin"}).inactive()
    assert reasons["lambda"] == "sampler round_robin does not use lambda"
    assert {"B", "draws_per_step", "data.seed", "data.size"} <= set(reasons)


def test_dotted_keys_find_their_field() -> None:
    for key in ("lambda", "data.size", "data.limit.qqp", "batch_size.sst"):
        assert field_at(key) is not None
    for key in ("epochs.x", "data.nothing", "data.size.x", "nothing"):
        assert field_at(key) is None


def test_mistakes_of_both_kinds_are_reported_together() -> None:
    found = problems(samplr=1, combiner="pcgradd", freeze="all", batch_size={"sst": 1})
    assert set(found) == {"samplr", "combiner", "freeze", "batch_size"}


@pytest.mark.parametrize(
    "entry",
    [
        {"columns": 3.5},
        {"columns": ["a", None]},
        {"label_range": 5},
        {"label_range": ["a", 1]},
        {"train": 3},
        {"scored": "yes"},
        {"classes": "5"},
    ],
)
def test_a_declaration_of_the_wrong_type_is_a_problem_not_an_exception(entry: dict) -> None:
    (key,) = problems(task_declarations={"sst": entry})
    assert key == f"task_declarations.sst.{next(iter(entry))}"


def test_all_mistakes_make_one_error() -> None:
    with pytest.raises(ConfigError) as error:
        TrainConfig.from_dict({"a": 1, "b": 2})
    assert len(error.value.problems) == 2


@pytest.mark.parametrize("base", [{}, {"sampler": "arrp"}, {"combiner": "sum"}])
def test_a_part_of_the_identity_is_what_the_whole_says(base: dict) -> None:
    config = TrainConfig.from_dict(base)
    only = {"B", "lambda", "data", "reduction", "seed", "threads"}
    whole = {key: value for key, value in config.canonical().items() if key in only}
    assert config.canonical(only) == whole
