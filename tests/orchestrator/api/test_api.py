"""Sweeps in Python: names that stay, tables, answers, and what a notebook shows."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import orchestrator as orch
from orchestrator.api import html
from orchestrator.sweep import SweepOutcome
from tests.support import command
from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.drivers import SWEEP
from tests.support.paths import ROOT
from tests.support.simulated import World
from trainer.config import TrainConfig


def skill(config: TrainConfig) -> float:
    return 0.7 if config.sampler == "arrp" else 0.6


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps")
    spec = sweep_spec(question="Is <arrp> better & faster?")
    SimulatedSweep(
        out, spec, World.of(np.random.default_rng(0), sst=60, qqp=80, sts=40), skill
    ).search()
    return out


@pytest.fixture
def sweep(out: Path) -> orch.Sweep:
    return orch.load("s", out)


def printed(out: Path, *arguments: str) -> Any:
    answer = command.orch(*arguments, "--json", "--out", str(out))
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


#: What users write.  A change here breaks their notebooks.
SIGNATURES = {
    "load": "(name, out=None)",
    "run": "(file, profile=None, overrides=(), out=None, **options)",
    "Sweep.compare": "(self, *, metric='dev_score', baseline='', methods=(), by=(), margin=0.005)",
    "Sweep.best": "(self)",
    "Sweep.model": "(self, trial='best', *, epoch='counted', device='auto', data=None)",
    "Sweep": "answer best compare epochs folder model name predictions question trials",
    "Comparison": "baseline methods notes to_dict",
    "Answer": "next question sentence text to_dict verdict",
    "Best": "commands to_dict",
    "Best fields": "sweep configuration config_id trial_id dev_score sd minutes_per_epoch tasks "
    "seeds config config_file",
    "Model": "epoch predict tasks trial_id",
    "UserError": "exit_code",
}


def test_the_public_names_stay() -> None:
    found: dict[str, str] = {"Best fields": " ".join(orch.Best.__dataclass_fields__)}
    for name in orch.__all__:
        each = getattr(orch, name)
        if not inspect.isclass(each):
            found[name] = signature(each)
            continue
        found[name] = " ".join(n for n in dir(each) if not hasattr(Exception, n) and n[0] != "_")
        for method in ("compare", "best", "model") if name == "Sweep" else ():
            found[f"{name}.{method}"] = signature(getattr(each, method))
    assert found == SIGNATURES


def signature(function: Any) -> str:
    """The signature without its types."""
    found = inspect.signature(function)
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    return str(inspect.Signature(bare))


def test_every_public_name_is_typed_and_explained() -> None:
    for name in orch.__all__:
        each = getattr(orch, name)
        assert each.__doc__, name
        for key, member in vars(each).items() if inspect.isclass(each) else [(name, each)]:
            function = member.fget if isinstance(member, property) else member
            if not inspect.isfunction(function) or key.startswith("__"):
                continue
            assert "return" in function.__annotations__, f"{name}.{key}"
            assert function.__doc__ or key.startswith("_"), f"{name}.{key}"


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, orchestrator as orch; orch.load, orch.run\n"
        "print([n for n in ('torch', 'ray', 'mlflow', 'optuna', 'pyarrow', 'numpy', 'scipy')"
        " if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (answer.returncode, answer.stdout.strip()) == (0, "[]"), answer.stderr


def test_tables_have_a_row_for_each_trial_epoch_and_example(sweep: orch.Sweep) -> None:
    trials = sweep.trials
    ids = trials["trial_id"].to_pylist()
    assert len(ids) == 12 == len(set(ids))
    assert sweep.epochs.num_rows == 12
    assert sweep.predictions.num_rows == 12 * (60 + 80 + 40)
    columns = ["trial_id", "task", "id", "label", "prediction"]
    assert sweep.predictions.column_names == columns
    assert list(sweep.predictions.to_pandas().columns) == columns


def test_predictions_give_the_trials_scores(sweep: orch.Sweep) -> None:
    frame = sweep.predictions.to_pandas()
    right = frame[frame.task == "sst"].assign(right=lambda f: f.label == f.prediction)
    accuracy = right.groupby("trial_id", observed=True).right.mean()
    trials = sweep.trials.to_pandas().set_index("trial_id")
    assert accuracy.to_dict() == pytest.approx(trials["tasks.sst.dev_accuracy"].to_dict())


def test_python_and_the_command_say_the_same(sweep: orch.Sweep, out: Path) -> None:
    compared = sweep.compare(metric="sst", baseline="arrp", margin=0.02)
    options = ("--metric", "sst", "--baseline", "arrp", "--margin", "0.02")
    assert plain(compared.to_dict()) == printed(out, "compare", "s", *options)
    answer = compared.answer
    assert answer.text.startswith(f"{sweep.question}\n{answer.sentence[:30]}")
    assert answer.text in command.orch("compare", "s", *options, "--out", str(out)).stdout


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


def test_methods_are_a_table_of_numbers(sweep: orch.Sweep) -> None:
    methods = sweep.compare().methods
    assert set(methods["method"].to_pylist()) >= {"annealed+pcgrad"}
    assert {"dev_score", "dev_score_low", "dev_score_high"} <= set(methods.column_names)
    assert all(isinstance(value, float) for value in methods["dev_score"].to_pylist())


def test_the_best_configuration_is_that_of_the_tables(sweep: orch.Sweep) -> None:
    best = sweep.best()
    trials = sweep.trials.to_pandas()
    means = trials.groupby("config_id").dev_score.mean()
    assert best.config_id == means.idxmax()
    assert best.dev_score == pytest.approx(means.max())
    mine = trials[trials.config_id == best.config_id].set_index("seed")
    assert {each.seed: each.trial_id for each in best.seeds} == mine.trial_id.to_dict()
    assert best.trial_id == mine.trial_id[mine.dev_score.idxmax()]
    assert best.config["sampler"] == "arrp" and "seed" not in best.config


class Tags(HTMLParser):
    """Balanced tags, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def test_a_notebook_shows_each_object_as_html(sweep: orch.Sweep) -> None:
    shown = {
        "sweep": sweep._repr_html_(),
        "answer": sweep.answer._repr_html_(),
        "comparison": sweep.compare()._repr_html_(),
        "best": sweep.best()._repr_html_(),
        "trials": html.arrow_table(sweep.trials),
        "predictions": html.arrow_table(sweep.predictions.slice(0, 0)),
    }
    words = {name: " ".join(Tags(page).words) for name, page in shown.items()}
    for name in ("sweep", "answer", "comparison"):
        assert "Is <arrp> better & faster?" in words[name], name
    assert sweep.best().trial_id in words["best"]
    for name, page in shown.items():  # the notebook's own colours, light and dark
        style = page.partition("</style>")[0]
        assert "currentColor" in style and "#" not in style and "white;" not in style, name


