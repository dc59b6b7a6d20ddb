"""A name that is almost right is answered with the right one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import unknown_name
from orchestrator.ledger import Ledger
from tests.support import command
from tests.support.decided import SimulatedSweep, sweep_spec
from tests.support.simulated import World
from trainer.config import most_similar


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweeps")
    spec = sweep_spec(name="arrp-embedded")
    world = World.of(np.random.default_rng(0), sst=20, qqp=20, sts=20)
    SimulatedSweep(out, spec, world, lambda config: 0.6).search()
    project = out / "project"
    (project / "search_spaces").mkdir(parents=True)
    (project / "search_spaces" / "arrp.yaml").write_text("name: arrp\nprofiles: {embedded: {}}\n")
    return out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("compare arrp-embeded", "arrp-embedded"),
        ("show Arrp-Embeded", "arrp-embedded"),
        ("best arp-embedded", "arrp-embedded"),
        ("compare arrp --baseline anealed", "annealed+pcgrad"),
        ("compare arrp --methods arpp", "arrp+pcgrad"),
        ("compare arrp --metric stt", "sts"),
        ("compare arrp --by samplr", "sampler"),
        ("compare arrp --format latx", "latex"),
        ("export table arrp --of trails", "trials"),
        ("predict arrp - --task qpq", "qqp"),
        ("sweep arrp", "search_spaces/arrp.yaml"),
        ("sweep arp.yaml", "search_spaces/arrp.yaml"),
        ("validate search_spaces/arp.yml", "search_spaces/arrp.yaml"),
        ("sweep ../arrp-embedded", "../arrp-embedded/sweep.yaml"),
        ("sweep search_spaces/arrp.yaml --profile embeded", "embedded"),
        ("sweep search_spaces/arrp.yaml --set base.samplr=arrp", "sampler"),
        ("compre arrp", "compare"),
    ],
)
def test_the_right_name_stands_in_the_error(out: Path, typed: str, meant: str) -> None:
    reads_file = typed.split()[0] in ("sweep", "validate")
    folder = () if reads_file or "compre" in typed else ("--out", str(out))
    answer = command.orch(*typed.split(), *folder, cwd=out / "project")
    assert answer.returncode == 2 and answer.stdout == ""
    assert f"id you mean '{meant}'?" in answer.stderr, answer.stderr


@pytest.mark.parametrize("typed", ["show arrp {}", "diff {} arrp", "rm arrp@{} --yes"])
def test_a_trial_with_two_digits_swapped_is_recognised(out: Path, typed: str) -> None:
    ids = Ledger(out, "arrp-embedded").trial_ids()
    wrong = ids[0][:-2] + ids[0][:-3:-1] if ids[0][-1] != ids[0][-2] else ids[0][:-1] + "z"
    answer = command.orch(*typed.format(wrong).split(), "--out", str(out))
    assert answer.returncode == 2
    assert f"(did you mean '{ids[0]}'?)" in answer.stderr
    assert len(Ledger(out, "arrp-embedded").trial_ids()) == len(ids)


def test_what_is_alike() -> None:
    methods = ["arrp+pcgrad+freeze-encoder", "arrp+pcgrad", "annealed+pcgrad"]
    assert most_similar("arpp", methods) == "arrp+pcgrad"  # of equals, the shortest
    assert most_similar("ARRP+PCGRAD", methods) == "arrp+pcgrad"
    for name in ("mgda", "x", "ar", ""):
        assert most_similar(name, methods) == ""
    assert most_similar("b", ["B", "lambda"]) == "B"
    assert most_similar("anything", []) == ""


def test_many_names_are_counted() -> None:
    names = [f"arrp-{number:04d}" for number in range(70)]
    text = str(unknown_name("no trial 'x'", "x", names, known="known", most=3))
    assert text == "no trial 'x'; known: arrp-0000, arrp-0001, arrp-0002 and 67 more"
    assert str(unknown_name("a", "x", [])) == "a; allowed: none"
