"""Methods of a sweep compared, from trial directories to the answer: claims and refusals."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.compare.output import formats, tables
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from orchestrator.ledger.timing_sessions import FOLDER, Session
from tests.support.command import orch
from tests.support.compared import RNG, compared, contrast, write_pair
from tests.support.ledgers import write_trial
from tests.support.simulated import World, predictions_file, write_predicted
from tests.support.small import small_config
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train


def test_two_points_are_better_and_equal_skill_is_comparable(tmp_path: Path) -> None:
    write_pair(tmp_path / "better", (0.80, 0.82))
    comparison = compared(tmp_path / "better")
    contrasted = contrast(comparison, "arrp+pcgrad")
    d = contrasted.differences["dev_score"]
    assert contrasted.outcome == "better" and d.low > 0.005
    assert (
        d.low < d.value < d.high
        and contrasted.p_different is not None
        and contrasted.p_different < 0.01
    )
    assert {"dev_score", "dev_mean", "sst", "qqp", "sts"} == set(contrasted.differences)
    write_pair(tmp_path / "equal", (0.80, 0.80))
    comparison = compared(tmp_path / "equal")
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert contrasted.outcome == "equivalent" and "comparable within 0.005" in contrasted.sentence
    worse = compared(tmp_path / "better", baseline="arrp")
    assert contrast(worse, "annealed+pcgrad").outcome == "worse"
    wide = compared(tmp_path / "better", margin=0.1)
    assert contrast(wide, "arrp+pcgrad").sentence == (
        "comparable within 0.1 (better, by less than that)"
    )


def test_noise_decides_nothing(tmp_path: Path) -> None:
    write_pair(tmp_path, (0.80, 0.805), seeds=(1, 2, 3), noise=0.4)
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert contrasted.outcome == "undecided" and contrasted.sentence == "not decided"
    assert (
        contrasted.interval is not None and contrasted.interval.low < 0 < contrasted.interval.high
    )
    assert contrasted.confidence == 0.95


def test_minutes_that_were_not_taken_in_turn_are_shown_and_claim_nothing(tmp_path: Path) -> None:
    write_pair(tmp_path, (0.80, 0.82))
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert contrasted.minutes_ratio is None and contrasted.dominates is None
    assert "orch time" in contrasted.speed_problem
    ratio = contrasted.trials_ratio
    assert ratio is not None and ratio.value == pytest.approx(1.003 / 3, rel=1e-4)
    assert ratio.low is not None and ratio.high is not None
    assert 0.333 < ratio.low < ratio.value < ratio.high < 0.336
    (row,) = tables.verdicts_table(comparison).rows
    assert row[5].grey and row[5].text.startswith("0.33") and row[5].text.endswith("*")
    assert any("Grey ratios" in note for note in comparison.notes)


def test_the_same_question_has_the_same_figures(tmp_path: Path) -> None:
    write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2))
    first = json.dumps(compared(tmp_path).to_dict())
    assert json.dumps(compared(tmp_path).to_dict()) == first
    assert json.dumps(compared(tmp_path, seed=1).to_dict()) != first


def test_contended_minutes_make_no_speed_up(tmp_path: Path) -> None:
    write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2), contended=True)
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert contrasted.minutes_ratio is None and contrasted.dominates is None
    assert "something else was running" in contrasted.speed_problem
    assert comparison.frontier == [] and "something else was running" in comparison.frontier_problem
    (cell,) = [
        row[-2] for row in tables.methods_table(comparison).rows if row[0].text[:4] == "arrp"
    ]
    assert cell.grey and cell.text.endswith("*")
    assert any(
        "* minutes not comparable (something else was running" in note for note in comparison.notes
    )


def test_a_timing_session_speaks_where_trials_were_contended(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_pair(folder, (0.80, 0.82), contended=True)
    ids = {t.config["sampler"]: t.identity["config_id"] for t in Ledger(tmp_path, "s").trials()}
    phase = {"name": "all", "updates": 60, "examples": 480}
    about = {"label": "", "trial_ids": [], "precision": "fp32", "phases": [phase]}
    rounds = [
        {
            "number": number, "contended": False, "foreign_load": 0.0,
            "turns": {
                ids[name]: [{"phase": "all", "steps": 1, "seconds": seconds + number / 100,
                             "parts": {"surgery": 0.1}}]
                for name, seconds in (("annealed", 4.0), ("arrp", 2.0))
            },
        }
        for number in range(6)
    ]  # fmt: skip
    session = Session.model_validate(
        {
            "started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:00Z",
            "device": "cpu", "threads": 1, "host": "", "git_commit": "", "versions": {},
            "rounds_wanted": 6, "steps": 1, "rounds": rounds,
            "configs": [{"config_id": name, **about} for name in ids.values()],
        }
    )  # fmt: skip
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "1.json").write_text(session.model_dump_json())
    found = compared(folder)
    contrasted = contrast(found, "arrp+pcgrad")
    assert contrasted.minutes_ratio is not None and contrasted.trials_ratio is None
    assert contrasted.minutes_ratio.value == pytest.approx(2.025 / 4.025, rel=1e-3)
    # One epoch each: to the same score it is as much faster as an epoch is.
    assert contrasted.epochs_to_same_score == (1.0, 1.0) and contrasted.same_score_ratio is not None
    assert contrasted.same_score_ratio.value == contrasted.minutes_ratio.value
    assert contrasted.dominates == pytest.approx(1.0, abs=0.01) and contrasted.dominated == 0.0
    assert not any("Grey ratios" in note for note in found.notes)
    assert found.frontier_problem == ""
    assert [point.method for point in found.frontier] == ["arrp+pcgrad", "annealed+pcgrad"]
    assert found.frontier[0].minutes == pytest.approx(2.025)
    assert found.frontier[0].probability == 1.0 and not found.frontier[1].on_frontier


def test_one_seed_claims_nothing_over_seeds(tmp_path: Path) -> None:
    write_pair(tmp_path, (0.80, 0.90), seeds=(1,))
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert contrasted.outcome == "" and contrasted.p_different is None
    assert "one seed" in contrasted.sentence
    assert contrasted.differences["dev_score"].low > 0  # that of the dev examples is there
    note = "One seed: the interval covers only the uncertainty from the dev examples."
    assert note in comparison.notes


def test_all_seeds_count_and_those_without_a_partner_are_named(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2))
    write_predicted(tmp_path, world, world.predictions(RNG(9), 0.8), sampler="annealed", seed=7)
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert (contrasted.seeds, contrasted.unpaired_seeds, contrasted.dropped_seeds) == (
        [1, 2],
        [7],
        [],
    )
    (row,) = tables.verdicts_table(comparison).rows
    assert row[1].text == "2 + 1 unpaired"
    note = "arrp+pcgrad: seeds that only one method has count without a partner: 7."
    assert note in comparison.notes
    write_predicted(tmp_path, world, world.predictions(RNG(9), 0.8), sampler="cycle", seed=9)
    apart = contrast(compared(tmp_path), "cycle+pcgrad")
    assert apart.problem == "" and apart.seeds == [] and apart.unpaired_seeds == [1, 2, 7, 9]
    assert "one seed" in apart.sentence and apart.differences["dev_score"].low < 0.1


def test_one_pair_and_three_more_seeds_of_each_decide(tmp_path: Path) -> None:
    rng = RNG(0)
    world = World.of(rng, 0.02, sst=600, qqp=1500, sts=400)
    for sampler, skill, seeds in (("annealed", 0.80, (1, 2, 3, 4)), ("arrp", 0.85, (4, 5, 6, 7))):
        for seed in seeds:
            write_predicted(
                tmp_path, world, world.predictions(rng, skill), sampler=sampler, seed=seed
            )
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert (contrasted.seeds, contrasted.unpaired_seeds) == ([4], [1, 2, 3, 5, 6, 7])
    assert contrasted.outcome == "better"
    assert tables.verdicts_table(comparison).rows[0][1].text == "1 + 6 unpaired"


def test_a_diverged_seed_is_named_and_its_guess_shown(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2))
    made = world.predictions(RNG(9), 0.5)
    options = {"sampler": "arrp", "minutes": 1.0, "seed": 3}
    name = write_predicted(tmp_path, world, made, status="failed", **options)
    end = tmp_path / "trials" / name / "end.json"
    end.write_text(json.dumps(json.loads(end.read_text()) | {"reason": "diverged"}))
    comparison = compared(tmp_path)
    (arrp,) = [s for s in comparison.standings if s.method == "arrp+pcgrad"]
    assert (arrp.diverged, arrp.seeds) == (1, [1, 2])
    guesses = [np.unique(world.labels[t], return_counts=True)[1].max() for t in ("sst", "qqp")]
    guess = (guesses[0] / 600 + guesses[1] / 1500 + 0.5) / 3  # r = 0 counts as 0.5
    expected = (2 * arrp.scores["dev_score"].value + guess) / 3
    assert arrp.score_with_diverged == pytest.approx(expected)
    (note,) = [note for note in comparison.notes if "diverged" in note]
    assert note.startswith("arrp+pcgrad: 1 of 3 diverged with arrp")
    assert "given that training converges" in note and f"is {expected:.4f} instead of" in note
    (row,) = [r for r in tables.methods_table(comparison).rows if r[0].text == "arrp+pcgrad"]
    assert row[2].text == "2 (1 of 3 diverged)"


def test_an_interval_stays_within_the_range_of_its_metric(tmp_path: Path) -> None:
    """Two seeds that differ: Student's t reaches 13 standard errors to each side."""
    world = World.of(RNG(0), 0.02, sst=600, qqp=1500, sts=400)
    for sampler, skills in (("annealed", (0.7, 0.9)), ("arrp", (0.9, 0.6))):
        for seed, skill in enumerate(skills, 1):
            made = world.predictions(RNG(seed), skill)
            write_predicted(tmp_path, world, made, sampler=sampler, seed=seed)
    comparison = compared(tmp_path)
    for standing in comparison.standings:
        for name, lowest in {"dev_score": 0, "sst": 0, "sts": -1}.items():
            assert lowest <= standing.scores[name].low <= standing.scores[name].high <= 1
    made = contrast(comparison, "arrp+pcgrad").differences
    assert (made["sst"].low, made["sst"].high) == (-1, 1)
    assert comparison.standings[0].scores["sst"].high == 1