def test_of_many_columns_a_notebook_shows_those_that_vary(sweep: orch.Sweep) -> None:
    trials = sweep.trials
    wide = " ".join(Tags(html.arrow_table(trials)).words)
    assert "status" not in wide and trials["trial_id"][0].as_py() in wide
    assert f"{trials.num_columns - html.COLUMNS} of them are not shown" in wide
    chosen = " ".join(Tags(html.arrow_table(trials.select(["trial_id", "status"]))).words)
    assert "status" in chosen and "not shown" not in chosen


def test_what_does_not_exist_is_one_clear_error(sweep: orch.Sweep, tmp_path: Path) -> None:
    with pytest.raises(orch.UserError, match="--metric x: no such metric; allowed: dev_score"):
        sweep.compare(metric="x")
    with pytest.raises(orch.UserError, match="--baseline x: no such method; allowed: annealed"):
        sweep.compare(baseline="x")
    with pytest.raises(orch.UserError, match="must lie between 0 and 1"):
        sweep.compare(margin=1)
    with pytest.raises(orch.UserError, match="no sweep 'x'"):
        orch.load("x", tmp_path)


def test_a_file_that_is_wrong_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: a\nbase: {samplr: arrp}\n")
    with pytest.raises(orch.UserError, match="samplr: unknown key .did you mean 'sampler'?"):
        orch.run(file, out=tmp_path / "out")
    with pytest.raises(orch.UserError, match="base.B: .*; allowed"):
        orch.run(file, overrides={"base.samplr": None, "base.B": -1}, out=tmp_path / "out")
    with pytest.raises(orch.UserError, match="put 'a=1' into a list"):
        orch.run(file, overrides="a=1", out=tmp_path / "out")
    with pytest.raises(orch.UserError, match="overrides: name: .* is not a plain value"):
        orch.run(file, overrides={"name": object()}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_end_of_a_run_is_an_exception_or_the_sweep(
    out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("name: s\n")
    outcome = SweepOutcome(1)
    monkeypatch.setattr("orchestrator.sweep.run_sweep", lambda *arguments: outcome)
    assert orch.run(file, out=out).trials.num_rows == 12
    outcome = SweepOutcome(1, interrupted=True)
    with pytest.raises(KeyboardInterrupt, match="run the same sweep again to resume"):
        orch.run(file, out=out)
    outcome = SweepOutcome(1, error="the store is lost")
    with pytest.raises(orch.UserError, match="^the store is lost$"):
        orch.run(file, out=out)
    outcome = SweepOutcome(1, {"arrp-1": "diverged"})
    with pytest.warns(UserWarning, match="1 trials failed: arrp-1: diverged"):
        assert orch.run(file, out=out).name == "s"


@pytest.mark.exhaustive(reason="starts Ray; the notebook of the guide runs a sweep, too")
def test_a_sweep_runs_from_a_thread(tmp_path: Path, cache: Path) -> None:
    """docs/guide/notebook.ipynb runs one within a loop."""
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(SWEEP))
    small = {
        "base.data.cache": str(cache), "base.epochs": 1, "enqueue": [],
        "space": {"sampler": {"choices": ["round_robin"]}},
        "search": {"algorithm": "random", "num_trials": 1, "seeds": [1]},
        "tracking.study": "none",
    }  # fmt: skip
    sweep = asyncio.run(
        asyncio.to_thread(orch.run, file, overrides=small, out=tmp_path / "out", timing=False)
    )
    assert sweep.trials["status"].to_pylist() == ["complete"]


def test_the_environment_names_the_folder(
    out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(orch.UserError, match="no sweep 's' in sweeps"):
        orch.load("s")
    monkeypatch.setenv("ORCH_OUT", str(out))
    assert orch.load("s").folder == str(out / "s")
