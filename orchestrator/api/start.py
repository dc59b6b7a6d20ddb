"""Starts a sweep from Python."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.api.sweep import Sweep
    from orchestrator.spec import SweepSpec
    from orchestrator.sweep import SweepOutcome

#: Where sweeps are, unless something else is said.
OUT = "sweeps"


class Options(TypedDict, total=False):
    """How a sweep runs; the names and defaults are those of `orch sweep`.

    Attributes:
        address: of a Ray cluster to join.
        fresh: move an earlier sweep of this name aside and start over.
        insecure: join a cluster that asks for no token.
        probe: first measure how many trials fit this machine.
        reopen: drop the sweep's decision, but none of its trials.
        timing: time the question's configurations; true by default.
        confirm: confirm also where minutes have answered, or never.
    """

    address: str | None
    fresh: bool
    insecure: bool
    probe: bool
    reopen: bool
    timing: bool
    confirm: bool | None


def run(
    file: str | os.PathLike[str],
    profile: str | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    out: str | os.PathLike[str] | None = None,
    **options: Unpack[Options],
) -> Sweep:
    """Train every trial of a sweep that is not finished, and return the sweep.

    It prints a line for each event.  Call it again after an interruption: nothing is trained twice.
    It can be called from any thread, also while an asyncio loop runs, for one sweep at a time.

    Args:
        file: the sweep file.
        profile: a profile of the file.
        overrides: dotted keys and their values, `{"search.num_trials": 4}`, or texts as `--set`
            takes them, `["search.num_trials=4"]`.
        out: the folder of all sweeps; by default ORCH_OUT of the environment, else `sweeps`.
        options: see `Options`.

    Returns:
        The sweep.  If trials failed, a `UserWarning` names them.

    Raises:
        UserError: the file, an option, the machine or the store does not allow a start, or the
            sweep had to stop early.
        KeyboardInterrupt: it was interrupted; what was committed is kept.
    """
    from orchestrator.api.sweep import Sweep
    from orchestrator.ledger import Ledger
    from trainer.config import ConfigError
    from trainer.storage.folder import StoreError

    where = folder_of_sweeps(out)
    try:
        spec = _spec(os.fspath(file), profile, overrides)
        outcome = _run(spec, where, options)
    except (ConfigError, StoreError) as error:
        raise UserError(str(error)) from None
    if outcome.interrupted:
        raise KeyboardInterrupt("interrupted; run the same sweep again to resume")
    if outcome.error:
        raise UserError(outcome.error)
    if outcome.failed:
        reasons = "; ".join(f"{trial}: {reason}" for trial, reason in outcome.failed.items())
        warnings.warn(f"{len(outcome.failed)} trials failed: {reasons}", stacklevel=2)
    return Sweep(Ledger(where, spec.name))


def folder_of_sweeps(out: str | os.PathLike[str] | None) -> str:
    """The folder of all sweeps, or its URI."""
    return os.path.expanduser(os.fspath(out or os.environ.get("ORCH_OUT") or OUT))


def _spec(
    file: str, profile: str | None, overrides: Mapping[str, Any] | Iterable[str]
) -> SweepSpec:
    from orchestrator.spec import load_spec

    if isinstance(overrides, str):
        raise UserError(f"overrides: takes a mapping or a list; put {overrides!r} into a list")
    return load_spec(os.path.expanduser(file), profile, list(_texts(overrides)))


def _texts(overrides: Mapping[str, Any] | Iterable[str]) -> Iterator[str]:
    """The overrides as `--set` takes them; JSON is YAML."""
    if not isinstance(overrides, Mapping):
        yield from overrides
        return
    for key, value in overrides.items():
        try:
            yield f"{key}={json.dumps(value)}"
        except TypeError as error:
            raise UserError(
                f"overrides: {key}: {value!r} is not a plain value; allowed: what JSON has"
            ) from error


def _run(spec: SweepSpec, out: str, options: Options) -> SweepOutcome:
    from rich.console import Console

    # In a notebook without ipywidgets tqdm and Ray say so when they are imported.
    warnings.filterwarnings("ignore", message="IProgress not found")
    logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
    from orchestrator.after_search import AfterOptions
    from orchestrator.sweep import RunOptions, run_sweep

    how: dict[str, Any] = dict(options)
    after = AfterOptions(how.pop("timing", True), how.pop("confirm", None))
    # Lines, not a live table: a notebook's output is no terminal.
    console = Console(file=sys.stdout, force_terminal=False, force_jupyter=False)
    return run_sweep(spec, out, console, RunOptions(after=after, **how))