def test_equal_predictions_are_not_certain_to_be_equal(tmp_path: Path) -> None:
    """Two methods with the same predictions: the interval was [0, 0]."""
    world = World.of(RNG(0), 0.02, sst=600, qqp=1500, sts=400)
    made = {seed: world.predictions(RNG(seed), 1.5) for seed in (1, 2)}  # all are right
    for sampler in ("annealed", "arrp"):
        for seed, predictions in made.items():
            write_predicted(tmp_path, world, predictions, sampler=sampler, seed=seed)
    comparison = compared(tmp_path)
    d = contrast(comparison, "arrp+pcgrad").differences["sst"]
    assert (d.value, d.low, d.high) == pytest.approx((0, -3.7 / 600, 3.7 / 600), rel=0.01)
    score = comparison.standings[0].scores["sst"]
    assert (score.value, score.high) == (1.0, 1.0)
    assert score.low == pytest.approx(1 - 3.7 / 600, abs=1e-4)


def test_two_more_seeds_of_the_winner_leave_all_in_the_choice(tmp_path: Path) -> None:
    """Five equal configurations: the best-looking one of three seeds gets two more."""
    rng = RNG(4)
    world = World.of(rng, sst=200, qqp=200, sts=100)

    def write(number: int, seed: int) -> None:
        made = world.predictions(rng, 0.7 + rng.normal(0, 0.03))
        write_predicted(tmp_path, world, made, sampler="arrp", B=number, seed=seed)

    for number in range(1, 6):
        for seed in (1, 2, 3):
            write(number, seed)
    (before,) = compared(tmp_path).standings
    trials = Ledger(tmp_path.parent, tmp_path.name).trials()
    winner = next(t for t in trials if t.identity["config_id"] == before.best_config_id)
    for seed in (4, 5):
        write(winner.config["B"], seed)
    (after,) = compared(tmp_path).standings
    assert after.read == 5 and len(after.chosen) > 1
    assert before.naive is not None and after.naive == before.naive
    assert after.scores["dev_score"].value < before.naive - 0.004


