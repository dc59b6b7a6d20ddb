"""Files that were damaged while nobody looked: each trial falls back, or says what is wrong."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.search import JOURNAL
from tests.support.drivers import SWEEP, Driver, ended_like, nothing_left, trials, undisturbed

STUB: dict[str, Any] = {"train": "tests.faults.chained:train", "environment": {"EPOCH_S": "0"}}
#: Every damage takes a trial; more trials than damages, so that some have none.
MANY = SWEEP | {"search": SWEEP["search"] | {"num_trials": 7}}
Start = Callable[..., Driver]
pytestmark = pytest.mark.slow(reason="starts a driver over a copy of a whole sweep")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


WEIGHTS, OPTIMIZER = "checkpoints/{}/weights.safetensors", "checkpoints/{}/optimizer.safetensors"
#: What happens to which files of a trial without end.json, and the epochs given up for it.
DAMAGES: dict[str, tuple[Callable[[Path], None], list[str], list[int]]] = {
    "newest checkpoint truncated": (truncate, [WEIGHTS.format("003")], [3]),
    "one bit of it flipped": (flip_a_bit, [OPTIMIZER.format("003")], [3]),
    "deleted": (Path.unlink, [WEIGHTS.format("003"), OPTIMIZER.format("003")], [3]),
    "both broken": (flip_a_bit, [WEIGHTS.format("003"), WEIGHTS.format("002")], [3, 2, 1]),
    "record truncated": (truncate, ["epochs/003.json"], [3]),
    "record empty": (empty, ["epochs/003.json"], [3]),
    "a record in the middle lost": (Path.unlink, ["epochs/002.json"], [1]),  # 001 is dropped
    "predictions lost": (Path.unlink, ["predictions/003.parquet"], [3]),
    "end truncated": (truncate, ["end.json"], []),
    "end empty": (empty, ["end.json"], []),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return undisturbed(tmp_path_factory.mktemp("whole"), cache, MANY, STUB["train"])


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    """A copy of the whole sweep, where `start` looks for one."""
    shutil.copytree(whole, tmp_path / "a" / "out")
    return tmp_path / "a" / "out"


def test_damaged_trials_and_a_journal_of_garbage_are_mended_by_the_next_run(
    start: Start, whole: Path, out: Path
) -> None:
    (out / "s" / JOURNAL).write_bytes(b"\x00\xff no journal\n" * 50)
    victims = dict(zip(DAMAGES, sorted(trials(out)), strict=False))
    assert len(victims) == len(DAMAGES) < len(trials(out))
    for damage, name in victims.items():
        harm, names, _ = DAMAGES[damage]
        trial = out / "s" / "trials" / name
        if "end.json" not in names:
            (trial / "end.json").unlink()
        for file in names:
            harm(trial / file)

    driver = start(MANY, **STUB)
    assert driver.wait() == 0, driver.text
    ended_like(driver, whole)
    assert "Traceback" not in driver.text and "tracking:" not in driver.text
    found = trials(out)
    for damage, name in victims.items():
        given_up = DAMAGES[damage][2]
        lines = [line for line in driver.text.splitlines() if name in line]
        said = [int(n) for n in re.findall(r"epoch (\d+) cannot be resumed", "\n".join(lines))]
        notes = [note for record in found[name].records for note in record.get("notes", [])]
        assert said == given_up and len(notes) == len(given_up), (damage, lines)


@pytest.mark.exhaustive(reason="three more sweeps, each with other damaged projections")
def test_pictures_that_were_damaged_are_drawn_again(start: Start, whole: Path, out: Path) -> None:
    harms: dict[str, Callable[[Path], Any]] = {JOURNAL: truncate, "../mlflow.db": Path.unlink}
    for name, harm in {"": truncate, **harms}.items():
        if name:
            harm(out / "s" / name)
        driver = start(MANY, **STUB)
        assert driver.wait() == 0, driver.text
        ended_like(driver, whole)


@pytest.mark.parametrize("harm", [truncate, empty, lambda path: path.write_text("[1, 2]") and None])
def test_a_damaged_resolved_spec_is_one_message_with_the_way_out(
    start: Start, out: Path, harm: Callable[[Path], None]
) -> None:
    """Which keys it had cannot be known, so nothing is compared with it and nothing started."""
    harm(out / "s" / "sweep.yaml")
    driver = start(MANY, **STUB)
    assert driver.wait() == 2, driver.text
    assert "sweep.yaml: " in driver.text and "delete" in driver.text
    assert "Traceback" not in driver.text
    nothing_left(driver)
