"""A sweep in which every text that anybody can choose acts on terminals, markup and pages."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.ledger import Ledger
from orchestrator.ledger.timing_sessions import FOLDER
from orchestrator.spec.yaml_lines import dump
from tests.support.reported import TASKS, analysis, world
from tests.support.sessions import made_up
from tests.support.simulated import write_predicted
from trainer.storage.evaluations import write_evaluation

#: Titles and colours of a terminal, a bell, a line that overwrites itself, a command of one byte,
#: text backwards, half a character; markup of rich; a formula; HTML; Markdown; LaTeX.
ACTING = "\x1b]0;owned\x07\x1b[31m\r\x9b2J\u202e\u2066\u200b\x85\x7f\ud800"
MARKUP = "[/red][bold]:smile:[link=x]$x_1^{$<script>alert(1)</script>![p](http://h/p)|*`~\\input{x}"
HOSTILE = f"a{ACTING}{MARKUP}z"
#: The same where whole characters alone can stand: in YAML, and in what pydantic reads.
WHOLE = HOSTILE.replace("\ud800", "")


def write_hostile_sweep(out: Path) -> Ledger:
    """`out/s`: two methods and an encoder whose name is hostile, seeds 1 to 3, a failed trial."""
    folder, rng = out / "s", np.random.default_rng(0)
    made = world(rng, 60)
    recorded: dict[str, Any] = {
        "device": HOSTILE, "fingerprint": HOSTILE, "computed_in": HOSTILE,
        "identity": {
            "git_commit": HOSTILE, "host": HOSTILE, "versions": {"torch": HOSTILE, HOSTILE: "1"},
            "rows": {"sst": {"train": {"rows": 5, "dropped": {HOSTILE: 3}}}},
        },
        "data": {"source": "synthetic", "root": HOSTILE, "cache": HOSTILE},
        "tasks": TASKS,
    }  # fmt: skip
    names = []
    for seed in (1, 2, 3):
        for sampler, skill in (("annealed", 0.7), ("arrp", 0.75)):
            encoder = {"encoder": f"{HOSTILE}{sampler}"}
            predictions = made.predictions(rng, skill)
            names.append(write_predicted(
                folder, made, predictions, sampler=sampler, seed=seed, epochs=2,
                **encoder, **recorded,
            ))  # fmt: skip
    failed = write_predicted(
        folder, made, made.predictions(rng, 0.5), sampler="round_robin", seed=1, **recorded
    )
    ledger = Ledger(out, "s")
    for name in [*names, failed]:
        directory = ledger.directory(name)
        found = analysis(made)
        for each in found.values():
            each["worst"][0]["text"] = [HOSTILE, HOSTILE]
        directory.write("analysis.json", json.dumps(found).encode())
        directory.write("logs/001.txt", f"{HOSTILE}\nanother line\n".encode(errors="surrogatepass"))
    # A name of a number in an epoch, a task's metric, a phase.
    for path in folder.glob("trials/*/epochs/*.json"):
        record = json.loads(path.read_text())
        record[f"x{HOSTILE}"] = 1.0
        record["phases"] = [{"name": HOSTILE, "minutes": 1.0}]
        path.write_text(json.dumps(record))
    first = ledger.directory(names[0])
    end = json.loads((folder / "trials" / failed / "end.json").read_text())
    end |= {"status": "failed", "reason": HOSTILE}
    (folder / "trials" / failed / "end.json").write_text(json.dumps(end))
    values = {"dev_metric": 0.5, "examples": 10, "metric": HOSTILE}
    record = {"epoch": 2, "dev_score": 0.5, "dev_mean": 0.5, "tasks": {HOSTILE: values}}
    write_evaluation(first, "all", record, b"")
    _write_others(ledger)
    return ledger


def _write_others(ledger: Ledger) -> None:
    """The sweep file, a timing session, a driver of another host, an unreadable trial."""
    folder = Path(ledger.folder.path)
    spec = {
        "format": 2, "name": "s", "question": WHOLE,
        "base": {"epochs": 2, "tasks": TASKS, "encoder": WHOLE, "data": {"source": "synthetic"}},
        "search": {"algorithm": "list", "num_trials": 2, "seeds": [1, 2, 3]},
        "enqueue": [{"sampler": "annealed"}, {"sampler": "arrp"}],
        "published": {
            "source": WHOLE, "note": WHOLE,
            "setup": {"encoder": WHOLE, "hardware": WHOLE},
            "rows": [{"method": WHOLE, "note": WHOLE, "config": {"sampler": "arrp"},
                      "sst": 0.5}],
        },
    }  # fmt: skip
    (folder / "sweep.yaml").write_text(dump(spec))
    ids = {str(t.identity["config_id"]): [1.0 + n / 10 for n in range(6)] for t in ledger.trials()}
    session = json.loads(made_up(ids).model_dump_json())
    session |= dict.fromkeys(("device", "host", "git_commit"), WHOLE)
    session["versions"] = {WHOLE: WHOLE}
    for number, each in enumerate(session["configs"]):
        each["label"] = f"{WHOLE}{number}"
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "20260101T000000.json").write_text(json.dumps(session))
    broken = folder / "trials" / "broken-1"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"config": {HOSTILE: 1}}))
    (folder / "driver.log").write_bytes(f"{HOSTILE}\n".encode(errors="surrogatepass"))


def write_hostile_driver(ledger: Ledger, heartbeat: float) -> None:
    """A driver of another host runs the sweep, says its status.

    Args:
        heartbeat: seconds since 1970.
    """
    holder = {"host": HOSTILE, "pid": 1, "started": HOSTILE, "pids": "elsewhere"}
    ledger.folder.write("lock", json.dumps(holder).encode())
    trial = {"trial_id": HOSTILE, "label": HOSTILE, "seed": 1, "epoch": 1, "epochs": 2,
             "node": HOSTILE, "state": HOSTILE}  # fmt: skip
    status = {
        "name": "s", "stage": HOSTILE, "doing": HOSTILE, "stopping": HOSTILE, "planned": 9,
        "trials": [trial], "ended": [trial], "host": HOSTILE, "pid": 1, "started": HOSTILE,
        "best": {"label": HOSTILE, "dev_score": 0.5, "seeds": 2}, "heartbeat": heartbeat,
    }  # fmt: skip
    ledger.folder.write("status.json", json.dumps(status).encode())


#: What rich itself writes to a terminal: styles, and moves of the cursor of a live view.
_OF_RICH = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[AK]|2K)|\r(?=\x1b|$)")


def acting(text: str, *, on_terminal: bool = False) -> set[str]:
    """The characters of a text that act, hide or are halves; by Unicode's own categories."""
    text = _OF_RICH.sub("", text) if on_terminal else text
    return {
        character
        for character in set(text) - {"\n", "\t", "\u200c", "\u200d"}
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
