"""What is proposed: by name, from seeds alone, in conditional spaces, evenly if that is asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.search import Outcome, Suggestion, Suggestions
from orchestrator.spec import dry_run, load_spec
from tests.support.searches import SMOOTH, SPACE, bowl, finish, make_spec, open_queue, told
from trainer.config import ConfigError

ALGORITHMS = ["tpe", "nsga2", "random"]


def answer(suggestions: Suggestions, suggestion: Suggestion, *values: float) -> None:
    suggestions.accept(suggestion)
    suggestions.end(suggestion, {suggestion.key: Outcome("complete", values, 1)})


def ask(suggestions: Suggestions, count: int, score: Any = lambda params: 0.5) -> list[Suggestion]:
    """Proposals that are answered one after the other."""
    found = []
    for _ in range(count):
        suggestion = suggestions.ask()
        assert suggestion is not None
        answer(suggestions, suggestion, score(suggestion.params))
        found.append(suggestion)
    return found


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_dimension_is_suggested_only_where_its_condition_holds(algorithm: str) -> None:
    suggestions = Suggestions(make_spec(search={"algorithm": algorithm, "num_trials": 30}))
    found = ask(suggestions, 30)
    for params in (suggestion.params for suggestion in found):
        assert ("B" in params) == (params["sampler"] != "round_robin")
        assert ("lambda" in params) == (params["sampler"] == "arrp")
    assert {str(s.params["batch_size"]) for s in found} == set(
        map(str, SPACE["batch_size"]["choices"])
    )


def test_enqueued_configs_come_first_with_keys_and_values_the_space_lacks(tmp_path: Path) -> None:
    enqueue = [{"sampler": "arrp", "B": 99, "dropout": 0.2}, {"sampler": "proportional"}]
    jobs = finish(open_queue(tmp_path, make_spec(enqueue=enqueue)))
    first, third = jobs[0].config, jobs[2].config
    assert (first.sampler, first.B, first.dropout) == ("arrp", 99, 0.2)
    assert 0.1 <= first.lambda_ <= 1.0
    assert third.sampler == "proportional"


def test_what_an_entry_says_is_kept_where_the_search_would_not_have_asked() -> None:
    entry = {"sampler": "annealed", "lambda": 0.3, "B": 64}
    space = SPACE | {"B": {"choices": [64, 128], "when": {"sampler": "arrp"}}}
    (suggestion,) = ask(Suggestions(make_spec(enqueue=[entry], space=space)), 1)
    assert suggestion.params.items() >= entry.items()


def test_a_list_tries_its_entries_and_nothing_else(tmp_path: Path) -> None:
    enqueue = [{"sampler": "arrp"}, {"sampler": "round_robin"}]
    search = {"algorithm": "list", "seeds": [1], "num_trials": 2}
    queue = open_queue(tmp_path, make_spec(enqueue=enqueue, search=search, space={}))
    assert queue.planned == 2
    assert [job.config.sampler for job in finish(queue)] == ["arrp", "round_robin"]


def test_a_random_proposal_hangs_on_its_key_alone() -> None:
    spec = make_spec(search={"num_trials": 6})
    whole = ask(Suggestions(spec), 6)
    other = Suggestions(spec)
    for suggestion in (whole[4], whole[1]):
        other.recall(suggestion.record)
    assert [s.params for s in ask(other, 4)] == [whole[n].params for n in (0, 2, 3, 5)]
    reseeded = ask(Suggestions(make_spec(search={"num_trials": 6, "seed": 1})), 6)
    assert [s.params for s in reseeded] != [s.params for s in whole]


def test_a_stepped_value_is_the_one_that_a_reader_would_write() -> None:
    spec = make_spec(space={"dropout": {"low": 0.1, "high": 0.5, "step": 0.1}})
    found = {s.params["dropout"] for s in ask(Suggestions(spec), 8)}
    assert found <= {0.1, 0.2, 0.3, 0.4, 0.5} and 0.3 in found


def test_tpe_comes_close_to_the_best() -> None:
    def distance(algorithm: str) -> float:
        spec = make_spec(space=SMOOTH, search={"num_trials": 40, "algorithm": algorithm})
        late = ask(Suggestions(spec), 40, lambda params: -abs(params["dropout"] - 0.3))[20:]
        return sum(abs(s.params["dropout"] - 0.3) for s in late) / len(late)

    assert distance("tpe") < distance("random") / 2


def test_gp_draws_all_dimensions_from_one_model() -> None:
    """Good where one is as large as the other is small: none of the two tells that by itself."""
    space = {key: {"low": 0.0, "high": 0.5} for key in ("dropout", "attention_dropout")}
    spec = make_spec(space=space, search={"algorithm": "gp", "num_trials": 22})

    def score(params: dict[str, Any]) -> float:
        return -abs(float(params["dropout"] + params["attention_dropout"] - 0.5))

    good = [score(s.params) > -0.05 for s in ask(Suggestions(spec), 22, score)]
    assert sum(good[12:]) >= 6 > 3 >= sum(good[:10])


@pytest.mark.parametrize("algorithm", ["gp", "tpe", "nsga2"])
def test_several_objectives_are_searched_together(algorithm: str) -> None:
    objectives = {"dev_score": "max", "minutes_per_epoch": "min"}
    search = {"algorithm": algorithm, "num_trials": 13, "objectives": objectives}
    suggestions = Suggestions(make_spec(space=SMOOTH, search=search))
    for _ in range(13):
        suggestion = suggestions.ask()
        assert suggestion is not None
        answer(suggestions, suggestion, suggestion.params["dropout"], 1.0)
    (series,) = suggestions.series
    assert [direction.name for direction in series.study.directions] == ["MAXIMIZE", "MINIMIZE"]


@pytest.mark.parametrize("algorithm", ["gp", "nsga2"])
def test_an_entry_from_outside_the_space_takes_no_dimension_out_of_the_search(
    algorithm: str,
) -> None:
    search = {"algorithm": algorithm, "num_trials": 14}
    enqueue = [{"dropout": 0.9}, {"dropout": 0.2, "learning_rate": 1e-2}]
    spec = make_spec(space=SMOOTH, search=search, enqueue=enqueue)
    found = ask(Suggestions(spec), 14, lambda params: -abs(params["dropout"] - 0.3))
    again = Suggestions(spec)
    for suggestion in found[:13]:
        recalled = again.recall(suggestion.record)
        again.end(recalled, {"t": Outcome("complete", (-abs(recalled.params["dropout"]),), 1)})
    assert again.ask() is not None
    assert abs(found[-1].params["dropout"] - 0.3) < 0.1


def test_nsga2_hands_its_genes_down_and_hidden_ones_too() -> None:
    """A value of a child is an earlier one's or a mutation, mostly an earlier one's."""
    spec = make_spec(search={"algorithm": "nsga2", "num_trials": 20})
    found = ask(Suggestions(spec), 20, lambda params: float(params["sampler"] == "arrp"))
    assert [s.notes["generation"] for s in found] == [k // 4 for k in range(20)]

    def genome(suggestion: Suggestion) -> dict[str, Any]:
        return suggestion.params | suggestion.notes.get("genes", {})

    values = [genome(s)["lambda"] for s in found]
    assert all(genome(s).keys() == SPACE.keys() for s in found)
    assert sum(value in values[:n] for n, value in enumerate(values)) > 8
    assert any("lambda" in s.notes.get("genes", {}) for s in found)
    last = [s.params["sampler"] for s in found if s.notes["generation"] == 4]
    assert last.count("arrp") >= 3, "selection does not act"


def test_a_restarted_nsga2_goes_on_with_its_population() -> None:
    spec = make_spec(search={"algorithm": "nsga2", "num_trials": 20})
    score = lambda params: float(params.get("lambda", 0.0))  # noqa: E731
    whole = ask(Suggestions(spec), 20, score)
    again = Suggestions(spec)
    for suggestion in whole[:10]:
        recalled = again.recall(suggestion.record)
        again.end(recalled, {"t": Outcome("complete", (score(recalled.params),), 1)})
    assert ask(again, 10, score) == whole[10:]
    forgetful = Suggestions(spec)
    for suggestion in whole[:10]:
        recalled = forgetful.recall(suggestion.record | {"notes": {}})
        forgetful.end(recalled, {"t": Outcome("complete", (score(recalled.params),), 1)})
    assert {s.notes["generation"] for s in ask(forgetful, 4, score)} == {0}


def test_a_condition_that_base_never_fulfils_hides_no_result_from_gp() -> None:
    space = SMOOTH | {"reduction": {"choices": ["sum", "mean"], "when": {"combiner": "sum"}}}
    suggestions = Suggestions(make_spec(space=space, search={"algorithm": "gp", "num_trials": 3}))
    assert all(s.params.keys() == SMOOTH.keys() for s in ask(suggestions, 3))
    (series,) = suggestions.series
    assert [trial.state.name for trial in series.study.trials] == ["COMPLETE"] * 3


def test_entries_for_which_there_is_no_room_are_left_out() -> None:
    entries: list[dict[str, Any]] = [{"sampler": "arrp", "B": b} for b in (1, 2, 3)]
    spec = make_spec(enqueue=[*entries, {"sampler": "annealed"}], search={"num_trials": 2})
    suggestions = Suggestions(spec)
    assert [s.key for s in ask(suggestions, 2)] == ["e0", "e1"]
    assert suggestions.ask() is None and suggestions.left == 0
    assert [entry["params"]["B"] for entry in dry_run.plan(spec)["enqueued"]] == [1, 2]
    shared = spec.model_copy(update={"search": spec.search.model_copy(update={"per": "sampler"})})
    assert [s.key for s in ask(Suggestions(shared), 4)] == ["e0", "e1", "e3", "round_robin/p0"]
    assert len(dry_run.plan(shared)["enqueued"]) == 3


def test_an_entry_with_all_its_values_is_part_of_the_first_generation() -> None:
    entry = {"dropout": 0.1, "learning_rate": 1e-4}
    spec = make_spec(space=SMOOTH, enqueue=[entry], search={"algorithm": "nsga2"})
    (suggestion,) = ask(Suggestions(spec), 1)
    assert suggestion.notes == {"generation": 0}


def test_a_search_that_is_sure_of_its_best_still_tries_the_others(tmp_path: Path) -> None:
    """TPE comes back to its favourites for ever; it must not count the space as exhausted."""
    space = {
        "dropout": {"choices": [k / 10 for k in range(6)]},
        "attention_dropout": {"choices": [k / 10 for k in range(6)]},
    }
    spec = make_spec(space=space, search={"algorithm": "tpe", "num_trials": 34, "seeds": [1]})
    queue = open_queue(tmp_path, spec)
    jobs = finish(queue, lambda config: 0.9 - config.dropout - config.attention_dropout)
    assert len(jobs) == 34
    assert told(queue)["FAIL"] > 0


def test_every_choice_has_the_same_budget_with_its_entries_and_they_take_turns(
    tmp_path: Path,
) -> None:
    enqueue = [{"sampler": "arrp", "B": 64, "lambda": 0.5}, {"sampler": "arrp", "B": 99}]
    space = SPACE | {"dropout": SMOOTH["dropout"]}
    search = {"algorithm": "tpe", "num_trials": 4, "seeds": [1], "per": "sampler"}
    spec = make_spec(space=space, search=search, enqueue=enqueue)
    queue = open_queue(tmp_path, spec)
    assert queue.planned == 12
    jobs = finish(queue)
    keys = [job.identity["suggestion"]["key"] for job in jobs]
    assert Counter(job.config.sampler for job in jobs) == dict.fromkeys(
        SPACE["sampler"]["choices"], 4
    )
    assert keys[:6] == [
        "e0", "e1", "round_robin/p0", "annealed/p0", "round_robin/p1", "annealed/p1",
    ]  # fmt: skip
    assert [key.partition("/")[0] for key in keys[6:]] == 2 * SPACE["sampler"]["choices"]
    studies = queue.suggestions.series
    assert [len(series.study.trials) for series in studies] == [4, 4, 4]
    assert all("sampler" not in t.params for series in studies for t in series.study.trials)


def test_a_choice_whose_space_is_exhausted_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    search = {"num_trials": 6, "seeds": [1], "per": "sampler"}
    queue = open_queue(tmp_path, make_spec(search=search), say=said.append)
    jobs = finish(queue)
    counts = Counter(job.config.sampler for job in jobs)
    assert counts == {"round_robin": 2, "annealed": 4, "arrp": 6}
    assert queue.planned == 12 and len(said) == 2
    assert "with sampler = round_robin the space has no more than 2 configurations" in said[0]


@pytest.mark.parametrize("algorithm", ["gp", "nsga2"])
def test_with_per_a_dimension_of_one_choice_is_searched_where_it_acts(
    tmp_path: Path, algorithm: str
) -> None:
    space = {key: SPACE[key] for key in ("sampler", "lambda")} | SMOOTH
    search = {"algorithm": algorithm, "num_trials": 12, "seeds": [1], "per": "sampler"}
    queue = open_queue(tmp_path, make_spec(space=space, search=search))
    finish(queue, bowl)
    wanted = {"round_robin": SMOOTH.keys(), "arrp": {"lambda", *SMOOTH}}
    for series in queue.suggestions.series:
        if series.name in wanted:
            assert all(t.params.keys() == wanted[series.name] for t in series.study.trials)


FILE = """\
name: s
base: {data: {source: synthetic}, encoder: tiny, epochs: 2}
space:
  sampler: {choices: [round_robin, annealed, arrp]}
  B: {choices: [320, 640], when: {sampler: [annealed, arrp]}}
  lambda: {low: 0.1, high: 1, when: {sampler: arrp}}
  freeze: {choices: [none, encoder], when: {B: 320}}
  dropout: {low: 0.1, high: 0.5, step: 0.1}
