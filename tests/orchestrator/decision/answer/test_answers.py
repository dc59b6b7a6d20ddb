"""The answer of a sweep: from its own trials, from fresh seeds, and what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.compare.compare_sweep import compare_sweep, trials_of
from orchestrator.compare.options import ComparisonOptions
from orchestrator.decision.answer.answer import Answer
from orchestrator.decision.answer.answers import answer_of
from orchestrator.decision.answer.block import WIDTH, block, headline, table
from orchestrator.ledger import Ledger
from orchestrator.ledger.current import confirming, searched
from orchestrator.ledger.listing import find_trial
from tests.support.compared import write_pair
from tests.support.decided import SimulatedSweep, Skill, sweep_spec
from tests.support.ledgers import write_trial
from tests.support.simulated import World, write_predicted
from trainer.config import TrainConfig


def skills(**of_sampler: float) -> Skill:
    def skill(config: TrainConfig) -> float:
        luck = np.random.default_rng([config.seed, config.B]).normal(0, 0.003)
        return of_sampler[config.sampler] + float(luck)

    return skill


def simulated(folder: Path, skill: Skill, **changes: Any) -> SimulatedSweep:
    """A sweep whose search is over, with dev sets that are large enough to decide."""
    world = World.of(np.random.default_rng(0), 0.02, sst=400, qqp=400, sts=200)
    sweep = SimulatedSweep(folder, sweep_spec(**changes), world, skill)
    sweep.search()
    return sweep


def answer_for(folder: Path, **options: Any) -> Answer:
    ledger = Ledger(folder.parent, folder.name)
    return answer_of(ledger, compare_sweep(ledger, trials_of(ledger), ComparisonOptions(**options)))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSweep:
    """Confirmed: equal scores in 0.8 of the minutes."""
    sweep = simulated(tmp_path_factory.mktemp("kept"), skills(arrp=0.7, annealed=0.7))
    sweep.time(0.8)
    sweep.confirm()
    return sweep


def test_fresh_seeds_and_fair_minutes_decide(kept: SimulatedSweep) -> None:
    answer = kept.answer()
    (contest,) = answer.contests
    assert answer.verdict == "YES" and answer.source == "confirming"
    assert (contest.score_state, contest.minutes_state) == ("reached", "fewer")
    assert answer.how.startswith(f"Decided at look {contest.look} of {contest.looks}, after ")
    assert f"{contest.pairs} pairs of fresh seeds ({2 * contest.pairs} trials)" in answer.how
    assert not any(command.startswith(("orch time", "orch sweep")) for command in answer.next)
    own = [t for t in confirming(kept.ledger.trials()) if t.identity["method"] == "arrp"]
    scores = [t.records[-1]["dev_score"] for t in own][: contest.pairs]
    assert contest.one.score == pytest.approx(np.mean(scores))


def test_minutes_to_the_same_score_are_minutes_per_epoch_times_epochs(kept: SimulatedSweep) -> None:
    (contest,) = kept.answer().contests
    assert contest.minutes_ratio is not None and contest.to_same_score is not None
    for side in (contest.one, contest.other):  # one epoch is all there is
        assert side.minutes_to_score == pytest.approx(side.minutes)
    one, other = contest.one.minutes, contest.other.minutes
    assert one is not None and other is not None
    assert one / other == pytest.approx(contest.minutes_ratio.value, rel=1e-3)
    assert contest.to_same_score.value == pytest.approx(contest.minutes_ratio.value)


def test_no_option_of_compare_changes_the_answer(kept: SimulatedSweep, tmp_path: Path) -> None:
    unconfirmed = simulated(tmp_path, skills(arrp=0.7, annealed=0.6), decide=None)
    for sweep in (kept, unconfirmed):
        folder = sweep.out / "s"
        answer = answer_for(folder)
        for options in (
            {"baseline": "arrp"}, {"metric": "sst"}, {"margin": 0.3}, {"by": ("B",)},
            {"replicates": 100}, {"seed": 7}, {"methods": ("annealed",)},
        ):  # fmt: skip
            assert answer_for(folder, **options) == answer, options


def test_a_question_without_its_fresh_seeds_is_not_decided(tmp_path: Path) -> None:
    sweep = simulated(tmp_path / "sweeps", skills(arrp=0.8, annealed=0.5))
    sweep.time(0.8)
    answer = sweep.answer()
    assert answer.verdict == "NOT DECIDED" and answer.source == "search"
    (contest,) = answer.contests
    assert contest.difference is not None and contest.difference.low is not None
    assert contest.difference.low > 0.01  # the search alone would decide
    assert contest.sentence.startswith("The scores are not confirmed on fresh seeds yet")
    assert "the first look needs 3 pairs" in answer.how and "2 seeds" in answer.how
    assert answer.next[0] == "orch sweep sweeps/s/sweep.yaml"
    sweep.confirm(most=4)  # no look yet
    assert sweep.answer().verdict == "NOT DECIDED" and sweep.answer().next[0] == answer.next[0]
    sweep.confirm()
    assert sweep.answer().verdict == "YES"


def test_minutes_that_are_not_fewer_decide_without_fresh_seeds(tmp_path: Path) -> None:
    sweep = simulated(tmp_path / "sweeps", skills(arrp=0.7, annealed=0.7))
    sweep.time(1.3)
    answer = sweep.answer()
    assert answer.verdict == "NO" and "minutes alone" in answer.how
    assert answer.contests[0].sentence.startswith("An epoch takes 1.3")
    assert not any(command.startswith("orch sweep") for command in answer.next)


def test_a_busy_machine_is_said_once_with_the_command_for_later(tmp_path: Path) -> None:
    spec = {"compare": ["arrp", "proportional", "annealed"], "looks": [3], "budget": {"share": 99}}
    enqueue = [{"sampler": s, "B": 64} for s in ("annealed", "arrp", "proportional")]
    sweep = simulated(
        tmp_path, skills(arrp=0.7, annealed=0.7, proportional=0.7), decide=spec, enqueue=enqueue
    )
    for problem in ("not timed yet", "something else ran on the device in 8 of 8 rounds"):
        answer = sweep.answer()
        assert len([note for note in answer.notes if note == f"Minutes: {problem}."]) == 1
        (command,) = [each for each in answer.next if each.startswith("orch time s ")]
        named = [find_trial(sweep.ledger, each) for each in command.split()[4::2]]
        assert [trial.config["sampler"] for trial in named] == ["arrp", "annealed", "proportional"]
        rows = {row[0]: row[3] for row in table(answer, answer.contests[0])}
        assert rows["minutes/epoch"] == rows["to same score"] == "not measured alone"
        sweep.time(0.8, contended=True)


def test_minutes_of_both_come_from_the_same_measurement(tmp_path: Path) -> None:
    """A session that timed one of them does not stand beside the other one's own minutes."""
    sweep = simulated(tmp_path, skills(arrp=0.7, annealed=0.7))
    sweep.time(0.5, contended=True)
    (contest,) = sweep.answer().contests
    assert contest.one.minutes == contest.other.minutes == 1.0  # the trials' own