def test_a_pruned_trial_is_no_rival(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2))
    for seed in (1, 2):
        made = world.predictions(RNG(9), 0.99)
        write_predicted(tmp_path, world, made, sampler="arrp", B=7, seed=seed, status="pruned")
    (arrp,) = [s for s in compared(tmp_path).standings if s.method == "arrp+pcgrad"]
    assert arrp.configurations == 1 and arrp.trials == {"complete": 2, "pruned": 2}
    assert arrp.scores["dev_score"].value < 0.92


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoder": "mini"}, "different encoder (mini | tiny)"),
        ({"epochs": 2}, "different epochs (1 | 2)"),
        ({"fingerprint": "other"}, "different data"),
    ],
)
def test_scores_of_other_conditions_are_not_compared(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2), **change)
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert (
        contrasted.problem.startswith(reason)
        and contrasted.differences == {}
        and contrasted.minutes_ratio is None
    )
    (arrp,) = [s for s in comparison.standings if s.method == "arrp+pcgrad"]
    assert arrp.scores == {} and arrp.naive is None
    assert (
        formats.comma_separated(comparison)
        and formats.markdown("", comparison)
        and formats.latex("", comparison)
    )


def test_predictions_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2))
    trials = {t.config["sampler"]: t for t in Ledger(tmp_path.parent, tmp_path.name).trials()}
    broken = trials["arrp"]
    file = Path(broken.path) / "predictions" / "001.parquet"
    whole = file.read_bytes()
    texts = io.BytesIO()
    table = {"task": ["sst"], "id": ["1"], "label": [1.0], "prediction": ["no number"]}
    pq.write_table(pa.table(table), texts)
    other = World(world.hard, {**world.labels, "sst": 1 - world.labels["sst"]}, 0.1)
    for content, reason in (
        (b"PAR1", "cannot be read"),
        (predictions_file(world, {"sst": world.labels["sst"]}), "no predictions of qqp, sts"),
        (texts.getvalue(), "cannot be read: column prediction: holds string"),
        (predictions_file(other, world.predictions(RNG(0), 0.8)), "other dev examples of sst"),
        (predictions_file(world, world.predictions(RNG(8), 0.8)), "its record says"),
    ):
        file.write_bytes(content)
        problem = contrast(compared(tmp_path), "arrp+pcgrad").problem
        assert reason in problem and broken.trial_id in problem
    file.unlink()
    assert "001.parquet is missing" in contrast(compared(tmp_path), "arrp+pcgrad").problem
    file.write_bytes(whole)
    assert contrast(compared(tmp_path), "arrp+pcgrad").problem == ""