search: SEARCH
enqueue: [{sampler: arrp}]
tracking: {study: STUDY}
"""


def load(tmp_path: Path, search: str, study: str = "journal", *overrides: str) -> Any:
    file = tmp_path / "sweep.yaml"
    file.write_text(FILE.replace("SEARCH", search).replace("STUDY", study))
    return load_spec(str(file), None, overrides)


@pytest.mark.parametrize(
    ("search", "overrides", "message"),
    [
        ("{per: samplr}", [], "search.per: 'samplr' is not a dimension of the space (did you mean"),
        ("{per: dropout}", [], "search.per: dropout has no choices; allowed: sampler"),
        ("{per: B}", [], "search.per: B is not always searched; allowed: sampler"),
        ("{per: sampler, algorithm: list}", [], "search.per: a list search"),
        ("{per: sampler, algorithm: grid}", [], "search.per: a grid search"),
        ("{per: sampler}", ["enqueue=[{B: 320}]"], "enqueue[0]: has no sampler"),
        ("{per: sampler}", ["enqueue=[{sampler: cycle}]"], "enqueue[0].sampler: is not a choice"),
        ("{algorithm: gp}", [], "space.B.when.sampler: gp cannot model a dimension"),
        ("{algorithm: gp, per: sampler}", [], "space.freeze.when.B: gp cannot model"),
        ("{algorithm: nsga}", [], "unknown value 'nsga' (did you mean 'nsga2'?)"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    tmp_path: Path, search: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, search, "journal", *overrides)
    lines = str(caught.value).splitlines()
    assert len([line for line in lines if message in line]) == 1, lines


@pytest.mark.parametrize("study", ["journal", "none", "postgresql+psycopg://u@h/db", "sqlite:///x"])
def test_a_study_has_a_place(tmp_path: Path, study: str) -> None:
    assert load(tmp_path, "{num_trials: 3}", study).tracking.study == study
    with pytest.raises(ConfigError, match="tracking.study: .* allowed: journal, none, sqlite"):
        load(tmp_path, "{num_trials: 3}", "http://host")


def test_a_gp_is_allowed_where_only_the_choice_of_per_decides(tmp_path: Path) -> None:
    spec = load(tmp_path, "{algorithm: gp, per: sampler}", "journal", "space.freeze=null")
    text = "\n".join([*dry_run.head(spec), *dry_run.rest(spec)])
    assert "60 configurations (20 of each sampler) x 1 seed = 60 trials" in text
    assert "59 further configurations proposed by gp" in text
    assert "a separate search for each sampler (round_robin, annealed, arrp), in turn" in text
    assert "Optuna's study: a file in the sweep's folder" in text
    described = dry_run.plan(spec)
    assert (described["per"], described["configurations"]) == ("sampler", 60)
    assert (described["study"], described["proposed"]) == ("journal", 59)


def test_the_plan_says_what_an_algorithm_does_not_look_at(tmp_path: Path) -> None:
    text = "\n".join(
        dry_run.rest(load(tmp_path, "{algorithm: nsga2}", "none", "scheduler.name=asha"))
    )
    assert "generations of 4, the first one random" in text
    assert "nsga2 ignores the results of trials that asha stops" in text
    assert "Optuna's study: none" in text