def test_a_diverged_seed_is_named_with_the_score_of_a_guess_in_its_place(tmp_path: Path) -> None:
    def skill(config: TrainConfig) -> float | None:
        return None if (config.sampler, config.seed) == ("arrp", 4) else 0.7

    sweep = simulated(tmp_path, skill)
    sweep.confirm()
    answer = sweep.answer()
    one, other = answer.contests[0].one, answer.contests[0].other
    assert (one.diverged, other.diverged) == (1, 0)
    assert one.score is not None and one.score_with_diverged is not None
    # A guess is right in about half of the cases, and does not correlate: 3 tasks at 0.5.
    expected = (one.seeds * one.score + 0.5) / (one.seeds + 1)
    assert one.score_with_diverged == pytest.approx(expected, abs=0.01)
    assert other.score_with_diverged is None
    (note,) = [each for each in answer.notes if "diverged" in each]
    assert note.startswith(f"ARRP: 1 of {one.seeds + 1} seeds diverged. ")
    assert note.endswith(f"it is {one.score_with_diverged:.3f}.")
    assert f"of which {one.seeds} count" in answer.how


def test_a_challenger_that_its_minutes_answered_keeps_its_own_verdict(tmp_path: Path) -> None:
    spec = {"compare": ["proportional", "arrp", "annealed"], "looks": [3], "budget": {"share": 99}}
    enqueue = [{"sampler": s, "B": 64} for s in ("annealed", "arrp", "proportional")]
    sweep = simulated(
        tmp_path, skills(arrp=0.7, annealed=0.7, proportional=0.7), decide=spec, enqueue=enqueue
    )
    sweep.time(4.0)  # proportional 4, arrp 2 of the minutes
    assert sweep.confirm() == 0
    answer = sweep.answer()
    assert [contest.verdict for contest in answer.contests] == ["NO", "NO"]
    assert [contest.one.method for contest in answer.contests] == ["proportional", "arrp"]


# -- sweeps without `decide` --------------------------------------------------------------------


def test_an_old_sweep_is_judged_by_its_own_trials(tmp_path: Path) -> None:
    write_pair(tmp_path / "s", (0.7, 0.9))
    answer = answer_for(tmp_path / "s")
    (contest,) = answer.contests
    assert (contest.one.title, contest.other.title) == ("ARRP", "annealed PCGrad")
    assert answer.ask == "minutes" and contest.score_state == "reached"
    assert answer.verdict == "NOT DECIDED"  # its minutes were not timed
    assert answer.how == (
        "Judged by the search's own trials: 5 seeds of each configuration. "
        "A difference up to 0.01 does not matter."
    )
    assert answer.next[0] == "orch time s"
    assert contest.difference is not None and contest.one.score is not None
    difference = contest.one.score - (contest.other.score or 0)
    assert contest.difference.value == pytest.approx(difference)


