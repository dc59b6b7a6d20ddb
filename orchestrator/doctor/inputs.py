"""Checks what a sweep reads: sentences and encoders."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from orchestrator.doctor.finding import Finding, error, ok, warning
from orchestrator.preflight.checks import examples, identifier, with_other_data
from orchestrator.spec import SweepSpec
from trainer.config import ConfigError, TrainConfig
from trainer.data.corpus import DataError, first_look
from trainer.data.leakage import repeated_in_task
from trainer.data.left_out import LeftOut, of_rows, too_much
from trainer.model.encoder_shape import PRESETS
from trainer.model.pretrained import PACKAGED, EncoderError, find_checkpoint

#: A larger share of dropped rows is a warning.
_MANY_DROPPED = 0.01
_LEAKED = "scores on rows that were trained on are too high; remove them from one of the files"
_REPEATED = "predictions are told apart by their ids; give every row its own"


def input_findings(spec: SweepSpec) -> Iterator[Finding]:
    """Check that every file exists and can be used; nothing is downloaded or tokenised."""
    try:
        configs = list(examples(spec))
    except ConfigError as problem:
        yield error("sweep file", str(problem), "orch validate reports every mistake")
        return
    identify, roots, problems = identifier(), dict[str, None](), dict[str, None]()
    for config in configs:
        for task in config.tasks:
            folder = str(Path(config.data.root).expanduser())
            roots["generated" if config.generates(task) else folder] = None
        try:
            identify(config)
        except (ConfigError, DataError, OSError) as problem:
            problems[str(problem)] = None
    for text in problems:
        yield error("data", text, "orch data fetch, or --set base.data.root=DIR")
    if not problems:
        yield ok("data", ", ".join(roots))
        yield from data_findings(with_other_data(configs))
    for name in dict.fromkeys(config.encoder for config in configs):
        yield encoder_finding(name)


def data_findings(configs: Iterable[TrainConfig]) -> Iterator[Finding]:
    """What the files of each task lose, and what stands twice in them; nothing is tokenised."""
    shown: set[Finding] = set()
    for config in configs:
        twice: dict[str, dict[str, tuple[list[str], list[list[str]]]]] = {}
        try:
            for task, split, read, about in first_look(config):
                (found,) = of_rows({task.name: {split: about}})
                shown_now = rows_finding(found, config.data.allow_dropped)
                if shown_now not in shown and found.told:
                    shown.add(shown_now)
                    yield shown_now
                if not config.generates(task.name):
                    twice.setdefault(task.name, {})[split] = read.ids, read.texts
        except (DataError, EncoderError, OSError) as problem:
            yield error("data", str(problem), "correct the file or the task's declaration")
            return
        for name, splits in twice.items():
            for repeat in repeated_in_task(name, splits):
                remedy = _LEAKED if repeat.leaked else _REPEATED
                each = warning("data", repeat.line(), remedy)
                if repeat.any and each not in shown:
                    shown.add(each)
                    yield each


def rows_finding(found: LeftOut, allowed: Sequence[str]) -> Finding:
    """An error if more than a third of the rows is dropped, a warning above 1 %."""
    if too_much([found], allowed):
        remedy = f"correct the file, or set data.allow_dropped to [{found.task}]"
        return error("data", found.line(), remedy)
    if found.share > _MANY_DROPPED:
        return warning("data", found.line(), "correct the file or the task's declaration")
    return ok("data", found.line())


def encoder_finding(name: str) -> Finding:
    """Whether an encoder is here, or can be downloaded by the first sweep that needs it."""
    local = name in PRESETS or name in PACKAGED or Path(name).expanduser().is_dir()
    if local or name.startswith((".", "/", "~")) or name.count("/") > 1:
        try:
            if checkpoint := find_checkpoint(name):
                checkpoint.tokenizer()
        except (EncoderError, OSError) as problem:
            return error(
                "encoder", str(problem), "install it, or choose another --set base.encoder"
            )
        return ok("encoder", name)
    if importlib.util.find_spec("huggingface_hub") is None:
        remedy = "pip install -c constraints.txt -e '.[hub]'"
        return error("encoder", f"{name}: needs the package huggingface-hub", remedy)
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return ok("encoder", f"{name}, in the Hub's cache")
    remedy = "the first sweep downloads it; download it now if there is no network later"
    return warning("encoder", f"{name} is not in the Hub's cache", remedy)


def data_of(config: dict[str, object]) -> str:
    """The fingerprint of the data under a config's paths, or what is missing."""
    from trainer.data.sources import fingerprint

    try:
        return fingerprint(TrainConfig.from_dict(config))
    except (ConfigError, DataError, OSError) as problem:
        return f"missing: {problem}"
