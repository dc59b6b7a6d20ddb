"""A sweep from start to end: check, lock, train what is missing, project."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console

from orchestrator import runner
from orchestrator.errors import SweepError
from orchestrator.ledger import RESOLVED, Ledger, TrialRecord
from orchestrator.ledger.current import current
from orchestrator.ledger.driver_log import log_to
from orchestrator.ledger.sweep_id import set_aside, sweep_id
from orchestrator.ledger.sweep_lock import LOCK, SweepLock
from orchestrator.preflight.checks import (
    check_machine,
    check_out,
    check_same_data,
    check_same_sweep,
    identifier,
    prepare_data,
)
from orchestrator.preflight.disk_space import check_space
from orchestrator.preflight.memory_probe import probed
from orchestrator.preflight.precision import (
    describe,
    keep,
    needs_hardware,
    settle,
    this_machine,
)
from orchestrator.progress import make_progress, say
from orchestrator.scheduling import successive_halving
from orchestrator.scheduling.extend_epochs import extend
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.search import Suggestions
from orchestrator.signals import terminate_is_interrupt
from orchestrator.spec import SweepSpec
from orchestrator.tracking.background import BackgroundProjection
from orchestrator.tracking.projections import pictures, varied_keys
from trainer.config import TrainConfig
from trainer.loop.device import PrecisionError
from trainer.storage.folder import StoreError

__all__ = ["SweepError", "SweepOutcome", "run_sweep"]


@dataclass(frozen=True)
class SweepOutcome:
    """How a run of a sweep ended.  `failed` maps trial ids to reasons, `error` is the search's."""

    trials: int
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    error: str = ""

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed, 130 interrupted and resumable."""
        if self.interrupted:
            return 130
        return 1 if self.failed or self.error else 0


def run_sweep(
    spec: SweepSpec,
    out: str,
    *,
    address: str | None = None,
    console: Console,
    fresh: bool = False,
    insecure: bool = False,
    probe: bool = False,
    train: str = runner.TRAIN,
) -> SweepOutcome:
    """Train every trial of `spec` that `<out>/<name>` lacks; call it again after anything.

    Args:
        address: of a Ray cluster; none: one is started here and stopped afterwards.
        fresh: an earlier sweep of this name is set aside first; it is kept under another name.
        insecure: join a cluster that asks for no token, too.
        probe: measure first how many trials fit this machine (orchestrator.preflight.memory_probe).
        train: the function that trains, `module:name` (runner.attempt).

    Raises `UserError` or `StoreError` if the input, the machine, the cluster or the store does not
    allow a start.
    """
    try:
        with terminate_is_interrupt():
            runner.require_token(address, insecure)
            ledger = Ledger(check_out(out), spec.name)
            check_machine(spec, address)
            spec = spec if fresh else keep(spec, ledger)
            if address is None:
                spec = settle(spec, [this_machine(spec)])
            identify = identifier()
            prepare_data(spec, identify)
            if probe:
                spec = probed(spec, partial(say, console), address)
            if fresh:
                _set_aside(ledger, partial(say, console))
            with SweepLock(ledger.folder):
                trials = ledger.trials()
                check_same_data(ledger, trials, spec, identify)
                check_same_sweep(ledger.folder, spec)
                ray = partial(runner.cluster, spec.resources, address, insecure)
                return _run(spec, ledger, trials, identify, address, ray, console, train)
    except OSError as error:
        raise SweepError(f"{error.filename or out}: {error.strerror or error}") from error
    except PrecisionError as error:
        raise SweepError(str(error)) from error
    except KeyboardInterrupt:
        return SweepOutcome(0, interrupted=True)


def _run(
    spec: SweepSpec,
    ledger: Ledger,
    trials: list[TrialRecord],
    identify: Callable[[TrainConfig], dict[str, Any]],
    address: str | None,
    ray: Callable[[], contextlib.AbstractContextManager[int]],
    console: Console,
    train: str,
) -> SweepOutcome:
    """The straight path, with the sweep's lock held."""
    tell = partial(say, console)
    trials = _extended(spec, ledger, trials, identify, tell)
    if warning := check_space(spec, ledger, trials, address):
        tell(warning)
    if ledger.folder.local is None:
        tell(f"--out is remote: what must be local lies in {ledger.local_out} (mlflow.db, the log)")
    halving = successive_halving.rebuilt(spec, ledger, trials)
    if halving is not None:
        trials = current(spec.to_dict(), ledger.trials())  # some may have been ended just now
    suggestions = Suggestions(spec)
    handout = TrialQueue(spec, suggestions, ledger, identify, _budget(spec, tell), tell, trials)
    if handout.done or handout.begun:
        tell(f"kept {handout.done} ended trials, {handout.begun} go on where they stopped")
    progress = make_progress(console, varied_keys(spec))
    drawn = pictures(spec, ledger, sweep_id(ledger.folder), handout.ended_suggestions, progress.say)
    trackers = [BackgroundProjection(picture, progress.say) for picture in drawn]
    for tracker in trackers:
        tracker.start()

    def changed(trial_id: str) -> None:
        for tracker in trackers:
            tracker.changed(trial_id)

    interrupted, status = False, "FAILED"  # what MLflow is told if this is left by an exception
    try:
        if handout.has_next():
            with log_to(ledger.log_file), ray() as places:
                spec = _settled(spec, ledger, address, places, progress.say)
                joined = address is not None
                runner.run(spec, handout, halving, places, progress, changed, train, joined=joined)
        status = "FINISHED"
    except KeyboardInterrupt:
        interrupted, status = True, "KILLED"
    finally:
        progress.close()
        outcome = _outcome(ledger, handout, interrupted)
        for tracker in trackers:
            tracker.close("FAILED" if outcome.exit_code == 1 else status, handout.trial_ids)
    return outcome