def test_a_method_of_several_encoders_compares_with_nothing(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.82), seeds=(1, 2))
    made = world.predictions(RNG(0), 0.8)
    for seed in (1, 2):
        write_predicted(tmp_path, world, made, sampler="annealed", seed=seed, encoder="mini")
    comparison = compared(tmp_path)
    assert "--by encoder separates them" in contrast(comparison, "arrp+pcgrad").problem
    apart = compared(tmp_path, by=("sampler", "encoder"), baseline="sampler=annealed encoder=tiny")
    assert contrast(apart, "sampler=annealed encoder=mini").outcome != ""


def test_without_predictions_no_score_is_honest(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_trial(tmp_path, [0.7, 0.72], sampler="annealed", seed=seed)
        write_trial(tmp_path, [0.7, 0.73], sampler="arrp", seed=seed)
    comparison = compared(tmp_path)
    assert [standing.scores for standing in comparison.standings] == [{}, {}]
    assert any("is missing" in note for note in comparison.notes)
    naive = {standing.method: standing.naive for standing in comparison.standings}
    assert naive == pytest.approx({"annealed+pcgrad": 0.72, "arrp+pcgrad": 0.73})


def test_many_comparisons_make_each_claim_harder(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.808), seeds=(1, 2, 3), noise=0.1)
    alone = contrast(compared(tmp_path), "arrp+pcgrad").p_different
    for number, sampler in enumerate(("cycle", "sequential", "round_robin", "proportional")):
        for seed in (1, 2, 3):
            made = world.predictions(RNG([number, seed]), 0.8)
            write_predicted(tmp_path, world, made, sampler=sampler, seed=seed)
    comparison = compared(tmp_path)
    among = contrast(comparison, "arrp+pcgrad").p_different
    assert alone is not None and among is not None
    assert among == pytest.approx(min(1, 5 * alone), rel=0.3) and among > 2 * alone
    assert any("Holm" in note for note in comparison.notes)


def test_a_question_about_named_methods_pays_for_no_other(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.81), seeds=(1, 2, 3), noise=0.15)
    for seed in (1, 2, 3):
        for number, other in enumerate(("round_robin", "cycle", "proportional", "interleaved")):
            made = world.predictions(RNG(10 * seed + number), 0.80)
            write_predicted(tmp_path, world, made, sampler=other, seed=seed)
        alone = world.predictions(RNG(seed), 0.8)
        write_predicted(tmp_path, world, alone, sampler="single_task", train_task="sst", seed=seed)
    everything, named = compared(tmp_path), compared(tmp_path, methods=("arrp", "cycle+pcgrad"))
    assert {made.method for made in named.standings} == {
        "annealed+pcgrad", "arrp+pcgrad", "cycle+pcgrad",
    }  # fmt: skip
    one, other = (contrast(found, "arrp+pcgrad") for found in (everything, named))
    assert one.differences["dev_score"].value == other.differences["dev_score"].value
    assert one.p_different is not None and other.p_different is not None
    assert other.p_different < one.p_different
    why = named.diagnostics()
    assert {row["method"] for row in why["utilisation"]} == {m.method for m in named.standings}
    assert {row["method"] for row in why["against_single_task"]} == {
        row["method"] for row in why["utilisation"]
    }
    with pytest.raises(UserError, match="--methods arpp: .*did you mean 'arrp.*; allowed"):
        compared(tmp_path, methods=("arpp",))


