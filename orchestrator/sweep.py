"""A sweep from start to end: check, lock, train what is missing, project."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from rich.console import Console

from orchestrator import environment, interrupts, runner
from orchestrator.after_search import AfterOptions, AfterSearch
from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.ledger.current import confirming, current, searched
from orchestrator.ledger.driver_log import driver_log
from orchestrator.ledger.labels import varied_keys
from orchestrator.ledger.sweep_id import set_aside, sweep_id
from orchestrator.preflight.checks import (
    Identify,
    check_machine,
    check_out,
    check_same_data,
    check_same_sweep,
    clocks_note,
    identifier,
    prepare_data,
)
from orchestrator.preflight.decision import keep_decision, reopen
from orchestrator.preflight.disk_space import check_space
from orchestrator.preflight.formats import format_note, keep_format
from orchestrator.preflight.memory_probe import probed
from orchestrator.preflight.precision import keep, settle, settled_on_hosts, this_machine
from orchestrator.preflight.process_limits import check_processes
from orchestrator.progress import Progress, make_progress
from orchestrator.progress.ownership import LEAVE_S, owned, signals_for_a_sweep
from orchestrator.runner.timing_task import TimingError, time_on_ray
from orchestrator.scheduling import successive_halving
from orchestrator.scheduling.budget import Budget
from orchestrator.scheduling.extend_epochs import extend
from orchestrator.scheduling.job_queue import JobQueue
from orchestrator.scheduling.outcome import outcome_of
from orchestrator.scheduling.trial_queue import TrialQueue
from orchestrator.spec import SweepSpec
from orchestrator.sweep_outcome import SweepOutcome
from orchestrator.tracking.background import BackgroundProjection
from orchestrator.tracking.projections import projections_of
from trainer.loop.device import PrecisionError

_KEPT = "stopping: every committed epoch is kept; what MLflow still lacks, orch sync {name} adds"

__all__ = ["RunOptions", "SweepError", "SweepOutcome", "run_sweep"]


@dataclass(frozen=True)
class RunOptions:
    """The options of `orch sweep` that say how to run, not what.

    Attributes:
        address: of a Ray cluster to join; None starts Ray on this machine, and stops it.
        fresh: first rename the folder of an earlier sweep of this name.
        insecure: also join a cluster that demands no token.
        probe: first measure how many trials fit this machine (preflight.memory_probe).
        reopen: first drop the decision of earlier runs, but not its trials.
        after: what happens when the search is over.
    """

    address: str | None = None
    fresh: bool = False
    insecure: bool = False
    probe: bool = False
    reopen: bool = False
    after: AfterOptions = AfterOptions()


def run_sweep(
    spec: SweepSpec,
    out: str,
    display: Console | Progress,
    options: RunOptions | None = None,
    train: str = runner.TRAIN,
) -> SweepOutcome:
    """Train every trial of `spec` that `<out>/<name>` lacks.  Call it again after any failure.

    Args:
        display: where the sweep is shown: a console, or a display of the caller's, which this
            closes.
        train: the function that trains, `module:name` (runner.attempt).

    Raises `UserError` or `StoreError` if the input, the machine, the cluster or the store does not
    allow a start.
    """
    options = options or RunOptions()
    if isinstance(display, Console):
        display = make_progress(display, varied_keys(spec), spec.name)
    progress, show = display, display.say
    try:
        with contextlib.closing(progress), signals_for_a_sweep():
            progress.doing("checking the folder, the machine and the methods")
            runner.require_token(options.address, options.insecure)
            ledger = Ledger(check_out(out), spec.name)
            check_machine(spec, options.address)
            if options.address is None:
                check_processes(spec.resources)
            spec = spec if options.fresh else keep(keep_format(spec, ledger), ledger)
            if note := format_note(spec):
                show(note)
            if options.address is None:
                if note := environment.note():
                    show(note)
                spec = settle(spec, [this_machine(spec)])
            identify = identifier()
            progress.doing("reading the data and the encoder")
            for line in prepare_data(spec, identify):
                show(line)
            if options.probe:
                progress.doing("measuring how many trials fit")
                spec = probed(spec, show, options.address)
            if options.fresh and (moved := set_aside(ledger.folder)):
                show(f"the earlier sweep is now in {moved}")
            with owned(ledger, progress):
                return _Sweep(spec, ledger, identify, options, progress, train).run()
    except OSError as error:
        raise SweepError(f"{error.filename or out}: {error.strerror or error}") from error
    except PrecisionError as error:
        raise SweepError(str(error)) from error
    except KeyboardInterrupt:
        return SweepOutcome(0, interrupted=True)


@dataclass
class _Sweep:
    """A checked sweep whose lock we hold."""

    spec: SweepSpec
    ledger: Ledger
    identify: Identify
    options: RunOptions
    progress: Progress
    train: str
    #: The trials of the confirming stage that earlier runs left.
    confirmed: list[str] = field(default_factory=list)

    def run(self) -> SweepOutcome:
        """The straight path."""
        # What earlier runs left.
        progress = self.progress
        progress.doing("reading the trials of earlier runs")
        queue, halving = self._rebuild(progress.say)

        # What users see: the terminal, MLflow, Optuna.
        projections = projections_of(
            self.spec, self.ledger, sweep_id(self.ledger.folder), queue.ended_suggestions,
            progress.say,
        )  # fmt: skip
        backgrounds = [BackgroundProjection(each, progress.say) for each in projections]
        for background in backgrounds:
            background.start()
        for line in self._places([each.name for each in projections]):
            progress.say(line)

        def on_change(trial_id: str) -> None:
            for background in backgrounds:
                background.changed(trial_id)

        # Train, and finish the projections however that ends.
        interrupted, status = False, "FAILED"  # the status in MLflow after an exception
        queues: list[JobQueue] = [queue]
        after = AfterSearch(
            self.spec, self.ledger, self.identify, self.options.after, progress.say,
            partial(progress.stage, "confirming"),
        )  # fmt: skip
        try:
            wanted = queue.has_next() or (not queue.cut_short and after.is_wanted())
            if wanted:
                with self._ray(progress) as (spec, places):
                    attempts = partial(
                        runner.Attempts, spec, progress=progress, on_change=on_change,
                        train=self.train,
                    )  # fmt: skip
                    joined = self.options.address is not None
                    if queue.has_next():
                        runner.run(attempts(queue, halving), places, joined=joined)
                    if not (queue.error or queue.cut_short):
                        after = replace(after, spec=spec)
                        self._time(after, places, joined)
                        if fresh := after.confirm_queue():
                            queues.append(fresh)
                            runner.run(attempts(fresh, None), places, joined=joined)
                            # A configuration that the search never tried has trials only now.
                            self._time(replace(after, spec=after.spec), places, joined)
            elif after.problem:
                progress.say(after.problem)
            status = "FINISHED"
        except KeyboardInterrupt:
            interrupted, status = True, "KILLED"
        finally:
            outcome = outcome_of(self.ledger, queues, interrupted)
            ids = [name for each in queues for name in each.trial_ids]
            ids += [name for name in self.confirmed if name not in ids]
            with interrupts.during(_KEPT.format(name=self.spec.name), 0):
                progress.doing("bringing MLflow and Optuna up to date" if backgrounds else "")
                for background in backgrounds:
                    background.close("FAILED" if outcome.exit_code == 1 else status, ids)
            progress.doing("")
        return outcome

    def _places(self, projections: Sequence[str]) -> Iterator[str]:
        """Where to find what."""
        yield f"sweep: {self.ledger.folder.path}"
        yield f"log: {self.ledger.log_file}"
        for name in projections:
            if name.startswith("MLflow"):
                yield f"{name}; its pages: orch ui {self.spec.name}"

    @contextlib.contextmanager
    def _ray(self, progress: Progress) -> Iterator[tuple[SweepSpec, int]]:
        """Ray, the sweep with its precision decided, and how many trials train at once."""
        address = self.options.address
        progress.doing("starting Ray" if address is None else f"joining Ray at {address}")
        with (
            driver_log(self.ledger.log_file),
            runner.cluster(
                self.spec.resources, address, self.options.insecure, progress.say
            ) as places,
        ):
            spec, line = settled_on_hosts(self.spec, self.ledger, address, places)
            progress.say(line)
            progress.doing("starting the processes of the first trials")
            yield spec, places

    def _time(self, after: AfterSearch, places: int, joined: bool) -> None:
        """Time the configurations of the question, if that is left to do."""
        order = after.timing_order(places)
        if order is None:
            return
        self.progress.stage("timing")
        what = (
            f"timing {len(order.trial_ids)} configurations in turn, alone on the device, for about "
            f"{order.seconds:.0f} s"
        )
        after.say(what)
        self.progress.doing(what)
        problem = ""
        leaves = f"stopping: the timing is given up, the trials are kept; at most {LEAVE_S:g} s"
        try:
            with interrupts.during(leaves, LEAVE_S):
                problem = time_on_ray(self.spec.resources, order, joined=joined)
        except TimingError as error:
            problem = str(error)
        self.progress.doing("")
        if problem:
            after.say(f"minutes are not comparable: {problem}; later: orch time {self.spec.name}")

    def _rebuild(
        self, show: Callable[[str], None]
    ) -> tuple[TrialQueue, successive_halving.Halving | None]:
        """The queue and the rungs as the trials of the search give them."""
        ledger = self.ledger
        trials = ledger.trials()
        if self.options.reopen:
            show(reopen(ledger, trials))
        spec = self.spec = keep_decision(self.spec, ledger, trials)
        check_same_data(ledger, trials, spec, self.identify)
        check_same_sweep(ledger.folder, spec, trials)
        extended = extend(spec, ledger, trials, self.identify)
        for line in extended.lines():
            show(line)
        now = ledger.trials() if extended.any else trials
        trials = searched(current(spec.to_dict(), now))
        self.confirmed = [trial.trial_id for trial in confirming(now)]
        if note := clocks_note(spec, trials):
            show(note)
        if warning := check_space(spec, ledger, trials, self.options.address):
            show(warning)
        if ledger.folder.local is None:
            show(f"--out is remote: mlflow.db and the log are local, in {ledger.local_out}")
        halving = successive_halving.rebuilt(spec, ledger, trials)
        if halving is not None and halving.ended_late:
            trials = searched(current(spec.to_dict(), ledger.trials()))
        budget = Budget(spec.budget.hours, show)
        queue = TrialQueue(spec, ledger, self.identify, budget.allows_another, show, trials)
        self.progress.stage("search")
        self.progress.kept(trials)
        if spec.decide is not None and self.options.after.confirm is not False:
            decide = spec.decide
            self.progress.state.will_confirm(lambda minutes: decide.budget_minutes(minutes, 0.0))
        self.progress.total(queue.done, queue.planned)
        if queue.done or queue.started:
            show(f"kept {queue.done} ended trials, {queue.started} resume where they stopped")
        return queue, halving
