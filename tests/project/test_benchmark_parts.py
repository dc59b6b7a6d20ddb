"""The parts of the benchmarks: command lines, who takes part, and the strongest contestant."""

from __future__ import annotations

import runpy
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow(reason="loads transformers and torchjd")

#: Every command, with arguments that are wrong and the word that the error must name.
COMMANDS = {
    "decisions": ["--replicates", "0"],
    "epochs": ["--rounds", "0"],
    "gpu": ["--share", "nan"],
    "intervals": ["--sweeps", "many"],
    "null_runs": ["--sweeps", "-1"],
    "step": ["--minutes", "inf"],
    "sweep": ["--trials", "1.5"],
}
#: Files of the folder that are imported, not run.
PARTS = {"command", "contestants", "entrants", "limit", "no_work", "random_corpus"}
PARTS |= {"step_figures", "tuned"}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts import each other from their folder."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def answer(
    name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that ends before it measures anything."""
    path = ROOT / "benchmarks" / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr()
    return int(end.value.code or 0), printed.out, printed.err


def test_every_file_is_a_command_or_a_part() -> None:
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert files == PARTS | COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_how_many_minutes_a_command_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = answer(name, ["--help"], monkeypatch, capsys)
    assert code == 0 and "minute" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_number_gives_one_line(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag, value = COMMANDS[name]
    code, _, errors = answer(name, [flag, value], monkeypatch, capsys)
    assert code == 2 and errors.count("\n") == 1
    assert flag in errors and value in errors


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0], (3, 3, 3)), ([1.0, 2.0, 3.0, 4.0, 5.0], (2, 3, 4))]
)
def test_quartiles_of_one_value_are_that_value(values: list[float], expected: tuple) -> None:
    from command import quartiles

    assert tuple(quartiles(values).values()) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "ValueError"), ("a\nb", "a"), ("\nbackend raised:\n b\nc", "backend raised: b")],
)
def test_a_reason_is_one_line(text: str, said: str) -> None:
    from command import first_line

    assert first_line(ValueError(text)) == said


def test_progress_off_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import command

    now = 0.0
    monkeypatch.setattr(command.time, "monotonic", lambda: now)
    progress = command.Progress()
    for now in (5.0, 16.0, 20.0, 32.0):
        progress(f"round at {now:.0f}")
    assert capsys.readouterr().err == "16 s: round at 16\n32 s: round at 32\n"


@pytest.mark.parametrize("left", [0.1, 0.0, -5.0])
def test_a_step_that_does_not_end_is_stopped(left: float) -> None:
    from command import time_limit

    with pytest.raises(TimeoutError, match="--minutes"), time_limit(left):
        while True:
            pass


@pytest.fixture(scope="module")
def of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes trials of the tiny encoder, without dropout."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import contestants

    sys.path.pop(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contestants, "DROPOUT", 0.0)
        folder: Path = tmp_path_factory.mktemp("encoder")
        encoder = contestants.random_checkpoint(contestants.SHAPES["tiny"], folder)
        yield partial(contestants.run_of, encoder, 4, None, 0.01)


def field(of: Any, *names: str, **options: Any) -> Any:
    from contestants import SHAPES
    from entrants import Field, entries

    asked = [entry for name, entry in entries(("fp32", "bf16")).items() if name in names]
    return Field(asked, SHAPES["tiny"], of, 3, **options)


def test_a_contestant_that_does_not_fit_is_left_out_by_name(
    of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import entrants

    holds = field(of, "ours_fp32").holds
    monkeypatch.setattr(entrants, "free_memory", lambda device: 1.5 * holds)
    found = field(of, "ours_fp32", "tuned_pcgrad_fp32", "usual_sum_fp32")
    assert "ours_fp32" in found.taking_part
    assert "GiB" in found.left_out["tuned_pcgrad_fp32"]
    monkeypatch.setattr(entrants, "free_memory", lambda device: 0.5 * holds)
    with pytest.raises(MemoryError, match="ours_fp32: .* GiB are free"):
        field(of, "ours_fp32")


@pytest.mark.parametrize("emulated", [False, True])
def test_emulated_precisions_take_part_only_if_asked_for(
    emulated: bool, of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import entrants

    from trainer.loop.device import Hardware

    monkeypatch.setattr(
        entrants, "hardware_of", lambda device: Hardware("cpu", frozenset({"fp32"}))
    )
    found = field(of, "ours_fp32", "usual_sum_bf16", emulated=emulated)
    assert ("usual_sum_bf16" in found.taking_part) == emulated
    reason = "this CPU does not multiply bf16 natively"
    assert emulated or reason in found.left_out["usual_sum_bf16"]


def test_without_a_compiler_the_compiled_contestant_is_left_out(
    of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import entrants

    monkeypatch.setattr(entrants, "compiles", lambda: "torch.compile needs a C++ compiler")
    found = field(of, "ours_fp32", "compiled_pcgrad_fp32")
    assert "C++ compiler" in found.left_out["compiled_pcgrad_fp32"]


@pytest.mark.parametrize(
    ("left", "rounds", "out"), [(1000, 15, {}), (61, 8, {}), (10, 15, {"slow"}), (0, 8, {"slow"})]
)
def test_what_does_not_fit_into_the_time_goes(
    left: float, rounds: int, out: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import step

    monkeypatch.setattr(step.time, "monotonic", lambda: 100.0)
    gone: dict[str, str] = {}
    table = SimpleNamespace(
        until=100.0 + left, least=4.0, seconds={"ours_fp32": [9.0, 0.5], "slow": [90.0, 7.0]},
        field=SimpleNamespace(leave_out=gone.__setitem__),
    )  # fmt: skip
    found = step.Table.affordable(table, 15)
    assert set(gone) == set(out)
    assert found == rounds
    assert set(table.seconds) == {"ours_fp32", "slow"} - set(out)


def test_others_that_take_long_do_not_push_a_quick_contestant_out(
    of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import step
    from command import Progress

    found = field(of, "ours_fp32", "usual_sum_fp32", "usual_rows_fp32")
    table = step.Table(found, "tiny", step.time.monotonic(), Progress(), step.time.perf_counter)
    monkeypatch.setattr(step, "_LEAST_S", 1.0)

    def never(batches: Any) -> None:
        while True:
            pass

    monkeypatch.setattr(found.taking_part["usual_rows_fp32"], "_rows", never)
    table.round(dict.fromkeys(step._CLASSES, found.steps[0]), table.until, "late")
    assert set(table.seconds) == {"ours_fp32", "usual_sum_fp32"}
    assert "did not end" in found.left_out["usual_rows_fp32"]


def test_batches_of_similar_lengths_hold_the_same_examples_with_less_padding(of: Any) -> None:
    from limit import padded_share
    from tuned import by_length

    run = of()
    steps = run.plan(1)[0].steps[:8]
    ordered = by_length(run.corpus, steps)

    def rows(some: Any, task: str) -> list[int]:
        return sorted(np.concatenate([d.rows for s in some for d in s if d.task == task]).tolist())

    assert all(rows(steps, task) == rows(ordered, task) for task in run.tasks)
    shapes = [[[(d.task, len(d.rows)) for d in step] for step in some] for some in (steps, ordered)]
    assert shapes[0] == shapes[1]
    before, after = (np.mean([padded_share(run.corpus, s) for s in x]) for x in (steps, ordered))
    assert after > before + 0.1


def test_the_strongest_contestant_takes_torchjds_step(of: Any) -> None:
    """PCGrad through the Gramian yields the update of torchjd's aggregator on the rows."""
    from contestants import Usual
    from tuned import Tuned

    run = of()
    torch.manual_seed(1)
    usual = Usual(run, "rows")
    tuned = Tuned(run, beside=usual)
    step = run.plan(1)[0].steps[0]
    updates = []
    for contestant, surgery in ((usual, "_rows"), (tuned, "_gramian")):
        batches = [(draw.task, *contestant._padded(draw.task, draw.rows)) for draw in step]
        contestant.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(2)  # the order of the projections
        getattr(contestant, surgery)(batches)
        updates.append([parameter.grad.clone() for parameter in contestant.parameters()])
    for one, other in zip(*updates, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)
    assert any(gradient.abs().max() > 1e-4 for gradient in updates[0])


def test_the_ratio_is_taken_against_the_fastest_other_step_with_pcgrad() -> None:
    from tuned import strongest

    seconds = {
        "ours_fp32": [1.0, 1.0], "usual_pcgrad_fp32": [9.0, 9.0], "tuned_pcgrad_fp32": [1.0, 5.0],
        "usual_rows_fp32": [4.0, 4.0], "tuned_sum_fp32": [1.0, 1.0], "ours_bf16": [1.0, 1.0],
    }  # fmt: skip
    expected = {"strongest_fp32": "tuned_pcgrad_fp32", "speedup_strongest_fp32": 3.0}
    assert strongest(seconds, "fp32") == expected
    assert strongest(seconds, "bf16") == {}