def test_frozen_sets_of_arrp_answer_together(tmp_path: Path) -> None:
    world = write_pair(tmp_path, (0.80, 0.80), seeds=(1, 2))
    for seed in (1, 2):
        made = world.predictions(RNG(seed), 0.85)
        write_predicted(tmp_path, world, made, sampler="arrp", freeze="encoder", seed=seed)
    comparison = compared(tmp_path)
    joined = contrast(comparison, "arrp+pcgrad, any freeze")
    assert joined.differences["dev_score"].value == pytest.approx(
        contrast(comparison, "arrp+pcgrad+freeze-encoder").differences["dev_score"].value
    )
    assert contrast(compared(tmp_path, baseline="arrp+pcgrad"), "annealed+pcgrad").part_of == ""


def test_a_method_and_its_parts_pay_once(tmp_path: Path) -> None:
    """The union is tested, at the level of a single comparison. Its parts are shown."""
    world = write_pair(tmp_path, (0.80, 0.81), seeds=(1, 2, 3), noise=0.1)
    for seed in (1, 2, 3):
        made = world.predictions(RNG(seed), 0.81)
        write_predicted(tmp_path, world, made, sampler="arrp", freeze="encoder", seed=seed)
    found = compared(tmp_path)
    joined = contrast(found, "arrp+pcgrad, any freeze")
    assert joined.confidence == 0.95 or joined.outcome == "equivalent"
    assert joined.p_different is not None
    for name in ("arrp+pcgrad", "arrp+pcgrad+freeze-encoder"):
        part = contrast(found, name)
        assert (part.p_different, part.outcome) == (None, "")
        assert part.sentence == "part of arrp+pcgrad, any freeze"
        assert part.interval == part.differences["dev_score"]
    assert not any("Holm" in note for note in found.notes)
    assert any("tested as a whole" in note for note in found.notes)
    alone = contrast(compared(tmp_path, methods=("arrp+pcgrad",)), "arrp+pcgrad")
    assert alone.p_different is not None and alone.part_of == ""


def test_wishes_that_cannot_be_met_are_named(tmp_path: Path) -> None:
    write_pair(tmp_path, (0.80, 0.82), seeds=(1,))
    with pytest.raises(UserError, match="--metric stt: .*did you mean 'sts'..; allowed: dev_score"):
        compared(tmp_path, metric="stt")
    with pytest.raises(UserError, match="--baseline mgda: no such method; allowed: annealed"):
        compared(tmp_path, baseline="mgda")
    write_trial(tmp_path, [0.5], sampler="cycle", status="pruned")
    with pytest.raises(UserError, match="no complete trial"):
        compared(tmp_path, baseline="cycle")


def test_every_format_tells_the_same(tmp_path: Path) -> None:
    write_pair(tmp_path, (0.80, 0.82))
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    difference = f"{contrasted.differences['dev_score'].value:+.4f}"
    rows = list(csv.DictReader(io.StringIO(formats.comma_separated(comparison))))
    assert {row["method"] for row in rows} == {"annealed+pcgrad", "arrp+pcgrad"}
    (arrp,) = [row for row in rows if row["method"] == "arrp+pcgrad"]
    assert f"{float(arrp['dev_score_difference']):+.4f}" == difference
    assert arrp["verdict"] == "better" and arrp["speed_problem"] == contrasted.speed_problem
    text = formats.markdown("**YES.**", comparison)
    assert difference in text and text.startswith("**YES.**\n\n| ")
    widths = {line.count("|") for line in text.split("\n\n")[1].splitlines()}
    assert len(widths) == 1
    tex = formats.latex("YES.\n\nBecause.", comparison)
    assert tex.startswith("% YES.\n%\n% Because.\n")
    assert difference in tex and tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 4
    assert r"dev\_score" in tex and "95 \\%" in tex


