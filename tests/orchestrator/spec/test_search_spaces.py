"""Every search space of the project runs on the embedded profile and quotes its paper."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.spec import load_spec
from tests.support.command import orch, orch_process
from tests.support.drivers import train_all
from tests.support.paths import SEARCH_SPACES

FILES = sorted(SEARCH_SPACES.glob("*.yaml"))
#: The one that Ray runs here; the others' trials are trained in this process.
SWEPT = "table3"


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_a_space_opens_with_its_question_command_minutes_and_best_score(file: Path) -> None:
    head = file.read_text().partition("\nname:")[0]
    for word in ("# Question ", "# Command ", "# Minutes ", "# Best "):
        assert word in head
    assert f"orch sweep search_spaces/{file.name} --profile embedded" in head
    assert load_spec(str(file)).question


@pytest.mark.parametrize("file", [f for f in FILES if f.stem != "arrp"], ids=lambda f: f.stem)
@pytest.mark.slow(reason="trains every search space")
def test_the_embedded_profile_trains_every_row(file: Path, tmp_path: Path, cache: Path) -> None:
    quick = ["search.seeds=[1]", "tracking={report: false, registered_model: none}"]
    options = [word for text in (*quick, f"base.data.cache={cache}") for word in ("--set", text)]
    spec = load_spec(str(file), "embedded", options[1::2])
    if file.stem == SWEPT:
        place = ("--profile", "embedded", "--out", str(tmp_path))
        done = orch_process("sweep", str(file), *place, *options, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert spec.published and all(row.method in done.stdout for row in spec.published.rows)
    else:
        train_all(spec, Ledger(tmp_path, spec.name))
    trials = Ledger(tmp_path, spec.name).trials()
    assert len(trials) == len(spec.enqueue) * len(spec.search.seeds)
    assert {trial.status for trial in trials} == {"complete"}
    if spec.published is None:
        return
    shown = orch("compare", spec.name, "--out", str(tmp_path), "--published", "--json")
    rows = json.loads(shown.stdout)["rows"]
    assert len(rows) == len(spec.published.rows)
    scores = {t.identity["config_id"]: t.summary["dev_score"] for t in trials}
    configs = {t.identity["config_id"]: t.train_config for t in trials}
    for published, row in zip(spec.published.rows, rows, strict=True):
        assert row["method"] == published.method and not row["absent"], row
        assert row["ran"]["train"] and row["seeds"] == [1]
        assert row["published"].keys() <= row["ours"].keys()
        if published.config is None:
            continue
        wanted = spec.config_for(published.config, 1).canonical()
        (mine,) = [key for key, config in configs.items() if config.canonical() == wanted]
        assert row["ours"]["dev_score"] == pytest.approx(scores[mine]), row["method"]


def test_published_figures_are_asked_for_in_vain_where_none_are_quoted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "bare"
    (folder / "trials").mkdir(parents=True)
    (folder / "sweep.yaml").write_text("name: bare\n")
    done = orch("compare", "bare", "--out", str(tmp_path), "--published")
    assert done.returncode == 2
    assert "quotes no published figures" in done.stderr and "Traceback" not in done.stderr
