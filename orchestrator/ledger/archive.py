"""`orch pack`: an archive of a sweep that has all its comparison needs, and no sentences."""

from __future__ import annotations

import io
import json
import lzma
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.listing import resolved_spec
from orchestrator.ledger.timing_sessions import FOLDER
from orchestrator.spec.yaml_lines import dump
from trainer.config import DataConfig
from trainer.storage.evaluations import evaluation_name, evaluation_predictions, names_of
from trainer.storage.json_reader import JsonError, parse_object
from trainer.storage.summary import best_epoch
from trainer.storage.trial_directory import predictions_name, record_name

_ANALYSIS = "analysis.json"
#: The first bytes of every xz file.
MAGIC = b"\xfd7zXZ\0"


@dataclass(frozen=True)
class Packed:
    """The archive, and the number of its trials."""

    content: bytes
    trials: int


def pack(ledger: Ledger) -> Packed:
    """The sweep as a tar.xz with one folder, `<name>/`, which the reading commands accept.

    It has the resolved sweep file without `tracking` (which may name databases), the timing
    sessions, and of every trial the config, epochs, end, analysis (without sentences), the dev
    predictions of the last and of the best epoch, and evaluations.  It has no checkpoints, no logs,
    no paths of this machine and no sentences.  The same sweep gives the same bytes.
    """
    trials = sorted(trial.trial_id for trial in ledger.trials())
    sink = io.BytesIO()
    # All trials' predictions have the same ids and labels; a large window stores them once.
    with (
        lzma.open(sink, "wb", preset=9 | lzma.PRESET_EXTREME) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in _files(ledger, trials):
            entry = tarfile.TarInfo(f"{ledger.name}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return Packed(sink.getvalue(), len(trials))


def _files(ledger: Ledger, trials: list[str]) -> Iterator[tuple[str, bytes]]:
    """Name below the sweep's folder, content.  Files of a kind are adjacent, to compress well."""
    spec = {key: value for key, value in resolved_spec(ledger).items() if key != "tracking"}
    if spec:
        spec = {**spec, "base": _elsewhere(spec.get("base"))}
        yield RESOLVED, dump(spec).encode()
    timings = ledger.folder.child(FOLDER)
    for name in timings.names():
        if name.endswith(".json") and (session := timings.read(name)) is not None:
            yield f"{FOLDER}/{name}", session
    files: list[tuple[int, str, bytes]] = []
    for trial_id in trials:
        directory = ledger.directory(trial_id)
        records = directory.records()
        names = ["config.json", *(record_name(record["epoch"]) for record in records), "end.json"]
        names += [predictions_name(epoch) for epoch in (len(records), best_epoch(records))]
        contents = {name: directory.read(name) for name in names}
        contents[_ANALYSIS] = _without_sentences(directory.read(_ANALYSIS))
        for each in names_of(directory):
            for name in (evaluation_name(each), evaluation_predictions(each)):
                contents[name] = directory.read(name)
        if (described := directory.config()) is not None:
            described["config"] = _elsewhere(described.get("config"))
            contents["config.json"] = _json(described)
        for kind, (name, content) in enumerate(contents.items()):
            if content is not None:
                files.append((kind, f"trials/{trial_id}/{name}", content))
    for _, name, content in sorted(files, key=lambda each: each[:2]):
        yield name, content


def _without_sentences(analysis: bytes | None) -> bytes | None:
    """A trial's analysis without its example sentences; None if it cannot be read."""
    try:
        tasks = parse_object(analysis or b"")
        kept = {task: {k: v for k, v in of.items() if k != "worst"} for task, of in tasks.items()}
    except (JsonError, AttributeError):
        return None
    return _json(kept)


def _elsewhere(config: Any) -> Any:
    """A config without paths of this machine; the data folder becomes the default one."""
    data = config.get("data") if isinstance(config, dict) else None
    if not isinstance(data, dict):
        return config
    places = {"cache": ""} if "cache" in data else {}
    if os.path.isabs(os.path.expanduser(str(data.get("root", "")))):
        places["root"] = DataConfig().root
    return {**config, "data": {**data, **places}}


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"
