"""`orch plan`: what fresh seeds can decide, from trials, a pilot, a given number or a guess."""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.cli.plan import lines
from orchestrator.decision.plan import power_plan, uncertainty
from orchestrator.decision.plan.next_steps import cost_lines, plan_lines
from orchestrator.decision.plan.pilot import pilot_of
from orchestrator.decision.plan.power_plan import (
    plan,
    question_in,
    round_up,
    smallest_at_all,
    with_margin,
)
from orchestrator.decision.rule.power import Variances
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.preflight.decision import keep_decision
from orchestrator.spec import SweepSpec
from orchestrator.spec.decide import DecideSpec
from tests.support.command import orch
from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.paths import ROOT
from tests.support.simulated import World
from trainer.config import TrainConfig
from trainer.data.sources import dev_sizes

STUDY = ROOT / "docs" / "study" / "study-cpu.tar.xz"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the kept study."""
    folder = tmp_path_factory.mktemp("study")
    with tarfile.open(STUDY) as pack:
        pack.extractall(folder, filter="data")
    return folder


def simulated(folder: Path, **changes: Any) -> SimulatedSweep:
    """A sweep whose search has run, with equal methods."""

    def skill(config: TrainConfig) -> float:
        return 0.7 + float(np.random.default_rng([config.seed, config.B]).normal(0, 0.01))

    world = World.of(np.random.default_rng(0), sst=150, qqp=150, sts=80)
    sweep = SimulatedSweep(folder, sweep_spec(**changes), world, skill)
    sweep.search()
    return sweep


def test_the_kept_study_could_not_decide_its_margin(study: Path) -> None:
    asked = orch("plan", "study-cpu", "--out", str(study), "--margin", "0.005")
    assert asked.returncode == 0, asked.stderr
    text = asked.stdout
    assert "measured in 75 trials" in text
    assert "A margin of 0.005 is out of reach" in " ".join(text.split())
    assert "orch evaluate study-cpu" in text and "evaluate_at_end: all" in text
    assert max(map(len, text.splitlines())) <= 80
    (row,) = [line for line in text.splitlines() if line.startswith(">")]
    assert row.split()[:4] == [">", "0.005", "out", "of"]
    page = (ROOT / "docs" / "guide" / "plan.md").read_text()
    assert text.strip() in page, "the guide shows another plan of the study"
    # Larger margins can be decided, with numbers for seeds, trials and time.
    assert any(line.split()[:1] == ["0.05"] and "%" in line for line in text.splitlines())


def test_the_plan_as_json_has_every_number(study: Path) -> None:
    asked = orch("plan", "study-cpu", "--out", str(study), "--margin", "0.03", "--json")
    plain = json.loads(asked.stdout)
    assert plain["out_of_reach"] is False
    assert plain["smallest_at_all"] < plain["smallest"] < 0.03
    assert [row["margin"] for row in plain["rows"]] == [0.005, 0.01, 0.02, 0.03, 0.05]
    row = next(row for row in plain["rows"] if row["margin"] == 0.03)
    assert row["reachable"] and row["if_equal"] > 0.8
    assert row["trials"] == [pytest.approx(2 * row["mean_pairs"]), 2 * row["most_pairs"]]
    # A trial of the two configurations takes 3.5 minutes on average, and two run at once.
    assert row["minutes"][1] / row["trials"][1] == pytest.approx(3.46, abs=0.05)
    assert row["hours"][1] == pytest.approx(row["minutes"][1] / 120)


def test_more_seeds_do_not_reduce_the_chance_of_the_dev_examples() -> None:
    def at_all(shared: float, ask: str, power: float = 0.8) -> float:
        return smallest_at_all(ask, Variances(0.01**2, shared**2, math.inf), power)

    # By simulation: how often an infinitely precise mean of seeds answers.
    draws = np.random.default_rng(0).normal(0, 0.004, 200_000)
    for power in (0.8, 0.95):
        margin = at_all(0.004, "minutes", power)
        assert (draws - 1.645 * 0.004 > -margin).mean() == pytest.approx(power, abs=0.005)
        margin = at_all(0.004, "score", power)
        assert (abs(draws) + 1.645 * 0.004 < margin).mean() == pytest.approx(power, abs=0.005)
    assert at_all(0.008, "score") == pytest.approx(2 * at_all(0.004, "score"))
    assert at_all(0.0, "score") == 0


def test_a_given_deviation_replaces_the_measured_one(tmp_path: Path) -> None:
    sweep = simulated(tmp_path)
    own = plan(sweep.spec, sweep.ledger, margins=())
    given = plan(sweep.spec, sweep.ledger, margins=(), deviation=0.5)
    assert own.pair_deviation is not None and own.pair_deviation < 0.1
    assert given.pair_deviation == pytest.approx(0.5)
    assert given.shared_deviation == own.shared_deviation
    assert given.source.startswith("given; ")
    assert given.smallest is None or given.smallest > 0.1


def test_trials_that_confirm_do_not_count_in_a_plan(tmp_path: Path) -> None:
    sweep = simulated(tmp_path)
    before = plan(sweep.spec, sweep.ledger, margins=())
    sweep.confirm()
    assert plan(sweep.spec, sweep.ledger, margins=()) == before


def test_the_budget_limits_the_looks(tmp_path: Path) -> None:
    sweep = simulated(tmp_path, decide={"looks": [3, 5, 8], "budget": {"share": 0.25}})
    # 12 equally long trials: a quarter is less than the first look, which always fits.
    assert plan(sweep.spec, sweep.ledger, margins=()).in_budget == [3]
    larger = sweep_spec(decide={"looks": [3, 5, 8], "budget": {"share": 0.9}})
    planned = plan(larger, sweep.ledger, margins=())
    assert planned.in_budget == [3, 5] and planned.looks == [3, 5, 8]
    assert planned.within is not None and planned.within.most_pairs == 5
    smallest = planned.smallest, planned.smallest_in_budget
    assert smallest[0] is not None and smallest[1] is not None and smallest[0] < smallest[1]
    first, chance = cost_lines(planned)
    assert first.startswith(
        "confirming: looks after 3, 5 pairs of fresh seeds, 6 to 10 trials, at most"
    )
    assert "if the methods are equal" in chance
    hours = {"budget": {"hours": 0.001}}
    tight = plan(sweep_spec(decide={"looks": [3, 5], **hours}), sweep.ledger, margins=())
    assert tight.in_budget == []
    assert "does not fit decide.budget" in cost_lines(tight)[0]
    assert any("nothing would be trained" in note for note in tight.notes)


def test_without_trials_the_dev_sets_give_an_estimate(tmp_path: Path) -> None:
    spec = sweep_spec()
    planned = plan(spec, Ledger(str(tmp_path), "s"), margins=())
    assert planned.guessed and planned.source == "estimated from the number of dev examples"
    assert planned.in_budget == [3, 5, 8]
    assert planned.rows[0].hours is None
    text = "\n".join(lines(planned, "s.yaml"))
    assert "orch plan s.yaml --pilot" in text
    # A quarter of the examples leaves twice the deviation.
    limit = {"sst": 100, "qqp": 150, "sts": 100}
    less = sweep_spec(base={**spec.base, "data": {"source": "synthetic", "dev_limit": limit}})
    fewer = plan(with_margin(less, 0.001), Ledger(str(tmp_path), "s"), margins=())
    assert fewer.shared_deviation == pytest.approx(2 * (planned.shared_deviation or 0))
    # Then whole dev sets would help, and the plan says how far.
    whole = smallest_at_all("minutes", Variances(0, (planned.shared_deviation or 0) ** 2, 0), 0.8)
    assert any(f"margins from about {round_up(whole):g}" in note for note in fewer.notes)


def test_the_estimate_is_of_the_size_that_the_study_measured(study: Path) -> None:
    ledger = Ledger(str(study), "study-cpu")
    trials = ledger.trials()
    spec = SweepSpec.model_validate({"name": "study-cpu"})
    own = uncertainty.measured(ledger, trials, question_in(spec))
    assert own is not None and dict(own.dev) == {"sst": 400, "qqp": 480, "sts": 400}
    rough = uncertainty.guessed(trials[0].train_config, own.dev, "dev_score")
    assert rough is not None
    for one, other in (
        (rough.variances.shared, own.variances.shared),
        (rough.variances.pairs, own.variances.pairs),
    ):
        assert 0.5 < math.sqrt(one / other) < 2


def test_unreadable_dev_sets_are_reported(tmp_path: Path) -> None:
    data = {"source": "cs224n", "root": str(tmp_path / "none")}
    spec = sweep_spec(base={"data": data, "encoder": "tiny", "epochs": 1})
    planned = plan(spec, Ledger(str(tmp_path), "s"))
    assert planned.rows == [] and not planned.out_of_reach
    assert planned.in_budget == [3, 5, 8]
    assert planned.notes == [
        "The dev sets cannot be read here, so the chance in them is not known."
    ]
    assert len(cost_lines(planned)) == 1
    assert "s: what fresh seeds can decide" in "\n".join(lines(planned, "s.yaml"))


def test_dev_sizes_ignore_the_limit_and_read_files(tmp_path: Path) -> None:
    config = TrainConfig.from_dict(
        {"data": {"source": "synthetic", "dev_limit": {"sst": 3}}, "encoder": "tiny"}
    )
    assert dev_sizes(config) == {"sst": 400, "qqp": 600, "sts": 400}
    (tmp_path / "mine.tsv").write_text("\tid\tsentence\tsentiment\n0\ta\tGood\t1\n1\tb\tBad\t0\n")
    mine = {
        "train": "mine.tsv", "dev": "mine.tsv", "columns": ["sentence"], "label": "sentiment",
        "loss": "cross_entropy", "metric": "accuracy",
    }  # fmt: skip
    config = TrainConfig.from_dict(
        {
            "data": {"source": "files", "root": str(tmp_path)}, "encoder": "tiny",
            "tasks": ["mine"], "task_declarations": {"mine": mine},
        }
    )  # fmt: skip
    assert dev_sizes(config) == {"mine": 2}


def test_a_pilot_has_one_configuration_of_each_method_and_three_seeds() -> None:
    spec = sweep_spec()
    pilot = pilot_of(spec, question_in(spec))
    assert pilot.name == "s-pilot" and pilot.decide is None
    assert [entry["sampler"] for entry in pilot.enqueue] == ["arrp", "annealed"]
    assert pilot.search.seeds == [1, 2, 3] and pilot.search.num_trials == 2
    space: dict[str, Any] = {
        "sampler": {"choices": ["annealed", "arrp"]},
        "lambda": {"low": 0.1, "high": 1.0, "when": {"sampler": "arrp"}},
        "freeze": {"choices": ["none", "encoder"], "when": {"sampler": "arrp"}},
    }
    compare = ["arrp+pcgrad+freeze-encoder", "annealed"]
    searched = sweep_spec(
        search={"num_trials": 3}, enqueue=[], space=space, decide={"compare": compare}
    )
    assert pilot_of(searched, question_in(searched)).enqueue == [
        {"sampler": "arrp", "lambda": 0.1, "freeze": "encoder"}, {"sampler": "annealed"},
    ]  # fmt: skip
    with pytest.raises(UserError, match="cycle: the sweep has no configuration for a pilot"):
        pilot_of(spec, question_in(spec).model_copy(update={"compare": ["cycle", "arrp"]}))


def test_a_pilot_that_has_run_is_used(tmp_path: Path) -> None:
    spec = sweep_spec()
    pilot = pilot_of(spec, question_in(spec))
    world = World.of(np.random.default_rng(0), sst=150, qqp=150, sts=80)

    def skill(config: TrainConfig) -> float:
        return 0.7 + float(np.random.default_rng([config.seed, config.B]).normal(0, 0.01))

    SimulatedSweep(tmp_path, pilot, world, skill).search()
    planned = plan(spec, Ledger(str(tmp_path), "s"), margins=())
    assert planned.source == "measured in 6 trials of s-pilot" and not planned.guessed
    assert planned.rows[0].hours is not None
    # 12 trials of the search, as long as the pilot's, and a generous share of them.
    assert planned.in_budget == [3, 5, 8]


def test_a_sweep_without_the_block_has_a_question_all_the_same() -> None:
    spec = sweep_spec(decide=None)
    assert question_in(spec).compare == ["arrp", "annealed"]
    other = sweep_spec(decide=None, enqueue=[{"sampler": "cycle"}, {"sampler": "round_robin"}])
    asked = question_in(other)
    assert (asked.compare, asked.ask) == (["cycle+pcgrad", "round_robin+pcgrad"], "score")


def test_an_open_question_ends_with_what_would_decide_it(tmp_path: Path) -> None:
    # Draws depend on the trials' ids. In these the dev examples show a chance that lies between
    # both margins.
    sweep = simulated(tmp_path, base={"encoder_dropout": 0.3})
    text = plan_lines(sweep.spec, question_in(sweep.spec), sweep.ledger, sweep.ledger.trials())
    assert text[0].startswith("To decide: up to 8 pairs of fresh seeds (16 trials, at most ")
    assert "an answer in" in text[1]
    without = sweep.spec.model_copy(update={"decide": None})
    assert plan_lines(without, DecideSpec(), sweep.ledger, sweep.ledger.trials())[-1].startswith(
        "Add a decide block"
    )
    assert plan_lines(None, DecideSpec(), sweep.ledger, sweep.ledger.trials()) == []
    strict = sweep_spec(decide={"margin": 0.0001})
    beyond = "A margin of 0.0001 is out of reach"
    assert plan_lines(strict, question_in(strict), sweep.ledger, sweep.ledger.trials())[
        0
    ].startswith(beyond)
    assert cost_lines(plan(strict, sweep.ledger, margins=()))[1].strip().startswith(beyond)


def test_a_dry_run_says_what_confirming_costs(tmp_path: Path) -> None:
    file = str(ROOT / "search_spaces" / "arrp.yaml")
    options = ("--profile", "embedded", "--dry-run", "--out", str(tmp_path))
    text = orch("sweep", file, *options).stdout
    assert "confirming: looks after 3, 5 pairs of fresh seeds, 6 to 10 trials" in text
    assert "Margin 0.03: an answer in" in text and "(estimated)" in text
    assert "confirming" not in orch("sweep", file, *options, "--set", "decide=null").stdout
    plain = json.loads(orch("sweep", file, *options, "--json").stdout)
    assert plain["confirming"]["in_budget"] == [3, 5]
    assert not list(tmp_path.iterdir()), "nothing was started"


def test_wrong_options_are_one_sentence(tmp_path: Path) -> None:
    for arguments, expected in (
        (("plan", "nothing"), "no sweep 'nothing'"),
        (("plan", "nothing", "--profile", "cpu"), "--profile and --set need a sweep file"),
        (("plan", str(ROOT / "search_spaces" / "arrp.yaml"), "--margin", "0"), "--margin 0: "),
    ):
        done = orch(*arguments, "--out", str(tmp_path))
        assert done.returncode == 2 and expected in done.stderr, done.stderr


def test_margins_are_rounded_up() -> None:
    assert [round_up(v) for v in (0.01361, 0.0136, 0.013, 0.1, 0.0)] == [
        0.014, 0.014, 0.013, 0.1, 0.0,
    ]  # fmt: skip
    assert power_plan.POWER == 0.8


def test_what_is_announced_is_what_was_fixed(tmp_path: Path) -> None:
    """The budget allows fewer looks than planned, and one challenger is answered by its minutes."""
    sweep = simulated(tmp_path)
    sweep.search()
    sweep.confirm(most=1)
    trials = sweep.ledger.trials()
    decided = keep_decision(sweep.spec, sweep.ledger, trials)
    decision = decided.resolved.decision
    assert decision is not None
    shorter = decision.model_copy(update={"looks": [3]})
    resolved = decided.resolved.model_copy(update={"decision": shorter})
    known = plan(decided.model_copy(update={"resolved": resolved}), sweep.ledger, margins=())
    assert known.in_budget == [3]
    assert cost_lines(known)[0].startswith("confirming: looks after 3 pairs of fresh seeds, 6 tri")


def test_a_pilot_trains_the_method_with_exactly_this_name(tmp_path: Path) -> None:
    """`arrp+pcgrad` begins `arrp+pcgrad+freeze-encoder`, and is another method."""
    frozen, plain = {"sampler": "arrp", "freeze": "encoder"}, {"sampler": "arrp"}
    names = ["arrp+pcgrad+freeze-encoder", "arrp+pcgrad"]
    spec = sweep_spec(enqueue=[frozen, plain], decide={"compare": names})
    assert pilot_of(spec, question_in(spec)).enqueue == [frozen, plain]