def _settled(
    spec: SweepSpec,
    ledger: Ledger,
    address: str | None,
    places: int,
    say: Callable[[str], None],
) -> SweepSpec:
    """The sweep with its precision decided and recorded; says what depends on the hosts."""
    if address is None:
        hardware = [this_machine(spec)]  # `run_sweep` has decided before anything was written
    else:
        asks = needs_hardware(spec)
        device = str(spec.base_value("device"))
        hardware = runner.trial_hardware(spec.resources, device) if asks else []
        if asks and not hardware:
            raise runner.ClusterError(
                "no node with room for a trial says whether it multiplies bf16 natively: free "
                "one, or choose precision: fp32"
            )
        try:
            spec = settle(spec, hardware)
        except PrecisionError:
            if not ledger.trial_ids():  # with the remedy it is another sweep of this name
                ledger.folder.delete(RESOLVED)
            raise
        check_same_sweep(ledger.folder, spec)
    threads = spec.base_value("threads") or max(1, int(spec.resources.cpu))
    at_once = f"{places} trial{'s' if places > 1 else ''} at once"
    at_once = at_once if address is None else f"at most {at_once}"
    each = f"{threads} thread{'s' if threads > 1 else ''} each"
    say(f"{describe(spec, hardware)}, {at_once}, {each}")
    return spec


def _extended(
    spec: SweepSpec,
    ledger: Ledger,
    trials: list[TrialRecord],
    identify: Callable[[TrainConfig], dict[str, Any]],
    tell: Callable[[str], None],
) -> list[TrialRecord]:
    """The trials that have the sweep's number of epochs, those begun by shorter ones included."""
    extended = extend(spec, ledger, trials, identify)
    for line in extended.lines():
        tell(line)
    return current(spec.to_dict(), ledger.trials() if extended.any else trials)


def _set_aside(ledger: Ledger, tell: Callable[[str], None]) -> None:
    """Free the sweep's name; a driver that is at work on it refuses."""
    if not ledger.folder.names():
        return
    with SweepLock(ledger.folder):
        moved = set_aside(ledger.folder)
    if moved is not None:
        (moved / LOCK).unlink(missing_ok=True)  # it moved along
        tell(f"the earlier sweep is kept in {moved}")


def _outcome(ledger: Ledger, handout: TrialQueue, interrupted: bool) -> SweepOutcome:
    names = handout.trial_ids
    try:
        ends = {name: ledger.end(name) or {} for name in names}
    except StoreError as error:  # lost in the middle: what it holds is gone on with later
        return SweepOutcome(len(names), {}, interrupted, handout.error or str(error))
    failed = {n: end.get("reason", "") for n, end in ends.items() if end.get("status") == "failed"}
    return SweepOutcome(len(ends), failed, interrupted, handout.error)


def _budget(spec: SweepSpec, tell: Callable[[str], None]) -> Callable[[], bool]:
    """Whether another configuration may be begun: `budget.hours` of this run are not over."""
    hours = spec.budget.hours
    end = time.monotonic() + 3600 * hours if hours is not None else math.inf
    said = False

    def may_ask() -> bool:
        nonlocal said
        if time.monotonic() < end:
            return True
        if not said:
            tell(f"budget: {hours:g} h are over, no more configurations are begun")
        said = True
        return False

    return may_ask