def test_what_the_trainer_writes_is_read(tmp_path: Path, cache: Path) -> None:
    for sampler in ("annealed", "arrp"):
        for seed in (1, 2):
            config = small_config(cache, sampler=sampler, seed=seed, epochs=1)
            place = tmp_path / "trials" / f"{sampler}-{seed}"
            list(train(config, str(place), identity={"config_id": sampler}))
    comparison = compared(tmp_path)
    contrasted = contrast(comparison, "arrp+pcgrad")
    assert contrasted.problem == "" and contrasted.seeds == [1, 2]
    record = TrialDirectory(str(tmp_path / "trials" / "arrp-1")).records()[-1]
    (arrp,) = [s for s in comparison.standings if s.method == "arrp+pcgrad"]
    assert arrp.naive == pytest.approx(arrp.scores["dev_score"].value)
    assert 0 < record["dev_score"] < 1


def test_the_command_shows_tables_below_its_answer(tmp_path: Path) -> None:
    write_pair(tmp_path / "s", (0.80, 0.82))
    shown = orch("compare", "s", "--out", str(tmp_path))
    assert shown.returncode == 0, shown.stderr
    first = shown.stdout.splitlines()[0]
    assert first.startswith("Does ARRP reach the dev score of annealed PCGrad")
    for word in ("against annealed+pcgrad", "frontier", "configuration", "of its minutes"):
        assert word in shown.stdout
    assert "dev_score [interval of the verdict]" in shown.stdout
    for word in ("optimism", "best of", "dominates", "times as fast", "undecided"):
        assert word not in shown.stdout, "nobody searched, or nobody can use it"
    told = json.loads(orch("compare", "s", "--out", str(tmp_path), "--format", "json").stdout)
    assert told["rows"] and told["why"]["progress"]
    assert {m["method"] for m in told["methods"]} == {"annealed+pcgrad", "arrp+pcgrad"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--format xml", "--format xml: no such format; allowed: table, json, csv, md, latex"),
        ("--margin 0", "--margin 0: must lie between 0 and 1"),
        ("--metric acc", "--metric acc: no such metric; allowed: dev_score, dev_mean, sst"),
        ("--baseline x", "--baseline x: no such method; allowed: arrp+pcgrad"),
        ("--methods y", "--methods y: no such method; allowed: arrp+pcgrad"),
        ("--by lamda", "--by lamda: unknown key (did you mean 'lambda'?); allowed: "),
    ],
)
def test_a_mistake_is_one_message_and_exit_2(tmp_path: Path, options: str, message: str) -> None:
    write_trial(tmp_path / "s", [0.5], sampler="arrp")
    answer = orch("compare", "s", "--out", str(tmp_path), *options.split())
    assert answer.returncode == 2 and answer.stdout == ""
    assert message in answer.stderr and "Traceback" not in answer.stderr


def test_trials_of_another_number_of_epochs_are_left_out(tmp_path: Path) -> None:
    world = write_pair(tmp_path / "s", (0.80, 0.82), seeds=(1, 2))
    write_predicted(
        tmp_path / "s", world, world.predictions(RNG(0), 0.99), sampler="annealed", epochs=3, seed=1
    )
    (tmp_path / "s" / "sweep.yaml").write_text("name: s\nbase: {epochs: 1}\n")
    shown = orch("compare", "s", "--out", str(tmp_path))
    assert "1 trials with another number of epochs were left out." in shown.stdout
    assert "different epochs" not in shown.stdout


def test_the_confirming_stage_is_not_in_the_tables(tmp_path: Path) -> None:
    world = write_pair(tmp_path / "s", (0.80, 0.82), seeds=(1, 2))
    for sampler in ("annealed", "arrp"):
        made = world.predictions(RNG(0), 0.9)
        name = write_predicted(tmp_path / "s", world, made, sampler=sampler, seed=1001)
        config = tmp_path / "s" / "trials" / name / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"stage": "confirm"}))
    (tmp_path / "s" / "sweep.yaml").write_text("name: s\nbase: {epochs: 1}\n")
    shown = orch("compare", "s", "--out", str(tmp_path))
    note = "What follows shows the search: 4 trials. The answer comes from the 2 trials on fresh"
    assert shown.stdout.index(note) < shown.stdout.index("\nmethod ")
    told = json.loads(orch("compare", "s", "--out", str(tmp_path), "--json").stdout)
    assert {tuple(m["seeds"]) for m in told["methods"]} == {(1, 2)}