def test_one_seed_decides_nothing(tmp_path: Path) -> None:
    write_pair(tmp_path / "s", (0.5, 0.9), seeds=(1,))
    answer = answer_for(tmp_path / "s")
    (contest,) = answer.contests
    assert answer.verdict == "NOT DECIDED" and contest.score_state == "open"
    assert contest.difference is not None and contest.difference.low is None
    assert contest.sentence.startswith("One seed does not show how much seeds differ")


def write_others(folder: Path) -> None:
    rng = np.random.default_rng(0)
    world = World.of(rng, 0.02, sst=400, qqp=400, sts=200)
    for combiner, skill in (("pcgrad", 0.6), ("sum", 0.9)):
        for seed in (1, 2, 3):
            write_predicted(
                folder, world, world.predictions(rng, skill), sampler="round_robin",
                combiner=combiner, seed=seed,
            )  # fmt: skip


def test_another_sweep_asks_whether_its_best_method_beats_the_baseline(tmp_path: Path) -> None:
    write_others(tmp_path / "s")
    answer = answer_for(tmp_path / "s")
    (contest,) = answer.contests
    assert answer.ask == "score" and answer.verdict == "YES"
    assert (contest.one.title, contest.other.title) == ("round robin, sum", "round robin PCGrad")
    assert answer.question == (
        "Does round robin, sum have a higher dev score than round robin PCGrad?"
    )
    assert answer.best.startswith("round_robin sum, dev score 0.9")


def test_two_configurations_of_one_method_keep_their_names(tmp_path: Path) -> None:
    chosen = {"arrp+pcgrad": {"sampler": "arrp", "B": 64}, "arrp": {"sampler": "arrp", "B": 128}}
    enqueue = [*chosen.values(), {"sampler": "arrp", "B": 256}]
    sweep = simulated(
        tmp_path, skills(arrp=0.7), enqueue=enqueue,
        search={"algorithm": "list", "num_trials": 3, "seeds": [1, 2]},
        decide={"compare": [*chosen], "looks": [3], "choose": chosen},
    )  # fmt: skip
    (contest,) = sweep.answer().contests
    assert (contest.one.title, contest.other.title) == ("arrp+pcgrad", "arrp")
    assert (contest.one.configuration, contest.other.configuration) == ("B=64", "B=128")


Break = Callable[[Path], None]


def _without_predictions(folder: Path) -> None:
    for path in folder.glob("trials/arrp-*/predictions"):
        shutil.rmtree(path)


def _of_other_data(folder: Path) -> None:
    for path in folder.glob("trials/arrp-*/config.json"):
        path.write_text(path.read_text().replace('"fingerprint": "f"', '"fingerprint": "g"'))


@pytest.mark.parametrize(
    ("damage", "reason"), [(_without_predictions, "is missing"), (_of_other_data, "different data")]
)
def test_what_does_not_compare_is_not_decided(tmp_path: Path, damage: Break, reason: str) -> None:
    write_pair(tmp_path / "s", (0.5, 0.9), seeds=(1, 2))
    damage(tmp_path / "s")
    answer = answer_for(tmp_path / "s")
    assert headline(answer).startswith("NOT DECIDED. The methods cannot be compared: ")
    assert reason in answer.contests[0].sentence
    assert table(answer, answer.contests[0])[1][3] == "not comparable"


def test_a_method_without_a_complete_trial_is_named(tmp_path: Path) -> None:
    write_trial(tmp_path / "s", [0.5], sampler="arrp")
    write_trial(tmp_path / "s", [0.5], sampler="annealed", status=None)
    answer = answer_for(tmp_path / "s")
    assert answer.verdict == "NOT DECIDED" and "annealed+pcgrad: no" in headline(answer)
    assert answer.question.startswith("Does ARRP reach the dev score of annealed PCGrad")


def test_a_sweep_of_one_method_or_of_nothing_has_an_answer_too(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for _ in range(2):
        answer = answer_for(tmp_path / "s")
        assert answer.contests == [] and headline(answer).startswith("NOT DECIDED. ")
        assert max(map(len, block(answer).splitlines())) <= WIDTH
        write_trial(tmp_path / "s", [0.5], sampler="round_robin")
    assert "Best:  round_robin" in block(answer_for(tmp_path / "s"))


def test_a_lucky_seed_does_not_stand_for_its_method(tmp_path: Path) -> None:
    write_pair(tmp_path / "s", (0.7, 0.7), seeds=(1, 2))
    world = World.of(np.random.default_rng(0), 0.02, sst=600, qqp=1500, sts=400)
    predictions = world.predictions(np.random.default_rng(9), 0.99)
    write_predicted(tmp_path / "s", world, predictions, sampler="arrp", B=999, seed=1)
    assert answer_for(tmp_path / "s").contests[0].one.configuration != "B=999"


def test_what_both_configurations_share_is_not_repeated(tmp_path: Path) -> None:
    enqueue = [{"sampler": s, "B": 64, "dropout": 0.2} for s in ("annealed", "arrp")]
    sweep = simulated(tmp_path, skills(arrp=0.7, annealed=0.7), enqueue=enqueue)
    (contest,) = sweep.answer().contests
    assert (contest.one.configuration, contest.other.configuration) == ("λ=1", "")
    assert len(searched(sweep.ledger.trials())) == 4
